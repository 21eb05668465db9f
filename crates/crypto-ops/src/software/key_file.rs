//! Reading private keys: from PEM text to DER, from DER to a key, with refusals that say what was
//! found.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair,
};
use rustls_pki_types::pem::{self, PemObject as _, SectionKind};
use zeroize::Zeroizing;

use crate::der::{self, Envelope, Found};
use crate::error::KeyError;
use crate::software::private_key::PrivateKey;

/// The DER of a private key, by the structure its label names.
pub(crate) enum Pem {
    Pkcs8(Zeroizing<Vec<u8>>),
    Pkcs1(Zeroizing<Vec<u8>>),
    Sec1(Zeroizing<Vec<u8>>),
}

/// The one private key in a PEM text.
pub(crate) fn private_key(text: &str) -> Result<Pem, KeyError> {
    const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
    let labels: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .collect();
    if labels.contains(&ENCRYPTED) {
        return Err(KeyError::Encrypted { label: ENCRYPTED });
    }
    // The older way, a header within the section (RFC 1421).
    if text.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED")) {
        return Err(KeyError::Encrypted { label: "Proc-Type: 4,ENCRYPTED" });
    }
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|error| KeyError::Pem { reason: pem_reason(&error) })?;
        let der = Zeroizing::new(der);
        match kind {
            SectionKind::PrivateKey => keys.push(Pem::Pkcs8(der)),
            SectionKind::RsaPrivateKey => keys.push(Pem::Pkcs1(der)),
            SectionKind::EcPrivateKey => keys.push(Pem::Sec1(der)),
            _ => {}
        }
    }
    match keys.len() {
        0 if labels.is_empty() => {
            Err(KeyError::NoPrivateKey { found: "no -----BEGIN line at all".into() })
        }
        0 => Err(KeyError::NoPrivateKey { found: labels.join(", ") }),
        1 => Ok(keys.remove(0)),
        count => Err(KeyError::SeveralPrivateKeys { count }),
    }
}

/// A key of any algorithm from PKCS #8.
pub(crate) fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyError> {
    const MALFORMED: KeyError = KeyError::Malformed { format: "PKCS #8" };
    let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
        EcdsaKeyPair::from_pkcs8(algorithm, der).map(PrivateKey::Ecdsa).map_err(|_| MALFORMED)
    };
    match der::algorithm(Envelope::Pkcs8, der).ok_or(MALFORMED)? {
        Found::P256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Found::P384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
        Found::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(PrivateKey::Ed25519)
            .map_err(|_| MALFORMED),
        Found::Rsa => RsaKeyPair::from_pkcs8(der)
            .map(PrivateKey::Rsa)
            .map_err(|_| rsa_refusal(der::pkcs8_private_key(der), "PKCS #8")),
        Found::Other(found) => Err(KeyError::Unsupported { found }),
    }
}

/// An RSA key from PKCS #1.
pub(crate) fn rsa_from_pkcs1(der: &[u8]) -> Result<PrivateKey, KeyError> {
    RsaKeyPair::from_der(der)
        .map(PrivateKey::Rsa)
        .map_err(|_| rsa_refusal(Some(der), "RSAPrivateKey (PKCS #1)"))
}

/// An ECDSA key from SEC 1.
pub(crate) fn ecdsa_from_sec1(der: &[u8]) -> Result<PrivateKey, KeyError> {
    const MALFORMED: KeyError = KeyError::Malformed { format: "ECPrivateKey (SEC 1)" };
    let algorithm = match der::sec1_curve(der).ok_or(MALFORMED)? {
        Found::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        Found::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        Found::Other(found) => return Err(KeyError::Unsupported { found }),
        Found::Rsa | Found::Ed25519 => return Err(MALFORMED),
    };
    EcdsaKeyPair::from_private_key_der(algorithm, der).map(PrivateKey::Ecdsa).map_err(|_| MALFORMED)
}

/// Why the crypto library refused an RSA key: mostly its size.
fn rsa_refusal(pkcs1: Option<&[u8]>, format: &'static str) -> KeyError {
    match pkcs1.and_then(der::rsa_modulus_bits) {
        Some(bits) if !KeyError::RSA_BITS.contains(&bits) => KeyError::RsaSize { bits },
        _ => KeyError::Malformed { format },
    }
}

/// The reason in words; the library's own text quotes the input, which may be secret.
fn pem_reason(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no -----END line",
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is not well-formed",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    }
}
