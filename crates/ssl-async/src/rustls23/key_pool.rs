//! Keys and the pool that signs for them.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use engine_core::{Driver, Engine, EngineStats, Shutdown, ShuttingDown};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};
use wait_ctx::Notifier;

use crate::rustls23::postponed::{Message, PendingAnswer, SubmitSignature, postponing};
use crate::rustls23::public_key::{PublicHalf, PublicKeyError};
use crate::rustls23::replay::replayable;
use crate::rustls23::signing_key::{OffloadedSigningKey, SigningWork};

/// Threads, or another device, that sign for any number of slow keys: the sessions with one token, the connections to one
/// KMS. It has one queue, one deadline, one breaker and one standby.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::time::Duration;
/// use ssl_async::{KeyPool, SignError};
/// # use rustls::sign::SigningKey;
/// # use std::{collections::HashMap, sync::{Arc, Mutex}};
/// # let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
/// # type Keys = Arc<Mutex<HashMap<String, Arc<dyn SigningKey>>>>;
/// # struct Session(Keys); struct Token(Keys);
/// # enum Failure { SessionClosed, Other }
/// # impl std::fmt::Display for Failure { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("refused") } }
/// # impl Token { fn open_session(&self) -> Result<Session, SignError> { Ok(Session(self.0.clone())) } }
/// # impl Session { fn sign(&mut self, key: &str, scheme: rustls::SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Failure> {
/// #     let keys = self.0.lock().unwrap();
/// #     let Some(signer) = keys[key].choose_scheme(&[scheme]) else { return Err(Failure::SessionClosed) };
/// #     signer.sign(message).map_err(|_| Failure::Other) } }
/// # let keys = Keys::default();
/// # let token = Token(keys.clone());
/// # let mut chain = |name: &str| { let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
/// #     let der = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
/// #     keys.lock().unwrap().insert(name.to_owned(), rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap());
/// #     vec![made.cert.der().clone()] };
/// let pool = KeyPool::builder().threads(8).deadline(Duration::from_secs(2)).with_state(
///     move || token.open_session(), // on each thread, when it signs first
///     |session, request| match session.sign(request.key_id(), request.scheme(), request.message()) {
///         Err(Failure::SessionClosed) => Err(SignError::reopen("the session was closed")),
///         signed => signed.map_err(SignError::transient),
///     },
/// )?;
/// let shop = pool.key(chain("shop.example"), "shop.example")?;
/// let mail = pool.key(chain("mail.example"), "mail.example")?;
/// # for key in [&shop, &mail] {
/// #     let signer = key.certified_key().key.choose_scheme(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
/// #     assert!(signer.sign(b"a transcript").is_ok()); }
/// # assert_eq!(pool.stats().completed, 2);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Cloning a pool gives another handle of it. Dropping the last handle of a pool and its keys never blocks: calls under way
/// finish on their own. To end it at a chosen time, and to know that it has ended, use [`shutdown`](Self::shutdown). A pool
/// with threads belongs to the process that made it: in a child made by `fork` its signatures fail at once, so make it after
/// the fork.
#[derive(Clone)]
pub struct KeyPool {
    inner: Arc<PoolInner>,
}

/// What a pool's keys share. It lives as long as rustls has one of them.
struct PoolInner {
    engine: Arc<Engine<SigningWork>>,
    /// Keeps the deadlines. Absent with a clock of the caller's.
    _driver: Option<Driver>,
    provider: CryptoProvider,
}

impl KeyPool {
    pub(crate) fn new(
        engine: Arc<Engine<SigningWork>>,
        driver: Option<Driver>,
        provider: CryptoProvider,
    ) -> Self {
        Self { inner: Arc::new(PoolInner { engine, _driver: driver, provider }) }
    }

