//! Signatures of keys that really are broken in these ways: made by aws-lc where it can be misused so, and by textbook RSA
//! where it cannot.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _,
};
use num_bigint::BigUint;
use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::default_provider;

use super::*;

/// Longer than any digest, shorter than any modulus.
const MESSAGE: &[u8] =
    b"a message that is at least as long as the longest digest, which has 64 bytes";

fn verifier(pair: &rcgen::KeyPair) -> ProviderVerifier {
    ProviderVerifier::new(&rcgen::PublicKeyData::subject_public_key_info(pair), &default_provider())
        .unwrap()
}

fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(algorithm).unwrap()
}

struct Curve {
    rcgen: &'static rcgen::SignatureAlgorithm,
    scheme: SignatureScheme,
    der: &'static EcdsaSigningAlgorithm,
    raw: &'static EcdsaSigningAlgorithm,
    digest: &'static aws_lc_rs::digest::Algorithm,
    len: usize,
}

const CURVES: [Curve; 3] = [
    Curve {
        rcgen: &rcgen::PKCS_ECDSA_P256_SHA256,
        scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
        der: &ECDSA_P256_SHA256_ASN1_SIGNING,
        raw: &ECDSA_P256_SHA256_FIXED_SIGNING,
        digest: &aws_lc_rs::digest::SHA256,
        len: 64,
    },
    Curve {
        rcgen: &rcgen::PKCS_ECDSA_P384_SHA384,
        scheme: SignatureScheme::ECDSA_NISTP384_SHA384,
        der: &ECDSA_P384_SHA384_ASN1_SIGNING,
        raw: &ECDSA_P384_SHA384_FIXED_SIGNING,
        digest: &aws_lc_rs::digest::SHA384,
        len: 96,
    },
    Curve {
        rcgen: &rcgen::PKCS_ECDSA_P521_SHA512,
        scheme: SignatureScheme::ECDSA_NISTP521_SHA512,
        der: &ECDSA_P521_SHA512_ASN1_SIGNING,
        raw: &ECDSA_P521_SHA512_FIXED_SIGNING,
        digest: &aws_lc_rs::digest::SHA512,
        len: 132,
    },
];

#[test]
fn faults_of_ecdsa_keys_are_named() {
    let random = SystemRandom::new();
    for curve in CURVES {
        let (pair, other) = (pair(curve.rcgen), pair(curve.rcgen));
        let verifier = verifier(&pair);
        let key = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &pair.serialize_der()).unwrap();
        let diagnose = |signature: &[u8]| diagnose(&verifier, curve.scheme, MESSAGE, signature);
        let hash = Hash::of(curve.scheme).unwrap();

        let right = key(curve.der).sign(&random, MESSAGE).unwrap();
        assert!(verifier.verifies(curve.scheme, MESSAGE, right.as_ref()));
        let raw = key(curve.raw).sign(&random, MESSAGE).unwrap();
        assert_eq!(diagnose(raw.as_ref()), SignatureFault::RawEcdsa { len: curve.len });
        let twice = key(curve.der).sign(&random, &hash.digest(MESSAGE)).unwrap();
        assert_eq!(diagnose(twice.as_ref()), SignatureFault::HashedTwice);
        let first = &MESSAGE[..hash.bits() / 8];
        let bare = aws_lc_rs::digest::Digest::import_less_safe(first, curve.digest).unwrap();
        let bare = key(curve.der).sign_digest(&bare).unwrap();
        assert_eq!(diagnose(bare.as_ref()), SignatureFault::NotHashed);
        let stranger = EcdsaKeyPair::from_pkcs8(curve.der, &other.serialize_der()).unwrap();
        let stranger = stranger.sign(&random, MESSAGE).unwrap();
        assert_eq!(diagnose(stranger.as_ref()), SignatureFault::OtherKey);
        // Without aws-lc.
        for signature in [&bare, &stranger] {
            let cannot_tell: SignsBare = |_, _, _, _| None;
            let signature = signature.as_ref();
            let fault = ecdsa(&verifier, curve.scheme, hash, MESSAGE, signature, cannot_tell);
            assert_eq!(fault, SignatureFault::OtherKeyOrNotHashed);
        }
        assert_eq!(diagnose(b"no signature"), SignatureFault::Malformed { len: 12 });
    }
}

