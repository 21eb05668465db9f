//! Key files: three structures of one key, and errors that name what was found.

use crypto_ops::{Algorithm, KeyError, KeyFileError, KeyHandle, PemFile, SoftwareKeys};
use proptest::prelude::*;

fn load(pem: &str) -> Result<KeyHandle, KeyFileError> {
    SoftwareKeys::new().load_pem(pem)
}

/// The error's message.
fn error_text(pem: &str) -> String {
    load(pem).expect_err("must be rejected").to_string()
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
fn a_certificate_beside_the_key_is_ignored() {
    let (key, certificate) = (key!("p256.pkcs8"), key!("p256.certificate"));
    let alone = load(key).expect("loads");
    assert_eq!(load(&format!("{certificate}{key}")), Ok(alone.clone()));
    assert_eq!(load(&format!("{key}{certificate}")), Ok(alone.clone()));
    // As files come from other systems.
    assert_eq!(load(&key.replace('\n', "\r\n")), Ok(alone));
}

#[test]
fn text_without_a_private_key_is_rejected_with_what_it_holds() {
    let accepted = "accepted are PRIVATE KEY (PKCS #8), RSA PRIVATE KEY (PKCS #1) and \
                    EC PRIVATE KEY (SEC 1)";
    let (give, public) =
        ("give the file with the private key", "this is the public half: give the private key");
    for (text, found, remedy) in [
        ("", "an empty file", give),
        ("\r\n", "an empty file", give),
        ("a path instead of a text", "no -----BEGIN line at all", give),
        (
            key!("p256.certificate"),
            "CERTIFICATE",
            "give the private key that the certificate was made for",
        ),
        (key!("p256.public"), "PUBLIC KEY", public),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            "OPENSSH PRIVATE KEY",
            "convert it in its place with `ssh-keygen -p -N '' -m PKCS8 -f KEY`",
        ),
    ] {
        assert_eq!(
            error_text(text),
            format!("no private key in the PEM text: found {found}; {accepted}; {remedy}")
        );
    }
}

/// The DER in the last block of a PEM file.
fn der(pem: &str) -> Vec<u8> {
    let file = PemFile::parse(pem.as_bytes());
    file.blocks().last().expect("a block").der().expect("base64").to_vec()
}

#[test]
fn a_key_in_der_is_rejected_with_the_command_that_converts_it() {
    for (pem, found, command) in [
        (key!("p256.pkcs8"), "a private key in DER", "openssl pkey -inform DER"),
        (key!("rsa2048.pkcs1"), "a private key in DER", "openssl pkey -inform DER"),
        (key!("p384.sec1"), "a private key in DER", "openssl pkey -inform DER"),
        (key!("encrypted.pkcs8"), "an encrypted private key in DER", "openssl pkcs8 -inform DER"),
        (key!("p256.public"), "a public key in DER", "give the private key"),
        (key!("p256.certificate"), "a certificate in DER", "give the private key"),
    ] {
        let refused = SoftwareKeys::new().load_pem(&der(pem)).expect_err("no PEM").to_string();
        assert!(refused.contains(found) && refused.contains(command), "{refused}");
    }
}

