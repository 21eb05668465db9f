//! Errors of keys, of key files, and of the key store.

use std::ops::RangeInclusive;

use crate::group::Group;
use crate::key_id::KeyId;
#[cfg(feature = "aws-lc-rs")]
use crate::pem::PemError;
use crate::scheme::{Algorithm, Scheme};

/// Error for a key that is not accepted. Trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key's algorithm is not one of [`Algorithm`].
    #[error(
        "found {found}; accepted are ECDSA P-256, ECDSA P-384, Ed25519, and RSA of 2048 to 8192 bits"
    )]
    Unsupported {
        /// The algorithm found, as a phrase: "an EC key on curve P-521".
        found: String,
    },
    /// The RSA key is too small to be safe, or larger than the crypto library accepts.
    #[error("found an RSA key of {bits} bits; accepted are 2048 to 8192 bits")]
    RsaSize {
        /// The length of its modulus.
        bits: usize,
    },
    /// The DER is damaged, or the numbers in it are not a key.
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

/// Error for a file without one usable private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[cfg(feature = "aws-lc-rs")]
pub enum KeyFileError {
    /// The file holds no private key.
    #[error(
        "no private key in the PEM text: found {found}; accepted are PRIVATE KEY (PKCS #8), \
         RSA PRIVATE KEY (PKCS #1) and EC PRIVATE KEY (SEC 1); {remedy}"
    )]
    NoPrivateKey {
        /// The labels found, or a phrase for a file without any.
        found: String,
        /// What to do about it, with the command if there is one.
        remedy: &'static str,
    },
    /// The file holds several private keys, and nothing says which is meant.
    #[error("{count} private keys in the PEM text: keep the one that belongs to the certificate")]
    SeveralPrivateKeys {
        /// Their number.
        count: usize,
    },
    /// The key is encrypted. Asking for a passphrase is up to the application.
    #[error(
        "the private key is encrypted ({label}): decrypt it first, \
         for instance with `openssl pkey -in KEY -out PLAIN`"
    )]
    Encrypted {
        /// The PEM label or header that showed it.
        label: &'static str,
    },
    /// The key's block is not well-formed PEM (RFC 7468).
    #[error("the block {label} is damaged: {error}; copy the file again from where it was made")]
    Damaged {
        /// The label of the block.
        label: String,
        /// What is wrong with it.
        error: PemError,
    },
    /// The file was read, and its key is not accepted.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Error of an operation executed by a [key store](crate::SoftwareKeys).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// Caller's fault: the operation names a key that this store does not hold.
    #[error("no key {id} in this key store: load the {algorithm} key there, or use its own store")]
    UnknownKey {
        /// The key named.
        id: KeyId,
        /// Its algorithm.
        algorithm: Algorithm,
    },
    /// Caller's fault: the key exchange was started by another device.
    #[error("the {group} key exchange was not started here: complete it where it was started")]
    ForeignKey {
        /// The group.
        group: Group,
    },
    /// The crypto library failed to sign.
    #[error("the crypto library failed to sign with {scheme}")]
    SignFailed {
        /// The scheme asked for.
        scheme: Scheme,
    },
    /// The crypto library failed to make an ephemeral key.
    #[error("the crypto library failed to make a {group} key")]
    AgreementFailed {
        /// The group.
        group: Group,
    },
    /// The crypto library failed to seal a ticket.
    #[error("the crypto library failed to seal a ticket")]
    SealFailed,
}
