//! Signatures and their checks: good ones pass, and every changed one fails.

use crypto_ops::testing::fake_output;
use crypto_ops::{Algorithm, CryptoOp, CryptoOutput, SignOp, Work};
use proptest::prelude::*;
use zeroize::Zeroize as _;

use crate::fixture::{KEYS, any_sign_op, key_schemes, sign_op, signature};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_signature_passes_its_check(op in any_sign_op()) {
        let signature = signature(&op);
        prop_assert!(signature.len() <= op.key().max_signature_len());
        prop_assert_eq!(CryptoOp::from(op).check(&CryptoOutput::Signature(signature.into())), Ok(()));
    }

    #[test]
    fn a_flipped_bit_in_the_message_is_caught(op in any_sign_op(), at in any::<prop::sample::Index>()) {
        let output = CryptoOutput::Signature(signature(&op).into());
        let mut message = op.message().to_vec();
        let bit = at.index(message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(CryptoOp::from(sign_op(op.key(), op.scheme(), &message)).check(&output).is_err());
    }

    #[test]
    fn a_shortened_or_lengthened_signature_is_caught(op in any_sign_op(), cut in any::<prop::sample::Index>()) {
        let good = signature(&op);
        let op = CryptoOp::from(op);
        let mut long = good.clone();
        long.push(0);
        prop_assert!(op.check(&CryptoOutput::Signature(long.into())).is_err());
        let short = good[..cut.index(good.len())].to_vec();
        prop_assert!(op.check(&CryptoOutput::Signature(short.into())).is_err());
    }

    #[test]
    fn the_signature_of_another_key_or_scheme_is_caught(op in any_sign_op()) {
        let good = signature(&op);
        for (key, scheme) in key_schemes() {
            if (key.id(), scheme) != (op.key().id(), op.scheme()) {
                prop_assert!(key.check(scheme, op.message(), &good).is_err());
            }
        }
    }

    #[test]
    fn a_fake_signature_is_as_long_as_a_real_one_and_never_passes(op in any_sign_op()) {
        let fake = fake_output(&CryptoOp::from(op.clone())).into_signature().expect("a signature");
        let real = signature(&op);
        match op.key().algorithm() {
            // DER: up to a leading zero byte for each number, or fewer bytes for small ones.
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => {
                prop_assert!(fake.len().abs_diff(real.len()) <= 8);
                prop_assert_eq!(usize::from(fake[1]) + 2, fake.len());
            }
            _ => prop_assert_eq!(fake.len(), real.len()),
        }
        let op = CryptoOp::from(op);
        prop_assert!(op.check(&fake_output(&op)).is_err());
    }
}

#[test]
fn every_single_flipped_bit_in_a_signature_is_caught() {
    for (key, scheme) in key_schemes() {
        let op = sign_op(&key, scheme, b"every bit counts");
        let mut bytes = signature(&op);
        // Each bit of the short ones; of RSA, where all bits are alike, every eleventh.
        let stride = if key.algorithm() == Algorithm::Rsa { 11 } else { 1 };
        for bit in (0..bytes.len() * 8).step_by(stride) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(key.check(scheme, op.message(), &bytes).is_err(), "{scheme}, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(key.check(scheme, op.message(), &bytes), Ok(()), "{scheme}");
    }
}

#[test]
fn l1_an_operation_owns_all_it_needs_and_crosses_threads() {
    let op = {
        let message = b"dropped before the device reads it".to_vec();
        CryptoOp::from(sign_op(&KEYS[0], KEYS[0].schemes()[0], &message))
    };
    let device = std::thread::spawn(move || {
        let CryptoOp::Sign(sign) = &op else { panic!("a signature was asked for") };
        let output = CryptoOutput::Signature(signature(sign).into());
        (op, output)
    });
    let (op, output) = device.join().expect("the device does not panic");
    assert_eq!(op.check(&output), Ok(()));
}

#[test]
fn l12_rsa_must_be_checked_and_nothing_else_must() {
    for (key, scheme) in key_schemes() {
        let op = CryptoOp::from(sign_op(&key, scheme, b""));
        assert_eq!(op.must_check(), key.algorithm() == Algorithm::Rsa, "{scheme}");
    }
}

#[test]
fn one_kind_per_algorithm() {
    let kinds: Vec<_> = KEYS
        .iter()
        .map(|key| CryptoOp::from(sign_op(key, key.schemes()[0], b"")).kind().to_string())
        .collect();
    assert_eq!(
        kinds,
        ["sign-ecdsa-p256", "sign-ecdsa-p384", "sign-ed25519", "sign-rsa", "sign-rsa"]
    );
}

#[test]
fn a_scheme_of_another_algorithm_is_rejected_and_the_message_returned() {
    for key in &*KEYS {
        for (_, scheme) in key_schemes().filter(|(other, _)| other.algorithm() != key.algorithm()) {
            let refused = SignOp::new(key.clone(), scheme, b"mine".to_vec())
                .expect_err("the scheme does not fit the key");
            assert_eq!((refused.scheme, refused.algorithm), (scheme, key.algorithm()));
            assert_eq!(refused.message, b"mine");
            assert!(key.check(scheme, b"mine", b"").is_err());
        }
    }
    let refused = SignOp::new(KEYS[0].clone(), KEYS[3].schemes()[0], Vec::new()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "an ECDSA P-256 key cannot sign with rsa_pss_rsae_sha256: choose from the key's own schemes"
    );
}

#[test]
fn an_output_can_be_wiped_and_shows_only_its_length() {
    let mut output = CryptoOutput::Signature(vec![0xab; 3].into());
    assert_eq!(format!("{output:?}"), "Signature(3 bytes)");
    output.zeroize();
    assert_eq!(output, CryptoOutput::Signature(Vec::new().into()));
    CryptoOp::erase(CryptoOutput::Signature(vec![1, 2, 3].into()));
}

#[test]
fn an_operation_shows_its_key_and_scheme_but_not_its_message() {
    let op = sign_op(&KEYS[2], KEYS[2].schemes()[0], b"not for the log");
    assert_eq!(
        format!("{op:?}"),
        format!("SignOp {{ key: KeyId({}), scheme: Ed25519, message_len: 15 }}", op.key().id())
    );
}

#[test]
fn operations_and_handles_are_send_and_sync() {
    fn assert_send_sync<T: Send + Sync + 'static>() {}
    assert_send_sync::<CryptoOp>();
    assert_send_sync::<CryptoOutput>();
    assert_send_sync::<crypto_ops::KeyHandle>();
    assert_send_sync::<crypto_ops::SoftwareKeys>();
    assert_send_sync::<crypto_ops::OpError>();
}