#[test]
fn text_around_a_key_and_its_encoding_do_not_matter() {
    let key = key!("p256.pkcs8");
    let alone = load(key).expect("loads");
    let wide = |order: fn(u16) -> [u8; 2], mark: &[u16]| -> Vec<u8> {
        mark.iter().copied().chain(key.encode_utf16()).flat_map(order).collect()
    };
    let lines = |end: &str| key.replace('\n', end).into_bytes();
    let variants = [
        // The attributes of a PKCS #12 bag, in Latin-1.
        [b"Bag Attributes\n    friendlyName: B\xfcro\n", key.as_bytes()].concat(),
        [b"\xef\xbb\xbf", key.as_bytes()].concat(),
        wide(u16::to_le_bytes, &[0xfeff]),
        wide(u16::to_be_bytes, &[0xfeff]),
        wide(u16::to_le_bytes, &[]),
        wide(u16::to_be_bytes, &[]),
        lines("\r\n"),
        lines("\r"),
        lines("  \n\t"),
        key.trim_end().as_bytes().to_vec(),
        // Concatenated files without a final line end.
        [key!("p256.certificate").trim_end(), key].concat().into_bytes(),
        [key!("p256.certificate"), "\u{feff}", key].concat().into_bytes(),
        // The same key twice.
        [key, key!("p256.sec1")].concat().into_bytes(),
        ["-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", key]
            .concat()
            .into_bytes(),
        // A header that does not mention encryption (RFC 1421).
        key.replacen("KEY-----\n", "KEY-----\nComment: ours,\n  and theirs\n\n", 1).into_bytes(),
    ];
    for variant in variants {
        let loaded = SoftwareKeys::new().load_pem(&variant);
        assert_eq!(loaded, Ok(alone.clone()), "{}", String::from_utf8_lossy(&variant));
    }
}

/// A PEM block with these bytes.
fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64: String = der
        .chunks(3)
        .flat_map(|three| {
            let number =
                (0..3).fold(0_usize, |n, i| n << 8 | usize::from(*three.get(i).unwrap_or(&0)));
            (0..4).map(move |i| match i <= three.len() {
                true => char::from(ALPHABET[number >> (18 - 6 * i) & 63]),
                false => '=',
            })
        })
        .collect();
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

/// A DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let head = match content.len() {
        length @ ..0x80 => vec![tag, length as u8],
        length @ ..0x100 => vec![tag, 0x81, length as u8],
        length => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

#[test]
fn keys_that_name_no_curve_and_envelopes_of_version_2_are_read() {
    // Version, curve, OCTET STRING with SEC 1, which has a version, 48 bytes, and the public key in [1].
    let pkcs8 = der(key!("p384.pkcs8"));
    let inner_at = pkcs8.windows(5).position(|w| w == [2, 1, 1, 4, 48]).expect("SEC 1 inside");
    let inner = &pkcs8[inner_at..];
    let sec1 = element(0x30, inner);
    let expected = load(key!("p384.pkcs8")).expect("loads");
    assert_eq!(load(&pem("EC PRIVATE KEY", &sec1)), Ok(expected.clone()));

    let curve_at = pkcs8.windows(2).position(|w| w == [0x30, 16]).expect("the algorithm");
    let public = &inner[53 + 4..];
    let body = [
        &[2, 1, 1][..],
        &pkcs8[curve_at..curve_at + 18],
        &element(4, &sec1),
        // [1] IMPLICIT BIT STRING
        &element(0x81, public),
    ];
    assert_eq!(load(&pem("PRIVATE KEY", &element(0x30, &body.concat()))), Ok(expected));

    // On another curve of the same length the public half does not fit.
    let wrong = der(key!("secp256k1.sec1"));
    let parameters = wrong.windows(2).position(|w| w == [0xa0, 7]).expect("the curve");
    let without = [&wrong[2..parameters], &wrong[parameters + 9..]].concat();
    assert!(load(&pem("EC PRIVATE KEY", &element(0x30, &without))).is_err());
}

#[test]
fn of_several_keys_the_one_that_fits_is_loaded() {
    let wanted = load(key!("p256.pkcs8")).expect("loads");
    let fits = |handle: &KeyHandle| *handle == wanted;
    let others =
        [key!("rsa2048.pkcs1"), key!("encrypted.pkcs8"), key!("encrypted.sec1"), key!("p521.sec1")];
    for other in others {
        for both in [[other, key!("p256.pkcs8")].concat(), [key!("p256.pkcs8"), other].concat()] {
            let store = SoftwareKeys::new();
            assert_eq!(store.load_pem_where(&both, fits), Ok(wanted.clone()), "{other}");
            assert!(store.load_pem_where(&both, |_| false).is_err(), "{other}");
            assert!(store.load_pem(&both).is_err(), "{other}");
        }
    }
    // A single key is loaded without asking.
    let alone = SoftwareKeys::new().load_pem_where(key!("p256.pkcs8"), |_| false);
    assert_eq!(alone, Ok(wanted));
}

