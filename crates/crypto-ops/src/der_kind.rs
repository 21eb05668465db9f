//! What a DER structure in a file is: enough to name it, and the command that makes PEM of it.

use std::fmt;

use crate::der::{INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, any_element, element};

/// The structure of a file in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DerKind {
    /// An X.509 certificate.
    Certificate,
    /// A request for a certificate (PKCS #10).
    Request,
    /// A public key (`SubjectPublicKeyInfo`).
    PublicKey,
    /// A private key: PKCS #8, PKCS #1 or SEC 1.
    PrivateKey,
    /// An encrypted private key (PKCS #8).
    EncryptedPrivateKey,
    /// A bundle of certificates (PKCS #7).
    Pkcs7,
    /// A key with its certificates behind a password (PKCS #12).
    Pkcs12,
}

impl DerKind {
    /// What `bytes` are, if they are one such structure and nothing else.
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
                    // The oldest certificates begin with their serial number, as requests with a version of zero.
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