    /// A key that this pool signs with: its certificate chain, the key's own certificate first, and the name by which the
    /// pool's closure or device knows it. `id` is what [`SigningWork::key_id`] returns.
    ///
    /// # Errors
    ///
    /// Any [`PublicKeyError`] that the certificate causes.
    pub fn key(
        &self,
        chain: Vec<CertificateDer<'static>>,
        id: impl Into<Arc<str>>,
    ) -> Result<Arc<SlowKey>, PublicKeyError> {
        let half = Arc::new(PublicHalf::of_chain(&chain, &self.inner.provider)?);
        Ok(self.key_of(chain, half, id.into(), None))
    }

    /// As [`key`](Self::key), with the private key if it is not the device's.
    pub(crate) fn key_of(
        &self,
        chain: Vec<CertificateDer<'static>>,
        half: Arc<PublicHalf>,
        id: Arc<str>,
        private: Option<Arc<dyn SigningKey>>,
    ) -> Arc<SlowKey> {
        let engine = Arc::clone(self.engine());
        SlowKey::new(self.clone(), chain, OffloadedSigningKey::new(engine, private, half, id))
    }

    /// The configuration of a server with keys of this pool, such as a [`SlowKey`] or a [`CertStore`](crate::CertStore): the
    /// provider of the pool, made [`replayable`], the protocol versions that rustls calls safe, and no client certificates.
    /// Set ALPN protocols, tickets and the like on it. Its handshakes are parked by [replay](crate::Parking); for client
    /// certificates, build one with `ServerConfig::builder_with_provider(replayable(provider).into())` and the same resolver.
    ///
    /// # Panics
    ///
    /// If the provider has no cipher suite, or no key exchange, for these versions.
    pub fn server_config(&self, certificates: Arc<dyn ResolvesServerCert>) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(replayable(self.inner.provider.clone())))
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 or 1.3")
            .with_no_client_auth()
            .with_cert_resolver(certificates)
    }

    /// The engine that computes the signatures, to close, drain and watch it.
    pub fn engine(&self) -> &Arc<Engine<SigningWork>> {
        &self.inner.engine
    }

    /// The engine's counters: signatures, failures, deadlines, and times spent, over all keys.
    pub fn stats(&self) -> EngineStats {
        self.engine().stats()
    }

    /// Ends the pool: refuses new signatures at once, lets those under way finish until `deadline`, fails the rest, ends the
    /// threads and joins them. After [`Shutdown::Drained`] nothing of the pool runs any more, and the process may end, or
    /// unload the library behind it. [`Shutdown::Stuck`] has the number of calls that have not returned: end the process
    /// with `_exit`.
    ///
    /// The future needs no particular executor; the shutdown continues if it is dropped. See [`Engine::shutdown`].
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        self.engine().shutdown(deadline)
    }

    /// As [`shutdown`](Self::shutdown), and blocks until the end. Do not call it on a thread of a runtime that runs tasks of
    /// the keys.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.engine().shutdown_blocking(deadline)
    }
}

impl fmt::Debug for KeyPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPool").field("engine", self.engine()).finish_non_exhaustive()
    }
}

/// A certificate whose key is slow: behind a closure that blocks, an `async fn`, or a device. Give it to rustls as the
/// certificate resolver of a server's configuration, or of a client's. [`SlowKey::builder`] makes one with a [`KeyPool`] of its
/// own; [`KeyPool::key`] makes several with one pool.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::time::Duration;
/// use ssl_async::SlowKey;
/// # use rustls::crypto::aws_lc_rs;
/// # use rustls::sign::SigningKey;
/// # struct Hsm(std::sync::Arc<dyn SigningKey>);
/// # impl Hsm { fn sign(&self, scheme: rustls::SignatureScheme, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
/// #     self.0.choose_scheme(&[scheme]).unwrap().sign(message) } }
/// # let _ = aws_lc_rs::default_provider().install_default();
/// # let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let chain = vec![identity.cert.der().clone()];
/// # let hsm = Hsm(aws_lc_rs::sign::any_supported_type(&rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der())?)?);
///
/// // Sixteen threads that may block; a handshake whose signature takes more than two seconds fails.
/// let key = SlowKey::builder(chain)?
///     .deadline(Duration::from_secs(2))
///     .threads(16)
///     .blocking(move |scheme, message| hsm.sign(scheme, message))?;
/// # let signer = key.certified_key().key.choose_scheme(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
/// # assert!(signer.sign(b"a transcript").is_ok());
/// assert_eq!(key.stats().failed, 0);
/// let config = key.server_config();
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What holds for a [`KeyPool`] that is dropped, shut down or forked holds for its keys.
///
/// Signatures are checked with the certificate's public key before they are used: always those of an RSA key, and the
/// others where the check does not run on the serving thread ([law L12]: nothing unverified leaves the engine).
///
/// [law L12]: https://github.com/layby-rs/layby/blob/main/docs/laws.md
pub struct SlowKey {
    pool: KeyPool,
    key: OffloadedSigningKey,
    certified: Arc<CertifiedKey>,
}