#[test]
fn an_encrypted_key_is_rejected_with_the_remedy() {
    for (pem, label) in [
        (key!("encrypted.pkcs8"), "ENCRYPTED PRIVATE KEY"),
        (key!("encrypted.sec1"), "Proc-Type: 4,ENCRYPTED"),
    ] {
        assert_eq!(
            error_text(pem),
            format!(
                "the private key is encrypted ({label}): decrypt it first, \
                 for instance with `openssl pkey -in KEY -out PLAIN`"
            )
        );
    }
}

#[test]
fn two_private_keys_are_rejected() {
    let both = concat!(key!("p256.pkcs8"), key!("rsa2048.pkcs1"));
    assert_eq!(
        error_text(both),
        "2 private keys in the PEM text: keep the one that belongs to the certificate"
    );
}

#[test]
fn an_unsupported_key_is_rejected_by_name() {
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
            error_text(pem),
            format!(
                "found {found}; accepted are ECDSA P-256, ECDSA P-384, Ed25519, \
                 and RSA of 2048 to 8192 bits"
            )
        );
    }
}

#[test]
fn a_small_rsa_key_is_rejected_with_its_size() {
    for pem in [key!("rsa1024.pkcs8"), key!("rsa1024.pkcs1")] {
        assert_eq!(
            error_text(pem),
            "found an RSA key of 1024 bits; accepted are 2048 to 8192 bits"
        );
    }
}

#[test]
fn a_damaged_file_is_rejected_without_quoting_it() {
    let key = key!("p256.pkcs8");
    let body = key.lines().nth(1).expect("a line of base64");
    for (damaged, reason) in [
        (key.replace("-----END", "-----FIN"), "it has no -----END line"),
        (key[..100].to_owned(), "it has no -----END line"),
        (key.replacen("KEY-----", "KEY----", 1), "its -----BEGIN line is not well-formed"),
        (key.replace(body, "no base64!"), "it is not base64"),
    ] {
        assert_eq!(
            error_text(&damaged),
            format!(
                "the block PRIVATE KEY is damaged: {reason}; copy the file again from where it was made"
            )
        );
    }
    for (pem, format) in [
        (key, "PKCS #8"),
        (key!("rsa2048.pkcs1"), "RSAPrivateKey (PKCS #1)"),
        (key!("p256.sec1"), "ECPrivateKey (SEC 1)"),
    ] {
        // Without the first line of base64 the structure cannot be identified.
        let begin = pem.rfind("-----BEGIN").expect("a section");
        let line = pem[begin..].lines().nth(1).expect("a line of base64");
        assert_eq!(
            error_text(&pem.replace(line, "")),
            format!("the {format} structure is damaged, or its numbers do not make a key")
        );
    }
}

#[test]
fn a_wrong_label_is_rejected() {
    let mislabelled = key!("rsa2048.pkcs1").replace("RSA PRIVATE KEY", "EC PRIVATE KEY");
    assert_eq!(
        load(&mislabelled),
        Err(KeyError::Malformed { format: "ECPrivateKey (SEC 1)" }.into())
    );
    let mislabelled = key!("p256.pkcs8").replace("PRIVATE KEY", "RSA PRIVATE KEY");
    assert_eq!(
        load(&mislabelled),
        Err(KeyError::Malformed { format: "RSAPrivateKey (PKCS #1)" }.into())
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(SoftwareKeys::new().load_pem(&bytes).is_err());
    }

    #[test]
    fn any_text_is_rejected_without_a_panic(text in "(-----(BEGIN|END) (RSA |EC )?PRIVATE KEY-----\n|[A-Za-z0-9+/=]{1,64}\n|.{0,10}\n){0,8}") {
        prop_assert!(load(&text).is_err());
    }

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
