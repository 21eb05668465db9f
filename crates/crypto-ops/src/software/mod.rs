//! The key store of a software device: private keys in memory, signatures by aws-lc-rs.

mod agree;
mod key_file;
mod private_key;
mod ticket;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::error::Unspecified;

use crate::error::{KeyError, KeyFileError, OpError};
use crate::key::KeyHandle;
use crate::key_id::KeyId;
use crate::op::CryptoOp;
use crate::output::CryptoOutput;
use crate::sign::SignOp;
use private_key::PrivateKey;

/// Private keys in memory, and the operations done with them.
///
/// It stands behind the simulated card and behind a pool of threads, and is the fallback when a
/// device fails. Each operation blocks for as long as the computation takes. Share it in an
/// [`Arc`]: any thread may load, forget and execute at any time; an operation under way keeps its
/// key until it is done.
#[derive(Default)]
pub struct SoftwareKeys {
    keys: RwLock<HashMap<KeyId, Arc<PrivateKey>>>,
}

impl SoftwareKeys {
    /// A store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads the private key in the content of a PEM file: PKCS #8 (`PRIVATE KEY`), PKCS #1 (`RSA PRIVATE KEY`) or
    /// SEC 1 (`EC PRIVATE KEY`). Certificates and parameters beside it are passed over, and so is what stands around
    /// the blocks, whatever its encoding.
    ///
    /// The decoded key is zeroised; wiping `pem` is the caller's part.
    ///
    /// # Errors
    ///
    /// A [`KeyFileError`] that says what was found and what is accepted.
    pub fn load_pem(&self, pem: &(impl AsRef<[u8]> + ?Sized)) -> Result<KeyHandle, KeyFileError> {
        self.load_pem_where(pem, |_| false)
    }

    /// As [`load_pem`](Self::load_pem), for a file that may hold several private keys: loads the first for which `fits`
    /// answers true, for example the one that a certificate was made for. A key that is the only one is loaded whether
    /// it fits or not.
    ///
    /// # Errors
    ///
    /// A [`KeyFileError`]; if several keys are there and none fits, that of the first which cannot be read, or
    /// [`KeyFileError::SeveralPrivateKeys`].
    pub fn load_pem_where(
        &self,
        pem: &(impl AsRef<[u8]> + ?Sized),
        fits: impl Fn(&KeyHandle) -> bool,
    ) -> Result<KeyHandle, KeyFileError> {
        Ok(self.insert(key_file::private_key(pem.as_ref(), fits)?)?)
    }

    /// Loads a private key from the DER of an unencrypted PKCS #8 structure (RFC 5208, RFC 5958).
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsupported`], [`KeyError::RsaSize`] or [`KeyError::Malformed`].
    pub fn load_pkcs8_der(&self, der: &[u8]) -> Result<KeyHandle, KeyError> {
        self.insert(key_file::from_pkcs8(der)?)
    }

    /// Removes a key, and returns whether the store held it.
    pub fn remove(&self, key: &KeyHandle) -> bool {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&key.id()).is_some()
    }

    /// Does an operation, here and now.
    ///
    /// # Errors
    ///
    /// [`OpError::UnknownKey`] and [`OpError::ForeignKey`] for a key this store does not hold, any other when the
    /// crypto library fails.
    pub fn execute(&self, op: &CryptoOp) -> Result<CryptoOutput, OpError> {
        match op {
            CryptoOp::Sign(op) => {
                self.sign(op).map(|signature| CryptoOutput::Signature(signature.into()))
            }
            CryptoOp::Agree(op) => agree::execute(op),
            CryptoOp::Ticket(op) => ticket::execute(op),
        }
    }

    fn sign(&self, op: &SignOp) -> Result<Vec<u8>, OpError> {
        let key = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&op.key().id())
            .cloned()
            .ok_or_else(|| OpError::UnknownKey {
                id: op.key().id(),
                algorithm: op.key().algorithm(),
            })?;
        key.sign(op.scheme(), op.message())
            .map_err(|Unspecified| OpError::SignFailed { scheme: op.scheme() })
    }

    fn insert(&self, key: PrivateKey) -> Result<KeyHandle, KeyError> {
        let handle = key.handle()?;
        tracing::debug!(key = %handle.id(), algorithm = %handle.algorithm(), "key.loaded");
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle.id(), Arc::new(key));
        Ok(handle)
    }
}

/// Names the keys, never their content.
impl fmt::Debug for SoftwareKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("SoftwareKeys").field("keys", &keys.keys()).finish()
    }
}
