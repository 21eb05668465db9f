//! Signatures of another implementation: OpenSSL signed `tests/signatures/message` with these keys.

use crypto_ops::{Scheme, SoftwareKeys};
use rcgen::PublicKeyData as _;

use crate::fixture::{KEYS, key_schemes, sign_op, signature};

const MESSAGE: &[u8] = include_bytes!("../signatures/message");

fn by_openssl(scheme: Scheme) -> &'static [u8] {
    macro_rules! signed {
        ($name:literal) => {
            include_bytes!(concat!("../signatures/", $name, ".sig"))
        };
    }
    match scheme {
        Scheme::EcdsaP256Sha256 => signed!("ecdsa_secp256r1_sha256"),
        Scheme::EcdsaP384Sha384 => signed!("ecdsa_secp384r1_sha384"),
        Scheme::Ed25519 => signed!("ed25519"),
        Scheme::RsaPkcs1Sha256 => signed!("rsa_pkcs1_sha256"),
        Scheme::RsaPkcs1Sha384 => signed!("rsa_pkcs1_sha384"),
        Scheme::RsaPkcs1Sha512 => signed!("rsa_pkcs1_sha512"),
        Scheme::RsaPssSha256 => signed!("rsa_pss_rsae_sha256"),
        Scheme::RsaPssSha384 => signed!("rsa_pss_rsae_sha384"),
        Scheme::RsaPssSha512 => signed!("rsa_pss_rsae_sha512"),
        other => panic!("no signature for {other}"),
    }
}

#[test]
fn signatures_by_openssl_pass_under_their_scheme_only() {
    for (key, scheme) in key_schemes() {
        if key == KEYS[4] {
            continue; // OpenSSL signed with the smaller RSA key.
        }
        for signed_under in Scheme::ALL {
            let passes = key.check(scheme, MESSAGE, by_openssl(signed_under)).is_ok();
            assert_eq!(passes, scheme == signed_under, "{signed_under} as {scheme}");
        }
    }
}

#[test]
fn deterministic_schemes_give_the_same_bytes() {
    let same = |index: usize, scheme| {
        let op = sign_op(&KEYS[index], scheme, MESSAGE);
        assert_eq!(signature(&op), by_openssl(scheme), "{scheme}");
    };
    same(2, Scheme::Ed25519);
    same(3, Scheme::RsaPkcs1Sha256);
    same(3, Scheme::RsaPkcs1Sha384);
    same(3, Scheme::RsaPkcs1Sha512);
}

#[test]
fn keys_made_by_rcgen_load() {
    let store = SoftwareKeys::new();
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("generates");
        let key = store.load_pem(&pair.serialize_pem()).expect("loads");
        assert_eq!(key, store.load_pkcs8_der(pair.serialized_der()).expect("loads"));
        assert_eq!(key.public_key(), pair.subject_public_key_info());
    }
}
