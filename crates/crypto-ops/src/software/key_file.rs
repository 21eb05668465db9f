//! Reads private keys from PEM files and DER, with errors that name what was found and the remedy.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair,
};

use crate::der::{self, DerAlgorithm, DerKind, Envelope};
use crate::error::{KeyError, KeyFileError};
use crate::key::KeyHandle;
use crate::pem::{NotPem, PemBlock, PemFile};
use crate::software::private_key::PrivateKey;

/// Reads the private key in the content of a PEM file. Of several keys it takes the first for which `fits` is true.
pub(crate) fn private_key(
    bytes: &[u8],
    fits: impl Fn(&KeyHandle) -> bool,
) -> Result<PrivateKey, KeyFileError> {
    let file = PemFile::parse(bytes);
    let mut keys: Vec<(KeyHandle, PrivateKey)> = Vec::new();
    let mut errors = Vec::new();
    for block in file.blocks() {
        match from_block(block) {
            None => {}
            Some(Ok(key)) => {
                let handle = key.handle()?;
                if keys.iter().all(|(other, _)| *other != handle) {
                    keys.push((handle, key));
                }
            }
            Some(Err(error)) => errors.push(error),
        }
    }
    let count = keys.len();
    let chosen = match count {
        1 if errors.is_empty() => Some(0),
        _ => keys.iter().position(|(handle, _)| fits(handle)),
    };
    match (chosen, errors.into_iter().next()) {
        (Some(at), _) => Ok(keys.swap_remove(at).1),
        (None, Some(error)) => Err(error),
        (None, None) if count > 1 => Err(KeyFileError::SeveralPrivateKeys { count }),
        (None, None) => {
            Err(KeyFileError::NoPrivateKey { found: file.found(), remedy: remedy(&file) })
        }
    }
}

/// Reads the private key in a block; `None` when the block is of another kind.
fn from_block(block: &PemBlock) -> Option<Result<PrivateKey, KeyFileError>> {
    const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
    let read: fn(&[u8]) -> Result<PrivateKey, KeyError> = match block.label() {
        ENCRYPTED => return Some(Err(KeyFileError::Encrypted { label: ENCRYPTED })),
        "PRIVATE KEY" => from_pkcs8,
        "RSA PRIVATE KEY" => rsa_from_pkcs1,
        "EC PRIVATE KEY" => ecdsa_from_sec1,
        _ => return None,
    };
    if block.is_encrypted() {
        return Some(Err(KeyFileError::Encrypted { label: "Proc-Type: 4,ENCRYPTED" }));
    }
    Some(match block.der() {
        Ok(der) => read(&der).map_err(KeyFileError::Key),
        Err(error) => Err(KeyFileError::Damaged { label: block.label().to_owned(), error }),
    })
}

/// The remedy for a file without a private key.
fn remedy(file: &PemFile) -> &'static str {
    const GIVE: &str = "give the file with the private key";
    const PUBLIC: &str = "this is the public half: give the private key";
    const OF_CERTIFICATE: &str = "give the private key that the certificate was made for";
    match file.not_pem() {
        Some(NotPem::Der(DerKind::PrivateKey)) => {
            "convert it with `openssl pkey -inform DER -in KEY -out KEY.pem`"
        }
        Some(NotPem::Der(DerKind::EncryptedPrivateKey)) => {
            "decrypt it with `openssl pkcs8 -inform DER -in KEY -out KEY.pem`"
        }
        Some(NotPem::Der(DerKind::Pkcs12)) => {
            "take the key out of it with `openssl pkcs12 -in KEY -nocerts -nodes -out KEY.pem`"
        }
        Some(NotPem::Der(DerKind::PublicKey)) => PUBLIC,
        Some(NotPem::Der(DerKind::Certificate | DerKind::Pkcs7)) => OF_CERTIFICATE,
        Some(_) => GIVE,
        None => {
            let labels = file.blocks().iter().map(PemBlock::label);
            let remedies = labels.map(|label| match label {
                "OPENSSH PRIVATE KEY" => {
                    "convert it in its place with `ssh-keygen -p -N '' -m PKCS8 -f KEY`"
                }
                "PUBLIC KEY" | "RSA PUBLIC KEY" => PUBLIC,
                "CERTIFICATE" | "TRUSTED CERTIFICATE" | "PKCS7" => OF_CERTIFICATE,
                "EC PARAMETERS" => "this is only the curve: give the private key on it",
                _ => GIVE,
            });
            remedies.min_by_key(|&remedy| remedy == GIVE).unwrap_or(GIVE)
        }
    }
}

/// Reads a key of any algorithm from PKCS #8.
pub(crate) fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyError> {
    const MALFORMED: KeyError = KeyError::Malformed { format: "PKCS #8" };
    // The library accepts version 2 for Ed25519 only. For other algorithms the private key is parsed alone.
    let inner = der::pkcs8_private_key(der).filter(|_| der::is_pkcs8_version_2(der));
    let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
        let read = match inner {
            None => EcdsaKeyPair::from_pkcs8(algorithm, der),
            Some(inner) => EcdsaKeyPair::from_private_key_der(algorithm, inner),
        };
        read.map(PrivateKey::Ecdsa).map_err(|_| MALFORMED)
    };
    match der::algorithm(Envelope::Pkcs8, der).ok_or(MALFORMED)? {
        DerAlgorithm::P256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
        DerAlgorithm::P384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
        DerAlgorithm::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(PrivateKey::Ed25519)
            .map_err(|_| MALFORMED),
        DerAlgorithm::Rsa => match inner {
            None => RsaKeyPair::from_pkcs8(der),
            Some(inner) => RsaKeyPair::from_der(inner),
        }
        .map(PrivateKey::Rsa)
        .map_err(|_| rsa_error(der::pkcs8_private_key(der), "PKCS #8")),
        DerAlgorithm::Other(found) => Err(KeyError::Unsupported { found }),
    }
}

/// Reads an RSA key from PKCS #1.
fn rsa_from_pkcs1(der: &[u8]) -> Result<PrivateKey, KeyError> {
    RsaKeyPair::from_der(der)
        .map(PrivateKey::Rsa)
        .map_err(|_| rsa_error(Some(der), "RSAPrivateKey (PKCS #1)"))
}

/// Reads an ECDSA key from SEC 1.
fn ecdsa_from_sec1(der: &[u8]) -> Result<PrivateKey, KeyError> {
    const MALFORMED: KeyError = KeyError::Malformed { format: "ECPrivateKey (SEC 1)" };
    let algorithm = match der::sec1_curve(der).ok_or(MALFORMED)? {
        DerAlgorithm::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        DerAlgorithm::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        DerAlgorithm::Other(found) => return Err(KeyError::Unsupported { found }),
        DerAlgorithm::Rsa | DerAlgorithm::Ed25519 => return Err(MALFORMED),
    };
    EcdsaKeyPair::from_private_key_der(algorithm, der).map(PrivateKey::Ecdsa).map_err(|_| MALFORMED)
}

/// The error for an RSA key that the crypto library rejected.
fn rsa_error(pkcs1: Option<&[u8]>, format: &'static str) -> KeyError {
    match pkcs1.and_then(der::rsa_modulus_bits) {
        Some(bits) if !KeyError::RSA_BITS.contains(&bits) => KeyError::RsaSize { bits },
        _ => KeyError::Malformed { format },
    }
}
