//! Certificates by the host that the client names, which can be replaced while the server runs.

use core::fmt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::Error;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// The certificates of a server, by the host that a client names (SNI). A resolver for rustls.
///
/// The set is replaced as a whole by [`replace`](Self::replace): handshakes that are under way, parked ones included, end with
/// the certificate and key that they began with, and the next ones get the new. OCSP responses are refreshed one by one, by
/// [`staple`](Self::staple) and [`staple_certificate`](Self::staple_certificate).
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::sync::Arc;
/// use ssl_async::{CertSet, CertStore, KeyPool};
/// # let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
/// # let chain = |name: &str| vec![rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.der().clone()];
/// # fn sign(_: &ssl_async::offload::SigningWork) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
///
/// let pool = KeyPool::builder().blocking(sign)?;
/// let shop = pool.key(chain("shop.example"), "shop")?;
/// let mail = pool.key(chain("*.mail.example"), "mail")?;
/// // For the hosts that are named in each, and the first for all others.
/// let set = CertSet::new()
///     .certificate(shop.certified_key())?
///     .certificate(mail.certified_key())?
///     .default_certificate(shop.certified_key());
/// let store = Arc::new(CertStore::new(set));
/// let config = pool.server_config(store.clone());
///
/// // Later, with a new certificate of the same host:
/// let shop = pool.key(chain("shop.example"), "shop-2")?;
/// store.replace(CertSet::new().certificate(shop.certified_key())?);
/// # let _ = config; }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CertStore {
    set: RwLock<Arc<CertSet>>,
    /// Held while something is replaced: an OCSP response that is set meanwhile would be lost.
    writing: Mutex<()>,
}

/// Certificates by host, for a [`CertStore`].
#[derive(Default)]
pub struct CertSet {
    /// By host in lower case.
    hosts: HashMap<Box<str>, usize>,
    /// By what follows `*.`.
    wildcards: HashMap<Box<str>, usize>,
    default: Option<usize>,
    /// Locked for the exchange of an OCSP response.
    keys: Vec<RwLock<Arc<CertifiedKey>>>,
}

/// Why a certificate is not one for a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertSetError {
    /// Not the name of a host.
    #[error("{0:?} is not a DNS name, nor `*.` before one")]
    Name(String),
    /// The certificate is for other names.
    #[error("the certificate is not valid for {name:?}: {error}")]
    NotForHost {
        /// The host.
        name: String,
        /// What rustls says.
        error: Error,
    },
    /// It cannot be read, or names no host.
    #[error("the certificate names no host: give it to `host`, or as the default")]
    NoName,
    /// Another certificate of the set is for this host.
    #[error("another certificate is for {0:?} already")]
    Taken(String),
}

impl CertSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the certificate for a host, or for all hosts directly below a domain: `*.mail.example`. A later one for the same
    /// host takes its place.
    ///
    /// # Errors
    ///
    /// [`CertSetError`] if clients that ask for the host would refuse the certificate.
    pub fn host(mut self, name: &str, key: &Arc<CertifiedKey>) -> Result<Self, CertSetError> {
        let domain = name.strip_prefix("*.");
        // Any host below the domain.
        let one = domain.map_or_else(|| name.to_owned(), |domain| format!("any.{domain}"));
        let (false, Ok(host @ ServerName::DnsName(_))) =
            (domain == Some(""), ServerName::try_from(one))
        else {
            return Err(CertSetError::Name(name.to_owned()));
        };
        let not_for_host = |error| CertSetError::NotForHost { name: name.to_owned(), error };
        key.end_entity_cert()
            .and_then(ParsedCertificate::try_from)
            .and_then(|certificate| verify_server_name(&certificate, &host))
            .map_err(not_for_host)?;
        let index = self.index(key);
        let (names, name) = match domain {
            Some(domain) => (&mut self.wildcards, domain),
            None => (&mut self.hosts, name),
        };
        names.insert(name.to_ascii_lowercase().into(), index);
        Ok(self)
    }

    /// Adds a certificate for all hosts that are named in it, `*.` before a domain included.
    ///
    /// # Errors
    ///
    /// [`CertSetError::NoName`], [`CertSetError::Taken`], and those of [`host`](Self::host).
    pub fn certificate(self, key: &Arc<CertifiedKey>) -> Result<Self, CertSetError> {
        let certificate = key.end_entity_cert().map_err(|_| CertSetError::NoName)?;
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| CertSetError::NoName)?;
        let mut names = certificate.valid_dns_names().peekable();
        names.peek().ok_or(CertSetError::NoName)?;
        names.try_fold(self, |set, name| match set.named(name) {
            Some(other) if !Arc::ptr_eq(&other, key) => Err(CertSetError::Taken(name.to_owned())),
            _ => set.host(name, key),
        })
    }

    /// The certificate for exactly this host, or for exactly this `*.` before a domain.
    fn named(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let index = match name.strip_prefix("*.") {
            Some(domain) => self.wildcards.get(domain),
            None => self.hosts.get(&*name),
        };
        Some(read(&self.keys[*index?]))
    }

    /// Sets the certificate for clients that name another host or none. Without one their handshakes fail.
    #[must_use]
    pub fn default_certificate(mut self, key: &Arc<CertifiedKey>) -> Self {
        self.default = Some(self.index(key));
        self
    }

    fn index(&mut self, key: &Arc<CertifiedKey>) -> usize {
        let known = |known: &RwLock<Arc<CertifiedKey>>| Arc::ptr_eq(&read(known), key);
        self.keys.iter().position(known).unwrap_or_else(|| {
            self.keys.push(RwLock::new(Arc::clone(key)));
            self.keys.len() - 1
        })
    }

    fn find(&self, name: Option<&str>) -> Option<usize> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let below = || self.wildcards.get(name.split_once('.')?.1);
            self.hosts.get(&*name).or_else(below)
        });
        named.copied().or(self.default)
    }

    fn get(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        Some(read(&self.keys[self.find(name)?]))
    }
}

