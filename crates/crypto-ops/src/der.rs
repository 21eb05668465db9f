//! A reader of the parts of DER that identify a structure, and of a key's algorithm and size.
//!
//! It selects the parser of the crypto library, which validates the key, and lets error messages name what was found.

use std::fmt;

/// The structure around an algorithm identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// PKCS #8 `PrivateKeyInfo` (RFC 5208, RFC 5958): a version precedes the identifier.
    Pkcs8,
    /// X.509 `SubjectPublicKeyInfo` (RFC 5280): the identifier comes first.
    Spki,
}

/// The algorithm that an identifier names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DerAlgorithm {
    Rsa,
    P256,
    P384,
    Ed25519,
    /// Not accepted; a phrase that names it.
    Other(String),
}

/// The algorithm that `der` names, or `None` when `der` is not such an envelope.
pub(crate) fn algorithm(envelope: Envelope, der: &[u8]) -> Option<DerAlgorithm> {
    let (mut body, rest) = element(der, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    if envelope == Envelope::Pkcs8 {
        (_, body) = element(body, INTEGER)?;
    }
    let (identifier, _) = element(body, SEQUENCE)?;
    let (oid, parameters) = element(identifier, OBJECT_IDENTIFIER)?;
    Some(match oid {
        RSA_ENCRYPTION => DerAlgorithm::Rsa,
        EC_PUBLIC_KEY => curve(parameters),
        ED25519 => DerAlgorithm::Ed25519,
        RSASSA_PSS => DerAlgorithm::Other("an RSA key bound to PSS (id-RSASSA-PSS)".into()),
        ED448 => DerAlgorithm::Other("an Ed448 key".into()),
        X25519 => DerAlgorithm::Other("an X25519 key, which cannot sign".into()),
        DSA => DerAlgorithm::Other("a DSA key".into()),
        other => DerAlgorithm::Other(format!("a key with algorithm {}", dotted(other))),
    })
}

/// The curve of a SEC 1 `ECPrivateKey` (RFC 5915), or `None` when `der` is not one.
///
/// For a key that names no curve this is the usual curve of its length. A key on another curve of that length is rejected
/// when it is parsed, because its public half does not match.
pub(crate) fn sec1_curve(der: &[u8]) -> Option<DerAlgorithm> {
    let (body, rest) = element(der, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let (_, body) = element(body, INTEGER)?;
    let (scalar, body) = element(body, OCTET_STRING)?;
    if let Some((parameters, _)) = element(body, PARAMETERS) {
        return Some(curve(parameters));
    }
    match scalar.len() {
        32 => Some(DerAlgorithm::P256),
        48 => Some(DerAlgorithm::P384),
        66 => Some(curve_p521()),
        _ => None,
    }
}

/// The length in bits of the modulus in a PKCS #1 `RSAPrivateKey` (RFC 8017, appendix A.1.2).
pub(crate) fn rsa_modulus_bits(pkcs1: &[u8]) -> Option<usize> {
    let (body, _) = element(pkcs1, SEQUENCE)?;
    let (_, body) = element(body, INTEGER)?;
    let (modulus, _) = element(body, INTEGER)?;
    significant_bits(modulus)
}

/// The bare key in a `SubjectPublicKeyInfo`.
pub(crate) fn spki_public_key(spki: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(spki, SEQUENCE)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (bits, _) = element(body, BIT_STRING)?;
    // The first byte counts the unused bits of the last.
    bits.get(1..)
}

/// The content of the `AlgorithmIdentifier` in a `SubjectPublicKeyInfo`.
pub(crate) fn spki_algorithm(spki: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(spki, SEQUENCE)?;
    Some(element(body, SEQUENCE)?.0)
}

/// The length in bits of the modulus in a `SubjectPublicKeyInfo` around a PKCS #1 `RSAPublicKey`.
pub(crate) fn spki_rsa_modulus_bits(spki: &[u8]) -> Option<usize> {
    let (body, _) = element(spki_public_key(spki)?, SEQUENCE)?;
    let (modulus, _) = element(body, INTEGER)?;
    significant_bits(modulus)
}

/// The private key in a PKCS #8 envelope, which is DER itself.
pub(crate) fn pkcs8_private_key(der: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(der, SEQUENCE)?;
    let (_, body) = element(body, INTEGER)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (key, _) = element(body, OCTET_STRING)?;
    Some(key)
}

/// Whether a PKCS #8 envelope has version 2 (RFC 5958), which may contain the public key, too.
pub(crate) fn is_pkcs8_version_2(der: &[u8]) -> bool {
    let version = element(der, SEQUENCE).and_then(|(body, _)| element(body, INTEGER));
    version.is_some_and(|(version, _)| version == [1])
}

/// The structure that a DER file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DerKind {
    /// An X.509 certificate.
    Certificate,
    /// A certificate request (PKCS #10).
    Request,
    /// A public key (`SubjectPublicKeyInfo`).
    PublicKey,
    /// A private key: PKCS #8, PKCS #1 or SEC 1.
    PrivateKey,
    /// An encrypted private key (PKCS #8).
    EncryptedPrivateKey,
    /// A bundle of certificates (PKCS #7).
    Pkcs7,
    /// A password-protected key with its certificates (PKCS #12).
    Pkcs12,
}

impl DerKind {
    /// Identifies `bytes`; `None` unless they are exactly one such structure.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (body, rest) = element(bytes, SEQUENCE)?;
        if !rest.is_empty() {
            return None;
        }
        let (tag, first, rest) = any_element(body)?;
        let next = any_element(rest).map(|(tag, ..)| tag);
        match (tag, first, next) {
            (INTEGER, [3], Some(SEQUENCE)) => Some(Self::Pkcs12),
            (INTEGER, [0 | 1], Some(SEQUENCE | INTEGER | OCTET_STRING)) => Some(Self::PrivateKey),
            (OBJECT_IDENTIFIER, ..) => Some(Self::Pkcs7),
            (SEQUENCE, inner, next) => {
                let (tag, ..) = any_element(inner)?;
                match (tag, next) {
                    (OBJECT_IDENTIFIER, Some(OCTET_STRING)) => Some(Self::EncryptedPrivateKey),
                    (OBJECT_IDENTIFIER, _) => Some(Self::PublicKey),
                    // A request begins with its version, zero; a version 1 certificate begins with its serial number.
                    (INTEGER, _) if inner.starts_with(&[INTEGER, 1, 0]) => Some(Self::Request),
                    _ => Some(Self::Certificate),
                }
            }
            _ => None,
        }
    }
}

