//! A key store in memory, which computes operations with aws-lc-rs.

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

/// Private keys in memory, with the software implementation of every operation.
///
/// It computes for simulated devices and thread pools, and serves as the fallback of a failed device. Share it in an
/// [`Arc`]: any thread may load, remove and execute at any time. A key that is removed during an operation is dropped
/// after it.
#[derive(Default)]
pub struct SoftwareKeys {
    keys: RwLock<HashMap<KeyId, Arc<PrivateKey>>>,
}

impl SoftwareKeys {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads the private key in the content of a PEM file: PKCS #8 (`PRIVATE KEY`), PKCS #1 (`RSA PRIVATE KEY`) or
    /// SEC 1 (`EC PRIVATE KEY`). Certificates, parameters and text around the blocks are ignored.
    ///
    /// The decoded key is wiped; the caller must wipe `pem`.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], whose message names what was found and what is accepted.
    pub fn load_pem(&self, pem: &(impl AsRef<[u8]> + ?Sized)) -> Result<KeyHandle, KeyFileError> {
        self.load_pem_where(pem, |_| false)
    }

    /// As [`load_pem`](Self::load_pem), for a file that may hold several private keys: loads the first for which `fits`
    /// returns true, for example the one that belongs to a certificate. If the file holds only one key, `fits` is not
    /// called.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]. If there are several keys and none fits, the error of the first that cannot be read, or else
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

    /// Computes an operation. Blocks until it is done.
    ///
    /// # Errors
    ///
    /// [`OpError::UnknownKey`] and [`OpError::ForeignKey`] for a key that this store does not hold; any other variant
    /// when the crypto library fails.
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

/// Shows the names of the keys only.
impl fmt::Debug for SoftwareKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("SoftwareKeys").field("keys", &keys.keys()).finish()
    }
}
