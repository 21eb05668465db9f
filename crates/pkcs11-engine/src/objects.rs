//! Finding tokens, keys and certificates.

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use ssl_async::crypto_ops::encoding::rsa_public_numbers;
use ssl_async::rustls::pki_types::CertificateDer;

use crate::error::OpenError;
use crate::fault::{During, Fault};
use crate::uri::KeyUri;

fn fault(error: cryptoki::error::Error) -> Fault {
    Fault::of(&error, During::Other)
}

/// Whether the token is like the URI.
pub(crate) fn is_named(uri: &KeyUri, slot: u64, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, found: &str| {
        wanted.as_ref().is_none_or(|wanted| wanted.trim_end() == found.trim_end())
    };
    same(&uri.token, info.label())
        && same(&uri.serial, info.serial_number())
        && same(&uri.manufacturer, info.manufacturer_id())
        && same(&uri.model, info.model())
        && uri.slot_id.is_none_or(|wanted| wanted == slot)
}

/// The one token that is like the URI.
pub(crate) fn find_token(library: &Pkcs11, uri: &KeyUri) -> Result<(Slot, TokenInfo), OpenError> {
    let slots = library.get_slots_with_token().map_err(|error| token(fault(error)))?;
    let mut found = Vec::new();
    let mut all = Vec::new();
    for slot in slots {
        // A reader without a token, or with one that is broken, is none of ours.
        let Ok(info) = library.get_token_info(slot) else { continue };
        if !info.token_initialized() {
            continue;
        }
        let name = format!(
            "token={} serial={} slot-id={}",
            info.label().trim_end(),
            info.serial_number().trim_end(),
            slot.id()
        );
        if is_named(uri, slot.id(), &info) {
            found.push((slot, info, name.clone()));
        }
        all.push(name);
    }
    let wanted = uri.to_string();
    match found.len() {
        0 => Err(OpenError::NoToken { wanted, found: all }),
        1 => found.pop().map(|(slot, info, _)| (slot, info)).ok_or(OpenError::NoModule),
        _ => {
            let found = found.into_iter().map(|(_, _, name)| name).collect();
            Err(OpenError::SeveralTokens { wanted, found })
        }
    }
}

fn token(fault: Fault) -> OpenError {
    OpenError::Token(fault.text)
}

/// Objects of a class that are like the URI.
fn like(class: ObjectClass, uri: &KeyUri) -> Vec<Attribute> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into())));
    template.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
    template
}

/// The private keys that are like the URI.
pub(crate) fn private_keys(session: &Session, uri: &KeyUri) -> Result<Vec<ObjectHandle>, Fault> {
    session.find_objects(&like(ObjectClass::PRIVATE_KEY, uri)).map_err(fault)
}

/// What an error message says of the private keys.
pub(crate) fn names(session: &Session, keys: &[ObjectHandle]) -> Vec<String> {
    let wanted = [AttributeType::Label, AttributeType::Id];
    let name = |key: &ObjectHandle| {
        let mut uri = KeyUri::default();
        for attribute in session.get_attributes(*key, &wanted).unwrap_or_default() {
            match attribute {
                Attribute::Label(label) if !label.is_empty() => {
                    uri.object = Some(String::from_utf8_lossy(&label).into_owned());
                }
                Attribute::Id(id) if !id.is_empty() => uri.id = Some(id),
                _ => {}
            }
        }
        uri.to_string()
    };
    keys.iter().map(name).collect()
}

/// What the token says of a private key.
pub(crate) struct KeyFacts {
    pub(crate) id: Option<Vec<u8>>,
    pub(crate) always_authenticate: bool,
    pub(crate) public: Option<PublicNumbers>,
}

/// The public half, as far as a token tells it.
pub(crate) enum PublicNumbers {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point, or the bytes of an Edwards key.
    Point(Vec<u8>),
}

impl PublicNumbers {
    fn of(attributes: Vec<Attribute>) -> Option<Self> {
        let (mut modulus, mut exponent, mut point) = (None, None, None);
        for attribute in attributes {
            match attribute {
                Attribute::Modulus(value) => modulus = Some(value),
                Attribute::PublicExponent(value) => exponent = Some(value),
                Attribute::EcPoint(value) => point = Some(value),
                _ => {}
            }
        }
        match (modulus, exponent, point) {
            (Some(modulus), Some(exponent), _) if !modulus.is_empty() => {
                Some(Self::Rsa { modulus, exponent })
            }
            (_, _, Some(point)) if !point.is_empty() => Some(Self::Point(bare_point(point))),
            _ => None,
        }
    }

