//! The key store of a software device: private keys in memory, signatures by aws-lc-rs.

mod agree;
mod key_file;
mod ticket;
mod verify;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};

use crate::error::{KeyError, OpError};
use crate::key::{KeyHandle, KeyId};
use crate::op::{CryptoOp, CryptoOutput};
use crate::scheme::Scheme;
use crate::sign::SignOp;
use key_file::Pem;

pub(crate) use verify::{ParsedVerifier, sha256};

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

    /// Loads the private key in a PEM text: PKCS #8 (`PRIVATE KEY`), PKCS #1 (`RSA PRIVATE KEY`)
    /// or SEC 1 (`EC PRIVATE KEY`). Certificates and parameters beside it are passed over.
    ///
    /// The decoded key is zeroised; wiping `text` is the caller's part.
    ///
    /// # Errors
    ///
    /// A [`KeyError`] that says what was found and what is accepted.
    pub fn load_pem(&self, text: &str) -> Result<KeyHandle, KeyError> {
        match key_file::private_key(text)? {
            Pem::Pkcs8(der) => self.load_pkcs8_der(&der),
            Pem::Pkcs1(der) => self.insert(key_file::rsa_from_pkcs1(&der)?),
            Pem::Sec1(der) => self.insert(key_file::ecdsa_from_sec1(&der)?),
        }
    }

    /// Loads a private key from the DER of an unencrypted PKCS #8 structure (RFC 5208, RFC 5958).
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsupported`], [`KeyError::RsaSize`] or [`KeyError::Malformed`].
    pub fn load_pkcs8_der(&self, der: &[u8]) -> Result<KeyHandle, KeyError> {
        self.insert(key_file::from_pkcs8(der)?)
    }

    /// Forgets a key; says whether it was there.
    pub fn forget(&self, key: &KeyHandle) -> bool {
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
            CryptoOp::Sign(op) => self.sign(op).map(CryptoOutput::Signature),
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
            .map_err(|Unspecified| OpError::Failed { scheme: op.scheme() })
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

/// A private key; aws-lc zeroises it when it is dropped.
pub(crate) enum PrivateKey {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    fn handle(&self) -> Result<KeyHandle, KeyError> {
        let spki = match self {
            Self::Ecdsa(key) => key.public_key().as_der(),
            Self::Ed25519(key) => key.public_key().as_der(),
            Self::Rsa(key) => key.public_key().as_der(),
        };
        let spki = spki.map_err(|_| KeyError::Malformed { format: "private key" })?;
        KeyHandle::from_spki_der(spki.as_ref())
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        // Ignored by aws-lc, which has its own generator.
        let rng = &SystemRandom::new();
        match self {
            Self::Ecdsa(key) => Ok(key.sign(rng, message)?.as_ref().to_vec()),
            Self::Ed25519(key) => Ok(key.try_sign(message)?.as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(rsa_padding(scheme)?, rng, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

fn rsa_padding(scheme: Scheme) -> Result<&'static dyn RsaEncoding, Unspecified> {
    Ok(match scheme {
        Scheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_SHA512,
        Scheme::RsaPssSha256 => &signature::RSA_PSS_SHA256,
        Scheme::RsaPssSha384 => &signature::RSA_PSS_SHA384,
        Scheme::RsaPssSha512 => &signature::RSA_PSS_SHA512,
        Scheme::EcdsaP256Sha256 | Scheme::EcdsaP384Sha384 | Scheme::Ed25519 => {
            return Err(Unspecified);
        }
    })
}