impl SlowKey {
    fn new(
        pool: KeyPool,
        chain: Vec<CertificateDer<'static>>,
        key: OffloadedSigningKey,
    ) -> Arc<Self> {
        let in_pool = KeyInPool { key: key.clone(), _pool: pool.clone() };
        let certified = Arc::new(CertifiedKey::new(chain, postponing(in_pool)));
        Arc::new(Self { pool, key, certified })
    }

    /// The [configuration](KeyPool::server_config) of a server with this key.
    ///
    /// # Panics
    ///
    /// If the provider has no cipher suite, or no key exchange, for these versions.
    pub fn server_config(self: &Arc<Self>) -> ServerConfig {
        self.pool.server_config(Arc::<Self>::clone(self))
    }

    /// The chain with its signing key, for a resolver of your own that chooses among several, or to add an OCSP response. It
    /// keeps working without the `SlowKey`.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    pub(crate) fn key(&self) -> &OffloadedSigningKey {
        &self.key
    }

    /// The name that the pool's closure or device knows the key by; empty for a key with a pool of its own.
    pub fn id(&self) -> &str {
        self.key.id()
    }

    /// The schemes that the key offers, best first.
    pub fn schemes(&self) -> &[SignatureScheme] {
        self.key.schemes()
    }

    /// The same key with these schemes only, best first: for a token without PSS, or a key that is bound to one algorithm.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError::Scheme`] if a scheme is not one of such a key, [`PublicKeyError::NoScheme`] if there are none.
    pub fn with_schemes(
        &self,
        schemes: impl IntoIterator<Item = SignatureScheme>,
    ) -> Result<Arc<Self>, PublicKeyError> {
        let key = self.key.with_schemes(schemes)?;
        Ok(Self::new(self.pool.clone(), self.certified.cert.clone(), key))
    }

    /// The pool that signs.
    pub fn pool(&self) -> &KeyPool {
        &self.pool
    }

    /// The [engine](KeyPool::engine) of the pool.
    pub fn engine(&self) -> &Arc<Engine<SigningWork>> {
        self.pool.engine()
    }

    /// [Ends](KeyPool::shutdown) the pool, and so all keys of it.
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        self.pool.shutdown(deadline)
    }

    /// As [`shutdown`](Self::shutdown), and [blocks](KeyPool::shutdown_blocking).
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.pool.shutdown_blocking(deadline)
    }

    /// The [counters](KeyPool::stats) of the pool.
    pub fn stats(&self) -> EngineStats {
        self.pool.stats()
    }
}

impl fmt::Debug for SlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for SlowKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }
}

impl ResolvesClientCert for SlowKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A key with its pool, which must live as long as rustls has the key.
#[derive(Debug)]
struct KeyInPool {
    key: OffloadedSigningKey,
    _pool: KeyPool,
}

impl SubmitSignature for KeyInPool {
    fn submit(
        &self,
        scheme: SignatureScheme,
        message: &Message,
        notifier: Option<&Notifier>,
    ) -> PendingAnswer {
        self.key.submit(scheme, message, notifier)
    }
}

impl SigningKey for KeyInPool {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.key.choose_scheme(offered)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}