#[test]
fn ecdsa_with_another_hash_is_named() {
    let pair = pair(&rcgen::PKCS_ECDSA_P521_SHA512);
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P521_SHA384_ASN1_SIGNING, &pair.serialize_der());
    let signature = key.unwrap().sign(&SystemRandom::new(), MESSAGE).unwrap();
    let scheme = SignatureScheme::ECDSA_NISTP521_SHA512;
    let fault = diagnose(&verifier(&pair), scheme, MESSAGE, signature.as_ref());
    assert_eq!(fault.to_string(), "signed with SHA-384 instead of SHA-512");
}

#[test]
fn faults_of_ed25519_keys_are_named() {
    let (pair, other) = (pair(&rcgen::PKCS_ED25519), pair(&rcgen::PKCS_ED25519));
    let [key, stranger] = [&pair, &other]
        .map(|pair| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pair.serialize_der()).unwrap());
    assert_ne!(key.public_key().as_ref(), stranger.public_key().as_ref());
    let verifier = verifier(&pair);
    let diagnose =
        |signature: &[u8]| diagnose(&verifier, SignatureScheme::ED25519, MESSAGE, signature);
    let hashed = key.sign(&Hash::Sha512.digest(MESSAGE));
    assert_eq!(diagnose(hashed.as_ref()), SignatureFault::Hashed);
    assert_eq!(diagnose(stranger.sign(MESSAGE).as_ref()), SignatureFault::OtherKey);
    assert_eq!(diagnose(&[0; 63]), SignatureFault::Length { found: 63, wanted: 64 });
}

/// Splits the next element off DER.
fn element<'a>(der: &mut &'a [u8]) -> &'a [u8] {
    let (length, header) = match der[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        long => {
            let bytes = usize::from(long & 0x7f);
            let length =
                der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, 2 + bytes)
        }
    };
    let content = &der[header..header + length];
    *der = &der[header + length..];
    content
}

/// RSA without padding.
struct Textbook {
    modulus: BigUint,
    exponent: BigUint,
    len: usize,
}

impl Textbook {
    /// From PKCS #8.
    fn new(mut der: &[u8]) -> Self {
        let mut pkcs8 = element(&mut der);
        let _version_and_algorithm = (element(&mut pkcs8), element(&mut pkcs8));
        let mut pkcs1 = element(&mut pkcs8);
        let mut numbers = element(&mut pkcs1);
        let [_, modulus, _, exponent] = [(); 4].map(|()| element(&mut numbers));
        let [modulus, exponent] = [modulus, exponent].map(BigUint::from_bytes_be);
        let len = modulus.bits().div_ceil(8) as usize;
        Self { modulus, exponent, len }
    }

    fn sign(&self, encoded: &[u8]) -> Vec<u8> {
        let number = BigUint::from_bytes_be(encoded).modpow(&self.exponent, &self.modulus);
        let bytes = number.to_bytes_be();
        [&vec![0; self.len - bytes.len()][..], &bytes].concat()
    }

    fn pkcs1(&self, payload: &[u8]) -> Vec<u8> {
        let ones = vec![0xff; self.len - 3 - payload.len()];
        self.sign(&[&[0, 1], &ones[..], &[0], payload].concat())
    }

    fn pss(&self, hash: Hash, mask: Hash, hashed: &[u8], salt: usize) -> Vec<u8> {
        let salt = vec![0x5a; salt];
        let h = hash.digest(&[&[0; 8], hashed, &salt[..]].concat());
        let zeros = vec![0; self.len - h.len() - 2 - salt.len()];
        let mut db = [&zeros[..], &[1], &salt].concat();
        let generated = mgf1(mask, &h, db.len());
        db.iter_mut().zip(generated).for_each(|(byte, mask)| *byte ^= mask);
        db[0] &= 0x7f;
        self.sign(&[&db[..], &h, &[0xbc]].concat())
    }
}

