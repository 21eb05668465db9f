//! L12 for RSA signatures with a fault in one half of the Chinese remainder theorem.
//!
//! Such a value is right modulo one prime and wrong modulo the other, so its difference from the right one shares a prime
//! with the public modulus: publishing it reveals the key. The tests add multiples of one prime to a good signature.

use crypto_ops::{CheckFailed, CryptoOp, CryptoOutput, Work as _};
use proptest::prelude::*;
use rustls_pki_types::PrivatePkcs1KeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::fixture::{KEYS, sign_op, signature};

/// The modulus and the two primes of the 2048-bit test key, as numbers of 256 bytes.
fn modulus_and_primes() -> [Vec<u8>; 3] {
    let der = PrivatePkcs1KeyDer::from_pem_slice(key!("rsa2048.pkcs1").as_bytes()).expect("PEM");
    // RSAPrivateKey ::= SEQUENCE { version, n, e, d, p, q, ... }, its header four bytes long.
    let mut rest = &der.secret_pkcs1_der()[4..];
    let mut integers = std::iter::from_fn(|| {
        let (length, start) = match rest[1] {
            0x81 => (usize::from(rest[2]), 3),
            0x82 => (usize::from(rest[2]) << 8 | usize::from(rest[3]), 4),
            short => (usize::from(short), 2),
        };
        let (integer, after) = rest[start..].split_at(length);
        rest = after;
        let digits = &integer[usize::from(integer[0] == 0)..];
        let mut wide = vec![0; 256 - digits.len()];
        wide.extend_from_slice(digits);
        Some(wide)
    });
    let n = integers.nth(1).expect("n");
    let p = integers.nth(2).expect("p, after e and d");
    let q = integers.next().expect("q");
    [n, p, q]
}

/// `a + b` modulo `n`, for `a` and `b` below `n`; big-endian.
fn add_mod(a: &[u8], b: &[u8], n: &[u8]) -> Vec<u8> {
    let mut sum = vec![0; n.len() + 1];
    let mut carry = 0;
    for at in (0..n.len()).rev() {
        let digit = u16::from(a[at]) + u16::from(b[at]) + carry;
        sum[at + 1] = digit as u8;
        carry = digit >> 8;
    }
    sum[0] = carry as u8;
    if sum[0] > 0 || sum[1..] >= *n {
        let mut borrow = 0;
        for at in (0..n.len()).rev() {
            let digit = i16::from(sum[at + 1]) - i16::from(n[at]) - borrow;
            borrow = i16::from(digit < 0);
            sum[at + 1] = digit as u8;
        }
    }
    sum.remove(0);
    sum
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn l12_a_signature_right_modulo_one_prime_only_never_passes(
        scheme in prop::sample::select(KEYS[3].schemes()),
        message in prop::collection::vec(any::<u8>(), 0..100),
        wrong_modulo_q in any::<bool>(),
        multiple in 1..20_usize,
    ) {
        let op = sign_op(&KEYS[3], scheme, &message);
        let good = signature(&op);
        let [n, p, q] = modulus_and_primes();
        let prime = if wrong_modulo_q { p } else { q };
        let faulty = (0..multiple).fold(good.clone(), |value, _| add_mod(&value, &prime, &n));
        prop_assert_ne!(&faulty, &good);

        let op = CryptoOp::from(op);
        prop_assert!(op.must_check());
        prop_assert_eq!(op.check(&CryptoOutput::Signature(good.into())), Ok(()));
        prop_assert_eq!(
            op.check(&CryptoOutput::Signature(faulty.into())),
            Err(CheckFailed("the signature does not verify with the public key"))
        );
    }
}

/// Known results of the arithmetic above.
#[test]
fn the_test_adds_modulo_n() {
    let [n, p, q] = modulus_and_primes();
    assert_eq!(add_mod(&[0x12, 0xff], &[0x00, 0x01], &[0x80, 0x00]), [0x13, 0x00]);
    assert_eq!(add_mod(&[0x7f, 0xff], &[0x00, 0x01], &[0x80, 0x00]), [0x00, 0x00]);
    assert_eq!(add_mod(&[0xf0, 0x00], &[0xf0, 0x01], &[0xf1, 0x00]), [0xef, 0x01]);
    assert_eq!(add_mod(&p, &q, &n), add_mod(&q, &p, &n));
}
