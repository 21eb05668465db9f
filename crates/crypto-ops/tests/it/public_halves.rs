//! Handles made from a public half alone, as for a key in a token.

use crypto_ops::{KeyError, KeyHandle, SoftwareKeys};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use crate::fixture::{KEYS, sign_op, signature};

fn spki(pem: &str) -> Vec<u8> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).expect("a public key").to_vec()
}

#[test]
fn the_public_half_alone_names_the_same_key_and_checks_its_signatures() {
    for (key, pem) in [
        (&KEYS[0], key!("p256.public")),
        (&KEYS[2], key!("ed25519.public")),
        (&KEYS[3], key!("rsa2048.public")),
    ] {
        let public = KeyHandle::from_spki_der(&spki(pem)).expect("a good key");
        assert_eq!(&public, key);
        assert_eq!(public.public_key(), spki(pem));
        assert_eq!(public.max_signature_len(), key.max_signature_len());
        for &scheme in public.schemes() {
            let signature = signature(&sign_op(key, scheme, b"elsewhere"));
            assert_eq!(public.check(scheme, b"elsewhere", &signature), Ok(()));
        }
    }
}

#[test]
fn the_name_is_the_fingerprint_of_the_public_half() {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEYS[0].public_key());
    assert_eq!(KEYS[0].id().fingerprint(), digest.as_ref());
    let hex: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(KEYS[0].id().to_string(), hex);
    assert_eq!(
        format!("{:?}", KEYS[0]),
        format!("KeyHandle {{ id: KeyId({hex}), algorithm: EcdsaP256, .. }}")
    );
}

#[test]
fn keys_of_every_algorithm_have_different_names() {
    let mut names: Vec<_> = KEYS.iter().map(KeyHandle::id).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), KEYS.len());
}

#[test]
fn an_unsupported_public_half_is_rejected_by_name() {
    assert_eq!(
        KeyHandle::from_spki_der(&spki(key!("p521.public"))),
        Err(KeyError::Unsupported { found: "an EC key on curve P-521".into() })
    );
    assert_eq!(
        KeyHandle::from_spki_der(&spki(key!("rsa1024.public"))),
        Err(KeyError::RsaSize { bits: 1024 })
    );
}

#[test]
fn a_bare_point_is_not_a_public_half() {
    let whole = spki(key!("p256.public"));
    let point = &whole[whole.len() - 65..];
    let malformed = Err(KeyError::Malformed { format: "SubjectPublicKeyInfo" });
    assert_eq!(KeyHandle::from_spki_der(point), malformed);
    assert_eq!(KeyHandle::from_spki_der(&[]), malformed);
}

#[test]
fn a_handle_without_a_store_cannot_sign() {
    let store = SoftwareKeys::new();
    let public = KeyHandle::from_spki_der(&spki(key!("ed25519.public"))).expect("a good key");
    let op = sign_op(&public, public.schemes()[0], b"").into();
    assert_eq!(
        store.execute(&op).expect_err("the store is empty").to_string(),
        format!(
            "no key {} in this key store: load the Ed25519 key there, or use its own store",
            public.id()
        )
    );
}

#[test]
fn a_public_half_with_any_bit_flipped_is_rejected_or_is_another_key() {
    for key in &*KEYS {
        let mut damaged = key.public_key().to_vec();
        for bit in 0..damaged.len() * 8 {
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = KeyHandle::from_spki_der(&damaged) {
                assert_ne!(other.id(), key.id(), "bit {bit}");
            }
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
