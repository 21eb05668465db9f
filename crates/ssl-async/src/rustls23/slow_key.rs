//! A slow signing key, put behind rustls in one expression.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use engine_core::{
    Accelerator, Clock, DeviceError, Driver, DriverError, Engine, EngineError, EngineStats,
    Fallback, RequestOptions, Shutdown, ShuttingDown, ThreadPoolBuilder,
};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};
use wait_ctx::Notifier;

use crate::rustls23::public_key::{
    ProviderVerifier, PublicKeyError, handle_of_certificate, spki_of,
};
use crate::rustls23::replay::{PendingSignature, SubmitSignature, postponing, replayable};
use crate::rustls23::signing_key::{Key, OffloadedSigningKey, SigningWork};

/// A certificate whose key is slow: behind a closure that blocks, an `async fn`, or a device. Give it to rustls as the
/// certificate resolver of a server's configuration, or of a client's.
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
/// Dropping the last handle never blocks: calls under way finish on their own. To end a key at a chosen time, and to know
/// that it has ended, use [`shutdown`](Self::shutdown). A key with threads belongs to the process that made it: in a child
/// made by `fork` its signatures fail at once, so make it after the fork.
///
/// Signatures are checked with the certificate's public key before they are used: always those of an RSA key, and the
/// others where the check does not run on the serving thread ([law L12]: nothing unverified leaves the engine).
///
/// [law L12]: https://github.com/layby-rs/layby/blob/main/docs/laws.md
#[derive(Debug)]
pub struct SlowKey {
    engine: Arc<Engine<SigningWork>>,
    certified: Arc<CertifiedKey>,
    provider: CryptoProvider,
}

/// Builds a [`SlowKey`]: its deadline and standby first, then the location of the key.
#[must_use = "a builder makes no key before `blocking`, `signing_key` or `accelerator`"]
pub struct SlowKeyBuilder {
    chain: Vec<CertificateDer<'static>>,
    handle: crypto_ops::KeyHandle,
    spki: SubjectPublicKeyInfoDer<'static>,
    verifier: Arc<ProviderVerifier>,
    provider: CryptoProvider,
    pool: ThreadPoolBuilder,
    options: RequestOptions,
    standby: Option<Arc<dyn Accelerator<SigningWork>>>,
    clock: Option<Arc<dyn Clock>>,
}

impl SlowKey {
    /// Starts with the certificate chain, the key's own certificate first. Signatures are checked with the algorithms of the
    /// process's provider, the one that `ServerConfig::builder` uses.
    ///
    /// # Errors
    ///
    /// Any [`PublicKeyError`] but [`Absent`](PublicKeyError::Absent).
    ///
    /// # Panics
    ///
    /// As `ServerConfig::builder`: if no provider is installed and rustls's features do not determine one.
    pub fn builder(chain: Vec<CertificateDer<'static>>) -> Result<SlowKeyBuilder, PublicKeyError> {
        Self::builder_with_provider(chain, ServerConfig::builder().crypto_provider())
    }

    /// As [`builder`](Self::builder), with the algorithms of `provider`.
    ///
    /// # Errors
    ///
    /// Any [`PublicKeyError`] but [`Absent`](PublicKeyError::Absent).
    pub fn builder_with_provider(
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<SlowKeyBuilder, PublicKeyError> {
        let certificate = chain.first().ok_or(PublicKeyError::NoCertificate)?;
        let handle = handle_of_certificate(certificate, provider)?;
        let spki = spki_of(certificate)?;
        let verifier = Arc::new(ProviderVerifier::new(&spki, provider)?);
        let (pool, options) = (ThreadPoolBuilder::new().name("slow-key"), RequestOptions::new());
        Ok(SlowKeyBuilder {
            chain,
            handle,
            spki,
            verifier,
            provider: provider.clone(),
            pool,
            options,
            standby: None,
            clock: None,
        })
    }

    /// The configuration of a server with this key: the provider that [`builder`](Self::builder) uses, made
    /// [`replayable`], the protocol versions that rustls calls safe, and no client certificates. Set ALPN protocols, tickets
    /// and the like on it. Its handshakes are parked by [replay](crate::Parking); for client certificates, build one with
    /// `ServerConfig::builder_with_provider(replayable(provider).into())` and this key as resolver.
    ///
    /// # Panics
    ///
    /// If the provider has no cipher suite, or no key exchange, for these versions.
    pub fn server_config(self: &Arc<Self>) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(replayable(self.provider.clone())))
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 or 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self))
    }

    /// The chain with its signing key, for a resolver of your own that chooses among several, or to add an OCSP response. It
    /// keeps working without the `SlowKey`.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The engine that computes the signatures, to close, drain and watch it.
    pub fn engine(&self) -> &Arc<Engine<SigningWork>> {
        &self.engine
    }

    /// Ends the key: refuses new signatures at once, lets those under way finish until `deadline`, fails the rest, ends the
    /// threads and joins them. After [`Shutdown::Drained`] nothing of the key runs any more, and the process may end, or
    /// unload the library behind it. [`Shutdown::Stuck`] has the number of calls that have not returned: end the process
    /// with `_exit`.
    ///
    /// The future needs no particular executor; the shutdown continues if it is dropped. See [`Engine::shutdown`].
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        self.engine.shutdown(deadline)
    }

    /// As [`shutdown`](Self::shutdown), and blocks until the end. Do not call it on a thread of a runtime that runs tasks of
    /// the key.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.engine.shutdown_blocking(deadline)
    }

    /// The engine's counters: signatures, failures, deadlines, and times spent.
    pub fn stats(&self) -> EngineStats {
        self.engine.stats()
    }
}

