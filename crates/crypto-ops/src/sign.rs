//! The signature operation.

use std::fmt;

use crate::key::KeyHandle;
use crate::scheme::{Algorithm, Scheme};

/// A signature to compute: its key, its scheme and its message.
///
/// The operation owns its data, so a device never accesses memory of the caller. The message is the input of the
/// scheme's digest, not the digest itself; in TLS 1.3 it is the `CertificateVerify` content of RFC 8446, section 4.4.3.
/// It is not secret.
#[derive(Clone)]
pub struct SignOp {
    key: KeyHandle,
    scheme: Scheme,
    message: Vec<u8>,
}

impl SignOp {
    /// Makes the operation that signs `message` with `key` under `scheme`.
    ///
    /// # Errors
    ///
    /// [`SchemeMismatch`], which returns the message, when `scheme` is not one of [`KeyHandle::schemes`].
    pub fn new(key: KeyHandle, scheme: Scheme, message: Vec<u8>) -> Result<Self, SchemeMismatch> {
        if scheme.algorithm() != key.algorithm() {
            return Err(SchemeMismatch { scheme, algorithm: key.algorithm(), message });
        }
        Ok(Self { key, scheme, message })
    }

    /// The key to sign with.
    pub fn key(&self) -> &KeyHandle {
        &self.key
    }

    /// The scheme to sign under.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The message to sign.
    pub fn message(&self) -> &[u8] {
        &self.message
    }
}

impl fmt::Debug for SignOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOp")
            .field("key", &self.key.id())
            .field("scheme", &self.scheme)
            .field("message_len", &self.message.len())
            .finish()
    }
}

/// Error for a key that cannot sign with the scheme.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("an {algorithm} key cannot sign with {scheme}: choose from the key's own schemes")]
pub struct SchemeMismatch {
    /// The requested scheme.
    pub scheme: Scheme,
    /// The algorithm of the key.
    pub algorithm: Algorithm,
    /// The message, returned to the caller.
    pub message: Vec<u8>,
}

impl fmt::Debug for SchemeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemeMismatch")
            .field("scheme", &self.scheme)
            .field("algorithm", &self.algorithm)
            .field("message_len", &self.message.len())
            .finish()
    }
}