impl fmt::Display for DerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate in DER",
            Self::Request => "a certificate request in DER",
            Self::PublicKey => "a public key in DER",
            Self::PrivateKey => "a private key in DER",
            Self::EncryptedPrivateKey => "an encrypted private key in DER",
            Self::Pkcs7 => "a PKCS #7 bundle in DER",
            Self::Pkcs12 => "a PKCS #12 file",
        })
    }
}

fn significant_bits(number: &[u8]) -> Option<usize> {
    let significant = &number[number.iter().position(|&byte| byte != 0)?..];
    Some(significant.len() * 8 - significant[0].leading_zeros() as usize)
}

fn curve(parameters: &[u8]) -> DerAlgorithm {
    let Some((oid, _)) = element(parameters, OBJECT_IDENTIFIER) else {
        return DerAlgorithm::Other("an EC key with explicit curve parameters".into());
    };
    match oid {
        P256 => DerAlgorithm::P256,
        P384 => DerAlgorithm::P384,
        P521 => curve_p521(),
        SECP256K1 => DerAlgorithm::Other("an EC key on curve secp256k1".into()),
        other => DerAlgorithm::Other(format!("an EC key on curve {}", dotted(other))),
    }
}

fn curve_p521() -> DerAlgorithm {
    DerAlgorithm::Other("an EC key on curve P-521".into())
}

/// Splits the first element off `input` if its tag is `tag`; returns its content and the rest.
pub(crate) fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(input)?;
    (found == tag).then_some((content, rest))
}

/// Splits the first element off `input`; returns its tag, its content and the rest.
fn any_element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, input) = input.split_first()?;
    let (&short, input) = input.split_first()?;
    let (length, input) = match short {
        0..=0x7f => (usize::from(short), input),
        // Up to four bytes of length are enough for a key.
        0x81..=0x84 => {
            let (bytes, rest) = input.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = input.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// An object identifier in dotted notation.
fn dotted(oid: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for &byte in oid {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                // The first two arcs share a number; the first is at most 2.
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

pub(crate) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, the curve in an `ECPrivateKey`.
const PARAMETERS: u8 = 0xa0;

// Object identifiers: RFC 3279, RFC 4055, RFC 5480, RFC 8410.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn object_identifiers_are_written_with_dots() {
        assert_eq!(dotted(RSA_ENCRYPTION), "1.2.840.113549.1.1.1");
        assert_eq!(dotted(P384), "1.3.132.0.34");
        // Only under the root arc 2 may the second arc exceed 39.
        assert_eq!(dotted(&[0x88, 0x37]), "2.999");
    }

    #[test]
    fn a_truncated_element_is_not_read() {
        assert_eq!(element(&[0x30, 0x02, 1, 2, 3], SEQUENCE), Some((&[1, 2][..], &[3][..])));
        assert_eq!(element(&[0x30, 0x81, 0x02, 1, 2], SEQUENCE), Some((&[1, 2][..], &[][..])));
        assert_eq!(element(&[0x30, 0x02, 1], SEQUENCE), None);
        assert_eq!(element(&[0x30, 0x80, 1], SEQUENCE), None);
        assert_eq!(element(&[], SEQUENCE), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(der in prop::collection::vec(any::<u8>(), 0..64)) {
            algorithm(Envelope::Pkcs8, &der);
            algorithm(Envelope::Spki, &der);
            sec1_curve(&der);
            rsa_modulus_bits(&der);
            spki_public_key(&der);
            spki_rsa_modulus_bits(&der);
            pkcs8_private_key(&der);
            dotted(&der);
        }
    }
}
