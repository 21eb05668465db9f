//! Certificate and key of a server, read from files and checked before anything listens.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crypto_ops::{KeyError, KeyHandle, SoftwareKeys};
use rustls::{
    Error, InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::{certs::TestPki, keys};

/// A certificate chain and its private key, which belong together.
///
/// `Debug` shows no key.
pub struct Identity {
    /// The server's certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key for signing in software.
    pub private_key: PrivateKeyDer<'static>,
    /// The key store of a device that holds the key.
    pub keys: Arc<SoftwareKeys>,
    /// The key in that store.
    pub handle: KeyHandle,
}

/// A certificate or key that no server can be made from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{option} {}: {reason}; give a readable PEM file", path.display())]
    Unreadable {
        /// `--cert` or `--key`.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no certificate in the file.
    #[error("--cert {}: no certificate in it; give a file with -----BEGIN CERTIFICATE-----", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate in the file cannot be read.
    #[error("--cert {}: {reason}; give certificates in PEM, the server's own first", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key cannot be used.
    #[error("--key {}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// Key and certificate are not a pair.
    #[error(
        "--key {}: not the key of the certificate in {}; give the key that the certificate was made for",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
}

impl Identity {
    /// Reads certificate chain and key from PEM files and holds them against each other.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let certificate_pem = read("--cert", certificate)?;
        let key_pem = read("--key", key)?;
        let bad =
            |reason: String| IdentityError::BadCertificate { path: certificate.to_owned(), reason };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| bad(error.to_string()))?;
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate(certificate.to_owned()));
        }
        let of_key = |source| IdentityError::Key { path: key.to_owned(), source };
        let identity = Self::new(chain, &key_pem).map_err(of_key)?;
        match identity.consistency() {
            Ok(()) => Ok(identity),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(IdentityError::Mismatch {
                    key: key.to_owned(),
                    certificate: certificate.to_owned(),
                })
            }
            Err(error) => Err(bad(error.to_string())),
        }
    }

    /// Certificate and key made on the spot.
    ///
    /// # Errors
    /// When the device's key store refuses the key, for which there is no reason.
    pub fn of(pki: &TestPki) -> Result<Self, KeyError> {
        Self::new(vec![pki.certificate.clone()], &pki.key_pem)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key_pem: &str) -> Result<Self, KeyError> {
        let keys = Arc::new(SoftwareKeys::new());
        let handle = keys.load_pem(key_pem)?;
        let private_key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .expect("the key store has just read a private key from this text");
        Ok(Self { chain, private_key, keys, handle })
    }

    fn consistency(&self) -> Result<(), Error> {
        let key = keys::free_sign(self.handle.clone());
        CertifiedKey::new(self.chain.clone(), key).keys_match()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("key", &self.handle).finish_non_exhaustive()
    }
}

fn read(option: &'static str, path: &Path) -> Result<String, IdentityError> {
    let unreadable =
        |reason: String| IdentityError::Unreadable { option, path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| unreadable("not text".to_owned()))
}
