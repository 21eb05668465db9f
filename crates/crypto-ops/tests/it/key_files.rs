//! Key files: three structures that name one key, and refusals that say what was found.

use crypto_ops::{Algorithm, KeyError, KeyHandle, SoftwareKeys};
use proptest::prelude::*;

fn load(pem: &str) -> Result<KeyHandle, KeyError> {
    SoftwareKeys::new().load_pem(pem)
}

/// The words of the refusal.
fn refusal(pem: &str) -> String {
    load(pem).expect_err("must be refused").to_string()
}

#[test]
fn one_key_has_one_name_in_every_structure() {
    for (one, other, algorithm) in [
        (key!("p256.pkcs8"), key!("p256.sec1"), Algorithm::EcdsaP256),
        (key!("p384.pkcs8"), key!("p384.sec1"), Algorithm::EcdsaP384),
        (key!("rsa2048.pkcs8"), key!("rsa2048.pkcs1"), Algorithm::Rsa),
    ] {
        let (one, other) = (load(one).expect("loads"), load(other).expect("loads"));
        assert_eq!(one, other);
        assert_eq!(one.public_key(), other.public_key());
        assert_eq!(one.algorithm(), algorithm);
    }
}

#[test]
fn a_certificate_beside_the_key_is_passed_over() {
    let (key, certificate) = (key!("p256.pkcs8"), key!("p256.certificate"));
    let alone = load(key).expect("loads");
    assert_eq!(load(&format!("{certificate}{key}")), Ok(alone.clone()));
    assert_eq!(load(&format!("{key}{certificate}")), Ok(alone.clone()));
    // As files come from other systems.
    assert_eq!(load(&key.replace('\n', "\r\n")), Ok(alone));
}

#[test]
fn text_without_a_private_key_is_refused_by_what_it_holds() {
    let accepted = "accepted are PRIVATE KEY (PKCS #8), RSA PRIVATE KEY (PKCS #1) and \
                    EC PRIVATE KEY (SEC 1)";
    for (text, found) in [
        ("", "no -----BEGIN line at all"),
        ("a path instead of a text", "no -----BEGIN line at all"),
        (key!("p256.certificate"), "CERTIFICATE"),
        (key!("p256.public"), "PUBLIC KEY"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            "OPENSSH PRIVATE KEY",
        ),
    ] {
        assert_eq!(
            refusal(text),
            format!("no private key in the PEM text: found {found}; {accepted}")
        );
    }
}

#[test]
fn an_encrypted_key_is_refused_with_the_remedy() {
    for (pem, label) in [
        (key!("encrypted.pkcs8"), "ENCRYPTED PRIVATE KEY"),
        (key!("encrypted.sec1"), "Proc-Type: 4,ENCRYPTED"),
    ] {
        assert_eq!(
            refusal(pem),
            format!(
                "the private key is encrypted ({label}): decrypt it first, \
                 for instance with `openssl pkey -in KEY -out PLAIN`"
            )
        );
    }
}

#[test]
fn two_private_keys_are_one_too_many() {
    let both = concat!(key!("p256.pkcs8"), key!("rsa2048.pkcs1"));
    assert_eq!(
        refusal(both),
        "2 private keys in the PEM text: keep the one that belongs to the certificate"
    );
}

#[test]
fn a_key_of_another_kind_is_refused_by_name() {
    for (pem, found) in [
        (key!("p521.pkcs8"), "an EC key on curve P-521"),
        (key!("p521.sec1"), "an EC key on curve P-521"),
        (key!("secp256k1.pkcs8"), "an EC key on curve secp256k1"),
        (key!("secp256k1.sec1"), "an EC key on curve secp256k1"),
        (key!("ed448.pkcs8"), "an Ed448 key"),
        (key!("x25519.pkcs8"), "an X25519 key, which cannot sign"),
        (key!("rsa-pss.pkcs8"), "an RSA key bound to PSS (id-RSASSA-PSS)"),
    ] {
        assert_eq!(
            refusal(pem),
            format!(
                "found {found}; accepted are ECDSA P-256, ECDSA P-384, Ed25519, \
                 and RSA of 2048 to 8192 bits"
            )
        );
    }
}

#[test]
fn a_small_rsa_key_is_refused_by_size() {
    for pem in [key!("rsa1024.pkcs8"), key!("rsa1024.pkcs1")] {
        assert_eq!(refusal(pem), "found an RSA key of 1024 bits; accepted are 2048 to 8192 bits");
    }
}

#[test]
fn a_damaged_file_is_refused_without_quoting_it() {
    let key = key!("p256.pkcs8");
    let body = key.lines().nth(1).expect("a line of base64");
    for (damaged, reason) in [
        (key.replace("-----END", "-----FIN"), "a section has no -----END line"),
        (key.replacen("KEY-----", "KEY----", 1), "a -----BEGIN line is not well-formed"),
        (key.replace(body, "no base64!"), "a section is not base64"),
    ] {
        assert_eq!(refusal(&damaged), format!("the PEM text is damaged: {reason}"));
    }
    for (pem, format) in [
        (key, "PKCS #8"),
        (key!("rsa2048.pkcs1"), "RSAPrivateKey (PKCS #1)"),
        (key!("p256.sec1"), "ECPrivateKey (SEC 1)"),
    ] {
        // The key's first line of base64 says what it is; without it the rest says nothing.
        let begin = pem.rfind("-----BEGIN").expect("a section");
        let line = pem[begin..].lines().nth(1).expect("a line of base64");
        assert_eq!(
            refusal(&pem.replace(line, "")),
            format!("the {format} structure is damaged, or its numbers do not make a key")
        );
    }
}

#[test]
fn a_label_that_lies_is_refused() {
    let lying = key!("rsa2048.pkcs1").replace("RSA PRIVATE KEY", "EC PRIVATE KEY");
    assert_eq!(load(&lying), Err(KeyError::Malformed { format: "ECPrivateKey (SEC 1)" }));
    let lying = key!("p256.pkcs8").replace("PRIVATE KEY", "RSA PRIVATE KEY");
    assert_eq!(load(&lying), Err(KeyError::Malformed { format: "RSAPrivateKey (PKCS #1)" }));
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in "(-----(BEGIN|END) (RSA |EC )?PRIVATE KEY-----\n|[A-Za-z0-9+/=]{1,64}\n|.{0,10}\n){0,8}") {
        prop_assert!(load(&text).is_err());
    }

    /// A damaged key is refused, or is another key, or the same where the damage is to something
    /// that says nothing about the key.
    #[test]
    fn a_damaged_structure_never_panics(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for pem in [key!("p256.pkcs8"), key!("ed25519.pkcs8")] {
            let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let mut base64 = base64.into_bytes();
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let at = at.index(base64.len() - 4);
            base64[at] = alphabet[usize::from(byte) % alphabet.len()];
            let base64 = String::from_utf8(base64).expect("ASCII");
            let _ = load(&format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n"));
        }
    }
}