impl fmt::Debug for SlowKeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowKeyBuilder")
            .field("options", &self.options)
            .field("standby", &self.standby)
            .finish_non_exhaustive()
    }
}

impl SlowKeyBuilder {
    /// Sets how long a signature may take; then the handshake fails. Without a deadline it waits for ever.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options = self.options.deadline(deadline);
        self
    }

    /// Sets the device that signs when the first one fails or is too slow: a second region, another card, a software key
    /// kept for the purpose. The deadline starts again for it.
    pub fn standby(mut self, standby: Arc<dyn Accelerator<SigningWork>>) -> Self {
        self.standby = Some(standby);
        self.options = self.options.fallback(Fallback::Standby);
        self
    }

    /// Measures the deadline with `clock` instead of the machine's, for tests that move time by hand. Then there is no thread
    /// for the deadlines: call [`Engine::poll`] of the key's [`engine`](SlowKey::engine) after moving the clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the number of threads for [`blocking`](Self::blocking) and [`signing_key`](Self::signing_key). The default is 4.
    pub fn threads(mut self, threads: usize) -> Self {
        self.pool = self.pool.threads(threads);
        self
    }

    /// Sets all options of those threads.
    pub fn pool(mut self, pool: ThreadPoolBuilder) -> Self {
        self.pool = pool;
        self
    }

    /// Builds a key behind a closure that blocks: the library of an HSM, a command, a lock around a token. The closure
    /// receives the whole message, not a digest, and returns the signature as encoded in TLS: for ECDSA the DER of
    /// `SEQUENCE { r, s }`, not the two numbers side by side. Its error is logged, and is part of the handshake's error.
    ///
    /// # Errors
    ///
    /// [`DriverError`] if the system gives no thread for the deadlines.
    pub fn blocking<E, F>(self, sign: F) -> Result<Arc<SlowKey>, DriverError>
    where
        E: fmt::Display,
        F: Fn(SignatureScheme, &[u8]) -> Result<Vec<u8>, E> + Send + Sync + 'static,
    {
        let device = self.pool.clone().build(move |work: &SigningWork| {
            sign(work.scheme(), work.message()).map_err(|error| DeviceError::reported(&error))
        });
        self.accelerator(Arc::new(device))
    }

    /// Builds a key from a rustls `SigningKey` that blocks.
    ///
    /// # Errors
    ///
    /// [`DriverError`] if the system gives no thread for the deadlines.
    pub fn signing_key(self, key: Arc<dyn SigningKey>) -> Result<Arc<SlowKey>, DriverError> {
        let device = Arc::new(self.pool.clone().build(SigningWork::sign));
        self.build(Key::Rustls(key), device)
    }

    /// Builds a key on a device that takes [`SigningWork`]: an `async fn` as a
    /// [`TaskDevice`](https://docs.rs/ssl-async/latest/ssl_async/task/struct.TaskDevice.html), or an accelerator of your own.
    ///
    /// # Errors
    ///
    /// [`DriverError`] if the system gives no thread for the deadlines.
    pub fn accelerator(
        self,
        device: Arc<dyn Accelerator<SigningWork>>,
    ) -> Result<Arc<SlowKey>, DriverError> {
        let key = Key::Device(self.handle.clone());
        self.build(key, device)
    }

    fn build(
        self,
        key: Key,
        device: Arc<dyn Accelerator<SigningWork>>,
    ) -> Result<Arc<SlowKey>, DriverError> {
        let Self { chain, spki, verifier, provider, options, standby, clock, .. } = self;
        let by_real_time = clock.is_none();
        let mut builder = Engine::builder(device).options(options);
        if let Some(clock) = clock {
            builder = builder.clock(clock);
        }
        if let Some(standby) = standby {
            builder = builder.standby(standby);
        }
        let engine = builder.build();
        let driver = by_real_time.then(|| engine.spawn_driver()).transpose()?;
        let key = OffloadedSigningKey { engine: Arc::clone(&engine), key, spki, verifier };
        let key = postponing(DrivenKey { key, _driver: driver });
        let certified = Arc::new(CertifiedKey::new(chain, key));
        Ok(Arc::new(SlowKey { engine, certified, provider }))
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

/// The key with the driver of its deadlines, which must live as long as rustls has the key.
#[derive(Debug)]
struct DrivenKey {
    key: OffloadedSigningKey,
    /// Absent with a clock of the caller's.
    _driver: Option<Driver>,
}

impl SubmitSignature for DrivenKey {
    fn submit(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        notifier: Option<&Notifier>,
    ) -> Result<PendingSignature, EngineError> {
        self.key.submit(scheme, message, notifier)
    }
}

impl SigningKey for DrivenKey {
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