#[test]
fn faults_of_rsa_keys_are_named() {
    let (pair, other) = (pair(&rcgen::PKCS_RSA_SHA256), pair(&rcgen::PKCS_RSA_SHA256));
    let verifier = verifier(&pair);
    let (key, stranger) =
        (Textbook::new(&pair.serialize_der()), Textbook::new(&other.serialize_der()));
    let (pss, pkcs1) = (SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256);
    let (sha256, sha384) = (Hash::Sha256, Hash::Sha384);
    let digest = sha256.digest(MESSAGE);
    let info = |hash: Hash, message: &[u8]| digest_info(&hash.digest(message)).unwrap();

    // The textbook is right where it is to be.
    let right = key.pss(sha256, sha256, &digest, 32);
    assert!(verifier.verifies(pss, MESSAGE, &right));
    let right_pkcs1 = key.pkcs1(&info(sha256, MESSAGE));
    assert!(verifier.verifies(pkcs1, MESSAGE, &right_pkcs1));

    let faults = [
        (pss, key.pss(sha256, sha256, &digest, 222), "PSS salt 222 instead of 32"),
        (pss, key.pss(sha256, sha256, &digest, 0), "PSS salt 0 instead of 32"),
        (
            pss,
            key.pss(sha256, sha384, &digest, 32),
            "the mask of PSS is of SHA-384 instead of SHA-256",
        ),
        (
            pss,
            key.pss(sha384, sha384, &sha384.digest(MESSAGE), 48),
            "signed with SHA-384 instead of SHA-256",
        ),
        (
            pss,
            key.pss(sha256, sha256, MESSAGE, 32),
            "the message was not hashed: sign its digest (`digest`)",
        ),
        (
            pss,
            key.pss(sha256, sha256, &sha256.digest(&digest), 32),
            "the digest was hashed again: give the device the message, or tell it not to hash",
        ),
        (pss, right_pkcs1, "padded as PKCS #1 v1.5 instead of PSS"),
        (pkcs1, right, "padded as PSS instead of PKCS #1 v1.5"),
        (
            pkcs1,
            key.pkcs1(&digest),
            "no name of the hash before the digest: pad `pkcs1_digest_info` instead",
        ),
        (pkcs1, key.pkcs1(MESSAGE), "the message was not hashed: sign its digest (`digest`)"),
        (
            pkcs1,
            key.pkcs1(&info(sha256, &digest)),
            "the digest was hashed again: give the device the message, or tell it not to hash",
        ),
        (pkcs1, key.pkcs1(&info(sha384, MESSAGE)), "signed with SHA-384 instead of SHA-256"),
        (pkcs1, key.pkcs1(&info(sha256, b"another")), "a signature of another message"),
        (pss, stranger.pss(sha256, sha256, &digest, 32), "another key than the certificate's"),
        (pkcs1, stranger.pkcs1(&info(sha256, MESSAGE)), "another key than the certificate's"),
        (pkcs1, vec![7; 512], "512 bytes instead of 256: another key than the certificate's"),
    ];
    for (scheme, signature, text) in faults {
        assert!(!verifier.verifies(scheme, MESSAGE, &signature), "{text}");
        assert_eq!(diagnose(&verifier, scheme, MESSAGE, &signature).to_string(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_diagnosed_without_a_panic(
        signature in prop::collection::vec(any::<u8>(), 0..140), message in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for curve in &CURVES {
            let verifier = verifier(&pair(curve.rcgen));
            let _ = diagnose(&verifier, curve.scheme, &message, &signature);
        }
        for scheme in [SignatureScheme::RSA_PSS_SHA512, SignatureScheme::ED25519, SignatureScheme::ML_DSA_44] {
            // A small modulus, so that the numbers are quick.
            let key = [0x30, 8, 2, 3, 0, 0x8f, 0xff, 2, 1, 3];
            prop_assert!(rsa(&key, scheme, &message, &signature[..signature.len().min(2)]) != Some(SignatureFault::NotHashed));
            let _ = pss(&signature, signature.len() * 8, Hash::Sha256, &message);
        }
    }
}
