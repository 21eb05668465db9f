//! Why a key was not taken, and why an operation was not done.

use std::ops::RangeInclusive;

use crate::group::Group;
use crate::key_id::KeyId;
use crate::scheme::{Algorithm, Scheme};

/// Why a key was not taken. All of these are for whoever configured the key; none goes away by
/// trying again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file holds no private key.
    #[error(
        "no private key in the PEM text: found {found}; accepted are PRIVATE KEY (PKCS #8), \
         RSA PRIVATE KEY (PKCS #1) and EC PRIVATE KEY (SEC 1); {remedy}"
    )]
    NoPrivateKey {
        /// The labels found, or words for their absence.
        found: String,
        /// What to do about it, with the command if there is one.
        remedy: &'static str,
    },
    /// The text holds more than one private key, and nothing says which is meant.
    #[error("{count} private keys in the PEM text: keep the one that belongs to the certificate")]
    SeveralPrivateKeys {
        /// How many.
        count: usize,
    },
    /// The key is encrypted. Asking for a passphrase is the application's part.
    #[error(
        "the private key is encrypted ({label}): decrypt it first, \
         for instance with `openssl pkey -in KEY -out PLAIN`"
    )]
    Encrypted {
        /// The PEM label or header that showed it.
        label: &'static str,
    },
    /// The key's block is not well-formed PEM (RFC 7468).
    #[error("the block {label} is damaged: {flaw}; copy the file again from where it was made")]
    #[cfg(feature = "aws-lc-rs")]
    Pem {
        /// The label of the block.
        label: String,
        /// What is wrong with it.
        flaw: crate::PemFlaw,
    },
    /// A key of a kind that is not accepted.
    #[error(
        "found {found}; accepted are ECDSA P-256, ECDSA P-384, Ed25519, and RSA of 2048 to 8192 bits"
    )]
    Unsupported {
        /// What was found.
        found: String,
    },
    /// An RSA key too small to be safe, or too large to be served.
    #[error("found an RSA key of {bits} bits; accepted are 2048 to 8192 bits")]
    RsaSize {
        /// The length of its modulus.
        bits: usize,
    },
    /// The DER is not what it should be, or the numbers in it do not make a key.
    #[error("the {format} structure is damaged, or its numbers do not make a key")]
    Malformed {
        /// The structure expected.
        format: &'static str,
    },
}

impl KeyError {
    /// The sizes of RSA keys accepted, in bits.
    pub(crate) const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
}

/// Why a key store did not do an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// The caller's fault: the operation names a key that this store does not hold.
    #[error("no key {id} in this key store: load the {algorithm} key there, or use its own store")]
    UnknownKey {
        /// The key named.
        id: KeyId,
        /// Its algorithm.
        algorithm: Algorithm,
    },
    /// The store's fault: the crypto library failed.
    #[error("the crypto library failed to sign with {scheme}")]
    Failed {
        /// The scheme asked for.
        scheme: Scheme,
    },
    /// The caller's fault: the key exchange was started by another device.
    #[error("the {group} key exchange was not started here: complete it where it was started")]
    ForeignKey {
        /// The group.
        group: Group,
    },
    /// The store's fault: the crypto library failed.
    #[error("the crypto library failed to make a {group} key")]
    AgreementFailed {
        /// The group.
        group: Group,
    },
    /// The store's fault: the crypto library failed.
    #[error("the crypto library failed to seal a ticket")]
    SealFailed,
}