impl CertStore {
    /// A store of these certificates.
    pub fn new(set: CertSet) -> Self {
        Self { set: RwLock::new(Arc::new(set)), writing: Mutex::default() }
    }

    /// Replaces all certificates. One that is in the new set, too, keeps its OCSP response unless the new one has its own.
    pub fn replace(&self, set: CertSet) {
        let writing = self.writing();
        let old = read(&self.set);
        for key in &set.keys {
            let new = read(key);
            let same = |old: &Arc<CertifiedKey>| old.cert.first() == new.cert.first();
            let kept = old.keys.iter().map(read).find(same).and_then(|old| old.ocsp.clone());
            if let (None, Some(response)) = (&new.ocsp, kept) {
                drop(write(key, with_response(&new, response)));
            }
        }
        let replaced = write(&self.set, Arc::new(set));
        drop(writing);
        drop((old, replaced));
    }

    /// Sets the OCSP response that is sent with the certificate of a host, under all its names; `None` means the default
    /// certificate. False if there is no certificate for the host.
    pub fn staple(&self, host: Option<&str>, response: Vec<u8>) -> bool {
        self.staple_found(|set| set.find(host), response)
    }

    /// Sets the OCSP response that is sent with this certificate. False if the set has no such certificate.
    pub fn staple_certificate(&self, certificate: &CertificateDer<'_>, response: Vec<u8>) -> bool {
        let is_it = |key: &RwLock<Arc<CertifiedKey>>| read(key).cert.first() == Some(certificate);
        self.staple_found(|set| set.keys.iter().position(is_it), response)
    }

    fn staple_found(
        &self,
        find: impl FnOnce(&CertSet) -> Option<usize>,
        response: Vec<u8>,
    ) -> bool {
        let writing = self.writing();
        let set = read(&self.set);
        let replaced = find(&set).map(|index| {
            let stapled = with_response(&read(&set.keys[index]), response);
            write(&set.keys[index], stapled)
        });
        drop(writing);
        replaced.is_some()
    }

    /// Keeps other writers out. Nothing that a pool may belong to is dropped meanwhile.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate and key that a client gets who names `host`.
    pub fn get(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        read(&self.set).get(host)
    }
}

fn with_response(key: &CertifiedKey, response: Vec<u8>) -> Arc<CertifiedKey> {
    Arc::new(CertifiedKey { ocsp: Some(response), ..key.clone() })
}

/// No foreign code runs under these locks, so a poisoned value is whole.
fn read<T>(lock: &RwLock<Arc<T>>) -> Arc<T> {
    Arc::clone(&lock.read().unwrap_or_else(PoisonError::into_inner))
}

/// Returns the old value, to be dropped without the lock: it may be the last handle of a pool.
fn write<T>(lock: &RwLock<Arc<T>>, value: Arc<T>) -> Arc<T> {
    core::mem::replace(&mut *lock.write().unwrap_or_else(PoisonError::into_inner), value)
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get(hello.server_name())
    }
}

impl fmt::Debug for CertStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertStore").field(&read(&self.set)).finish()
    }
}

impl fmt::Debug for CertSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertSet")
            .field("hosts", &self.hosts.keys())
            .field("wildcards", &self.wildcards.keys())
            .field("default", &self.default.is_some())
            .finish_non_exhaustive()
    }
}