    /// Whether they are the key of a certificate: a PKCS #1 `RSAPublicKey`, or a point.
    pub(crate) fn are(&self, bare: &[u8]) -> bool {
        let trimmed = |number: &[u8]| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number[zeros..].to_vec()
        };
        match self {
            Self::Rsa { modulus, exponent } => rsa_public_numbers(bare).is_some_and(|(n, e)| {
                (trimmed(n), trimmed(e)) == (trimmed(modulus), trimmed(exponent))
            }),
            Self::Point(point) => point == bare,
        }
    }
}

/// The standard wraps a point in an OCTET STRING; some tokens give it bare.
fn bare_point(value: Vec<u8>) -> Vec<u8> {
    match value.as_slice() {
        [4, length, point @ ..] if *length < 0x80 && usize::from(*length) == point.len() => {
            point.to_vec()
        }
        [4, 0x81, length, point @ ..] if usize::from(*length) == point.len() => point.to_vec(),
        _ => value,
    }
}

/// Looks at a private key, and at the public key with the same identifier.
pub(crate) fn facts(session: &Session, key: ObjectHandle) -> Result<KeyFacts, Fault> {
    let wanted = [
        AttributeType::Id,
        AttributeType::AlwaysAuthenticate,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
        AttributeType::EcPoint,
    ];
    let attributes = session.get_attributes(key, &wanted).map_err(fault)?;
    let always_authenticate = attributes.contains(&Attribute::AlwaysAuthenticate(true));
    let id = attributes.iter().find_map(|attribute| match attribute {
        Attribute::Id(id) if !id.is_empty() => Some(id.clone()),
        _ => None,
    });
    let mut public = PublicNumbers::of(attributes);
    if public.is_none()
        && let Some(id) = &id
    {
        let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.clone())];
        let keys = session.find_objects(&template).map_err(fault)?;
        if let [key] = keys[..] {
            public = PublicNumbers::of(session.get_attributes(key, &wanted[2..]).map_err(fault)?);
        }
    }
    Ok(KeyFacts { id, always_authenticate, public })
}

/// The most certificates of a chain.
const LONGEST_CHAIN: usize = 8;

/// The certificate with the identifier of a key, then its issuers, as far as the token has them. Empty if there is not
/// exactly one certificate.
pub(crate) fn chain(session: &Session, id: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    let mut template = vec![Attribute::Class(ObjectClass::CERTIFICATE), Attribute::Id(id.into())];
    while chain.len() < LONGEST_CHAIN {
        let found = session.find_objects(&template).map_err(fault)?;
        let [certificate] = found[..] else { break };
        let wanted = [AttributeType::Value, AttributeType::Subject, AttributeType::Issuer];
        let attributes = session.get_attributes(certificate, &wanted).map_err(fault)?;
        let (mut der, mut subject, mut issuer) = (Vec::new(), Vec::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::Value(value) => der = value,
                Attribute::Subject(value) => subject = value,
                Attribute::Issuer(value) => issuer = value,
                _ => {}
            }
        }
        // A root is known to the peer, or is of no use to it.
        let is_root = !chain.is_empty() && subject == issuer;
        if der.is_empty() || is_root {
            break;
        }
        chain.push(der.into());
        if issuer.is_empty() || subject == issuer {
            break;
        }
        template = vec![Attribute::Class(ObjectClass::CERTIFICATE), Attribute::Subject(issuer)];
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_same_with_and_without_its_wrapping() {
        let point = |length: usize| [&[4], vec![7; length - 1].as_slice()].concat();
        for length in [65, 97] {
            let wrapped = [&[4, length as u8], point(length).as_slice()].concat();
            assert_eq!(bare_point(wrapped), point(length));
            assert_eq!(bare_point(point(length)), point(length));
        }
        let wrapped = [&[4, 0x81, 133], point(133).as_slice()].concat();
        assert_eq!(bare_point(wrapped), point(133));
        // Of an Edwards key, bare, that begins as a wrapping would.
        let edwards = [&[4, 31], [9; 30].as_slice()].concat();
        assert_eq!(bare_point(edwards.clone()), edwards);
    }

    #[test]
    fn numbers_are_compared_without_their_leading_zeros() {
        let bare = [0x30, 9, 2, 2, 0, 0x81, 2, 3, 1, 0, 1];
        let rsa = |modulus: &[u8], exponent: &[u8]| PublicNumbers::Rsa {
            modulus: modulus.into(),
            exponent: exponent.into(),
        };
        assert!(rsa(&[0x81], &[0, 1, 0, 1]).are(&bare));
        assert!(!rsa(&[0x82], &[1, 0, 1]).are(&bare));
        assert!(!rsa(&[0x81], &[3]).are(&bare));
    }
}
