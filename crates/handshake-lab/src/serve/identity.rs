//! Certificate and key of a server, read from files and checked before anything listens.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crypto_ops::{KeyError, KeyFileError, KeyHandle, PemFile, Secret, SoftwareKeys};
use rustls::pki_types::CertificateDer;
use ssl_async::CertSetError;

use super::chain::{Certificates, Unfit};
use crate::certs::TestPki;

/// A certificate chain and its private key, which belong together.
///
/// `Debug` shows no key.
pub struct Identity {
    /// The server's certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key store of a device that holds the key.
    pub keys: Arc<SoftwareKeys>,
    pub handle: KeyHandle,
    /// The file of the certificate, if it is from one. Its OCSP response is in that of the same name with the extension
    /// `ocsp`, which may be there or not.
    pub file: Option<PathBuf>,
}

/// A certificate or key that no server can be made from.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{option} {}: {reason}; give a readable PEM file", path.display())]
    Unreadable {
        /// `--cert` or `--key`.
        option: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error(
        "--cert {}: no certificate in it: found {found}; {}",
        path.display(),
        remedy.replace("-in CERT", &format!("-in {}", path.display()))
    )]
    NoCertificate {
        path: PathBuf,
        found: String,
        /// What to do; `CERT` stands for the file.
        remedy: &'static str,
    },
    #[error("--cert {}: {reason}; copy the file again from where it was made", path.display())]
    BadCertificate { path: PathBuf, reason: String },
    #[error(
        "--key {}: {}{}",
        path.display(),
        source.to_string().replace("-in KEY", &format!("-in {}", path.display())),
        make_another(source)
    )]
    Key { path: PathBuf, source: KeyFileError },
    #[error(
        "--key {}: not the key of {} in {}; give the key that the certificate was made for",
        key.display(),
        if *count == 1 { "the certificate".to_owned() } else { format!("any of the {count} certificates") },
        certificate.display()
    )]
    Mismatch { key: PathBuf, certificate: PathBuf, count: usize },
    #[error(
        "--cert-dir {}: {reason}; give one with NAME.pem and NAME.key, or NAME/fullchain.pem and NAME/privkey.pem",
        path.display()
    )]
    Directory { path: PathBuf, reason: String },
    #[error("--cert {}: {source}; give each host one certificate", path.display())]
    Host { path: PathBuf, source: CertSetError },
}

/// The command that makes a key in the place of one that is of no use.
fn make_another(error: &KeyFileError) -> &'static str {
    match error {
        KeyFileError::Key(KeyError::Unsupported { .. } | KeyError::RsaSize { .. }) => {
            "; make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW.key` \
             and have a certificate issued for it"
        }
        _ => "",
    }
}

impl Identity {
    /// Reads certificate chain and key from PEM files and holds them against each other.
    ///
    /// The files may hold more: of several keys the one is taken that a certificate is for, and of several certificates the
    /// key's own and those of its issuers, in this order.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        Self::from_files_into(Arc::default(), certificate, key)
    }

    /// As [`from_files`](Self::from_files); the key is loaded into the store `keys`.
    ///
    /// # Errors
    /// See [`IdentityError`]. The store is as it was, then, but for [`IdentityError::Mismatch`]: a key that was in it
    /// before may be in use.
    pub fn from_files_into(
        keys: Arc<SoftwareKeys>,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, IdentityError> {
        let certificate_pem = PemFile::parse(read("--cert", certificate)?.expose());
        let key_pem = read("--key", key)?;
        let path = || certificate.to_owned();
        let certificates = Certificates::read(&certificate_pem).map_err(|unfit| match unfit {
            Unfit::None { found, remedy } => {
                IdentityError::NoCertificate { path: path(), found, remedy }
            }
            Unfit::Damaged(reason) => IdentityError::BadCertificate { path: path(), reason },
        })?;
        let handle = keys
            .load_pem_where(key_pem.expose(), |handle| certificates.has(handle.public_key()))
            .map_err(|source| IdentityError::Key { path: key.to_owned(), source })?;
        let count = certificates.count();
        let Some((place, chain)) = certificates.chain(handle.public_key()) else {
            return Err(IdentityError::Mismatch {
                key: key.to_owned(),
                certificate: path(),
                count,
            });
        };
        if place > 0 || chain.len() < count {
            tracing::warn!(
                file = %certificate.display(),
                first = place + 1,
                sent = chain.len(),
                found = count,
                "serve.chain_reordered"
            );
        }
        Ok(Self { chain, keys, handle, file: Some(path()) })
    }

    /// Certificate and key made on the spot.
    ///
    /// # Errors
    /// When the device's key store refuses the key, for which there is no reason.
    pub fn of(pki: &TestPki) -> Result<Self, KeyFileError> {
        let keys = Arc::new(SoftwareKeys::new());
        let handle = keys.load_pem(&pki.key_pem)?;
        Ok(Self { chain: vec![pki.certificate.clone()], keys, handle, file: None })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("key", &self.handle).finish_non_exhaustive()
    }
}

/// The bytes of a file, wiped when they are dropped.
fn read(option: &'static str, path: &Path) -> Result<Secret, IdentityError> {
    let unreadable =
        |reason: String| IdentityError::Unreadable { option, path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    Ok(Secret::new(bytes))
}
