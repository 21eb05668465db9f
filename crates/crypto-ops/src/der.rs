//! Just enough DER to say what a key is: its algorithm identifier and, for RSA, its size.
//!
//! Nothing here decides whether a key is good; the crypto library does. What is read here picks
//! the right parser and lets a refusal name what was found.

/// Where a key's algorithm identifier stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// PKCS #8 `PrivateKeyInfo` (RFC 5208, RFC 5958): a version goes before the identifier.
    Pkcs8,
    /// X.509 `SubjectPublicKeyInfo` (RFC 5280): the identifier comes first.
    Spki,
}

/// What an algorithm identifier names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Rsa,
    P256,
    P384,
    Ed25519,
    /// Known, but not one we accept.
    Other(String),
}

/// The algorithm named in `der`, or `None` when `der` is not such an envelope.
pub(crate) fn algorithm(envelope: Envelope, der: &[u8]) -> Option<Found> {
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
        RSA_ENCRYPTION => Found::Rsa,
        EC_PUBLIC_KEY => curve(parameters),
        ED25519 => Found::Ed25519,
        RSASSA_PSS => Found::Other("an RSA key bound to PSS (id-RSASSA-PSS)".into()),
        ED448 => Found::Other("an Ed448 key".into()),
        X25519 => Found::Other("an X25519 key, which cannot sign".into()),
        DSA => Found::Other("a DSA key".into()),
        other => Found::Other(format!("a key with algorithm {}", dotted(other))),
    })
}

/// The curve of a SEC 1 `ECPrivateKey` (RFC 5915), or `None` when `der` is not one.
///
/// A key that names no curve is taken for one on the curve of its length that is used: the public half then tells
/// whether it is.
#[cfg(any(feature = "aws-lc-rs", test))]
pub(crate) fn sec1_curve(der: &[u8]) -> Option<Found> {
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
        32 => Some(Found::P256),
        48 => Some(Found::P384),
        66 => Some(curve_p521()),
        _ => None,
    }
}

/// The bits of the modulus in a PKCS #1 `RSAPrivateKey` (RFC 8017, appendix A.1.2).
#[cfg(any(feature = "aws-lc-rs", test))]
pub(crate) fn rsa_modulus_bits(pkcs1: &[u8]) -> Option<usize> {
    let (body, _) = element(pkcs1, SEQUENCE)?;
    let (_, body) = element(body, INTEGER)?;
    let (modulus, _) = element(body, INTEGER)?;
    significant_bits(modulus)
}

/// The key inside a `SubjectPublicKeyInfo`.
pub(crate) fn spki_public_key(spki: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(spki, SEQUENCE)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (bits, _) = element(body, BIT_STRING)?;
    // The first byte counts the unused bits of the last.
    bits.get(1..)
}

/// The bits of the modulus in a `SubjectPublicKeyInfo` around a PKCS #1 `RSAPublicKey`.
pub(crate) fn spki_rsa_modulus_bits(spki: &[u8]) -> Option<usize> {
    let (body, _) = element(spki_public_key(spki)?, SEQUENCE)?;
    let (modulus, _) = element(body, INTEGER)?;
    significant_bits(modulus)
}

/// The private key inside a PKCS #8 envelope, itself DER.
#[cfg(any(feature = "aws-lc-rs", test))]
pub(crate) fn pkcs8_private_key(der: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(der, SEQUENCE)?;
    let (_, body) = element(body, INTEGER)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (key, _) = element(body, OCTET_STRING)?;
    Some(key)
}

/// Whether a PKCS #8 envelope is of version 2 (RFC 5958), which may have the public key beside the private one.
#[cfg(any(feature = "aws-lc-rs", test))]
pub(crate) fn is_pkcs8_version_2(der: &[u8]) -> bool {
    let version = element(der, SEQUENCE).and_then(|(body, _)| element(body, INTEGER));
    version.is_some_and(|(version, _)| version == [1])
}

fn significant_bits(number: &[u8]) -> Option<usize> {
    let significant = &number[number.iter().position(|&byte| byte != 0)?..];
    Some(significant.len() * 8 - significant[0].leading_zeros() as usize)
}

fn curve(parameters: &[u8]) -> Found {
    let Some((oid, _)) = element(parameters, OBJECT_IDENTIFIER) else {
        return Found::Other("an EC key with explicit curve parameters".into());
    };
    match oid {
        P256 => Found::P256,
        P384 => Found::P384,
        P521 => curve_p521(),
        SECP256K1 => Found::Other("an EC key on curve secp256k1".into()),
        other => Found::Other(format!("an EC key on curve {}", dotted(other))),
    }
}

fn curve_p521() -> Found {
    Found::Other("an EC key on curve P-521".into())
}

/// Splits one element with tag `tag` off the front of `input`: its content, and what follows.
pub(crate) fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(input)?;
    (found == tag).then_some((content, rest))
}

/// Splits one element off the front of `input`: its tag, its content, and what follows.
pub(crate) fn any_element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, input) = input.split_first()?;
    let (&short, input) = input.split_first()?;
    let (length, input) = match short {
        0..=0x7f => (usize::from(short), input),
        // Lengths of up to four bytes; no key is longer.
        0x81..=0x84 => {
            let (bytes, rest) = input.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = input.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// An object identifier in the usual notation.
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
#[cfg(any(feature = "aws-lc-rs", test))]
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, the curve in an `ECPrivateKey`.
#[cfg(any(feature = "aws-lc-rs", test))]
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
        // The only root arc whose second arc may exceed 39.
        assert_eq!(dotted(&[0x88, 0x37]), "2.999");
    }

    #[test]
    fn an_element_cut_short_is_no_element() {
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
