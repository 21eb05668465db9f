//! The server's key in its three forms (in software, on the device, not at all), and the configuration around it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crypto_ops::{CryptoOp, KeyHandle, Scheme, SignOp, SoftwareKeys};
use rustls::{
    Error, ServerConfig, SignatureAlgorithm, SignatureScheme,
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer},
    server::{
        NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ResolvesServerCertUsingSni,
        ServerSessionMemoryCache,
    },
    sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey},
};

use crate::scenario::ParkingMethod;

/// How many signatures rustls has asked a key for: counted outside the engine, to hold against what the engine counts.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<AtomicU64>);

impl Asked {
    pub(crate) fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A server configuration with one certificate and one key, without resumption: every handshake needs the key.
///
/// # Errors
/// What rustls says about the versions or the provider.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<ServerConfig, Error> {
    server_config_over(default_provider(), chain, key)
}

/// The provider of a server whose handshakes are parked so.
pub(crate) fn provider(parking: ParkingMethod) -> CryptoProvider {
    match parking {
        ParkingMethod::Fiber => default_provider(),
        ParkingMethod::Replay => ssl_async::replayable(default_provider()),
    }
}

/// As [`server_config`], with another provider.
///
/// # Errors
/// As [`server_config`].
pub fn server_config_over(
    provider: CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
) -> Result<ServerConfig, Error> {
    let certified = CertifiedKey::new(chain, key);
    config(provider, Arc::new(SingleCertAndKey::from(certified)), None)
}

/// A server configuration with a key for each of these names, of which a client says the one it wants (RFC 6066, 3);
/// with resumption by these tickets, if they are given.
///
/// # Errors
/// What rustls says, also about a name that its certificate is not for.
pub fn fleet_config(
    provider: CryptoProvider,
    fleet: Vec<(String, CertificateDer<'static>, Arc<dyn SigningKey>)>,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<ServerConfig, Error> {
    let mut resolver = ResolvesServerCertUsingSni::new();
    for (name, certificate, key) in fleet {
        resolver.add(&name, CertifiedKey::new(vec![certificate], key))?;
    }
    config(provider, Arc::new(resolver), tickets)
}

/// Tickets of a server that is one or many: encrypted in software, with a key of this process (RFC 5077).
///
/// # Errors
/// When there are no random numbers.
pub fn tickets() -> Result<Arc<dyn ProducesTickets>, Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

/// The configuration of a server on the network: clients that come again resume, by ticket or by session id; HTTP/1.1 is
/// agreed on by ALPN; and among the cipher suites that both know the server's order decides.
///
/// # Errors
/// What rustls says about the versions or the provider, and when there are no random numbers.
pub fn https_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    let mut config = config(default_provider(), resolver, Some(tickets()?))?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    config.ignore_client_order = true;
    Ok(config)
}

/// Sessions of TLS 1.2 without tickets that are kept to be resumed.
const SESSIONS: usize = 10_240;

fn config(
    provider: CryptoProvider,
    resolver: Arc<dyn ResolvesServerCert>,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One is enough for the next handshake.
    config.send_tls13_tickets = usize::from(tickets.is_some());
    if let Some(tickets) = tickets {
        config.ticketer = tickets;
    }
    Ok(config)
}

/// A key of a store, with which the thread that asks signs.
pub fn in_place(store: Arc<SoftwareKeys>, key: KeyHandle) -> Arc<dyn SigningKey> {
    Arc::new(HandleKey { key, store: Some(store) })
}

/// A key that does not sign at all: garbage in the shape of a signature. The limit of any offload.
pub fn free_sign(key: KeyHandle) -> Arc<dyn SigningKey> {
    Arc::new(HandleKey { key, store: None })
}

/// Counts what a key is asked for.
pub fn counted(key: Arc<dyn SigningKey>, asked: &Asked) -> Arc<dyn SigningKey> {
    let asked = asked.clone();
    watched(key, move |_, sign| {
        asked.one_more();
        sign()
    })
}

/// A key whose every signature `watch` makes, by calling what it is given beside what is to be signed.
pub fn watched(
    key: Arc<dyn SigningKey>,
    watch: impl Fn((SignatureScheme, &[u8]), Sign<'_>) -> Result<Vec<u8>, Error> + Send + Sync + 'static,
) -> Arc<dyn SigningKey> {
    Arc::new(WatchedKey { key, watch: Arc::new(watch) })
}

/// Makes the signature.
pub type Sign<'a> = &'a dyn Fn() -> Result<Vec<u8>, Error>;

type Watch = dyn Fn((SignatureScheme, &[u8]), Sign<'_>) -> Result<Vec<u8>, Error> + Send + Sync;

struct WatchedKey {
    key: Arc<dyn SigningKey>,
    watch: Arc<Watch>,
}

impl SigningKey for WatchedKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = self.key.choose_scheme(offered)?;
        Some(Box::new(WatchedSigner { signer, watch: Arc::clone(&self.watch) }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl fmt::Debug for WatchedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedKey").field("key", &self.key).finish_non_exhaustive()
    }
}

struct WatchedSigner {
    signer: Box<dyn Signer>,
    watch: Arc<Watch>,
}

impl Signer for WatchedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        (self.watch)((self.signer.scheme(), message), &|| self.signer.sign(message))
    }

    fn scheme(&self) -> SignatureScheme {
        self.signer.scheme()
    }
}

impl fmt::Debug for WatchedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedSigner").field("signer", &self.signer).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct HandleKey {
    key: KeyHandle,
    /// Where the key is; without one, signatures are garbage.
    store: Option<Arc<SoftwareKeys>>,
}

impl SigningKey for HandleKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = |scheme: &&Scheme| offered.contains(&SignatureScheme::from(scheme.to_u16()));
        let scheme = *self.key.schemes().iter().find(fits)?;
        Some(Box::new(HandleSigner { key: self.key.clone(), store: self.store.clone(), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.key.public_key()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.key.algorithm() {
            crypto_ops::Algorithm::Rsa => SignatureAlgorithm::RSA,
            crypto_ops::Algorithm::Ed25519 => SignatureAlgorithm::ED25519,
            _ => SignatureAlgorithm::ECDSA,
        }
    }
}

struct HandleSigner {
    key: KeyHandle,
    store: Option<Arc<SoftwareKeys>>,
    scheme: Scheme,
}

impl Signer for HandleSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let op = SignOp::new(self.key.clone(), self.scheme, message.to_vec())
            .map_err(|unfit| Error::General(unfit.to_string()))?;
        let op = CryptoOp::Sign(op);
        let output = match &self.store {
            Some(store) => store.execute(&op).map_err(|error| Error::General(error.to_string()))?,
            None => crypto_ops::testing::fake_output(&op),
        };
        Ok(output.into_signature().expect("a signing operation puts out a signature"))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::from(self.scheme.to_u16())
    }
}

impl fmt::Debug for HandleSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleSigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}
