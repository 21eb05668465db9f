//! A key that takes its time, put behind rustls in one expression.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use engine_core::{
    Accelerator, Clock, Driver, DriverError, Engine, EngineSnapshot, Fallback, Terms,
    ThreadPoolBuilder,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::rustls23::public_key::{ProviderVerifier, PublicKeyError, key_of_certificate, spki_of};
use crate::rustls23::signing_key::{Key, OffloadedSigningKey, SigningWork};

/// A signing key that is used elsewhere and takes its time: behind a closure that blocks, an `async fn`, or a device. Give
/// it to rustls like any other, in a `CertifiedKey`.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::time::Duration;
/// use rustls::crypto::aws_lc_rs;
/// use rustls::sign::SigningKey;
/// use ssl_async::{SlowKey, ThreadPoolBuilder};
/// # struct Hsm(std::sync::Arc<dyn SigningKey>);
/// # impl Hsm { fn sign(&self, scheme: rustls::SignatureScheme, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
/// #     self.0.choose_scheme(&[scheme]).unwrap().sign(message) } }
/// # let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let certificate = identity.cert.der().clone();
/// # let hsm = Hsm(aws_lc_rs::sign::any_supported_type(&rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der())?)?);
///
/// // Sixteen threads that may block; a handshake whose signature is not there after two seconds fails.
/// let key = SlowKey::builder(&certificate, &aws_lc_rs::default_provider())?
///     .deadline(Duration::from_secs(2))
///     .threads(16)
///     .blocking(move |scheme, message| hsm.sign(scheme, message))?;
/// # let signer = key.choose_scheme(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
/// # assert!(signer.sign(b"a transcript").is_ok());
/// assert_eq!(key.snapshot().failed, 0);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The signatures are checked with the certificate's key before they leave (law L12): always those of an RSA key, and
/// the others where that does not cost the serving thread.
#[derive(Debug)]
pub struct SlowKey {
    key: OffloadedSigningKey,
    /// Keeps the deadlines, as long as the key lives; absent if somebody else does, by a clock of theirs.
    _driver: Option<Driver>,
}

/// Where a [`SlowKey`] is, and on which terms.
#[must_use = "a builder makes no key until it is told where the key is"]
pub struct SlowKeyBuilder {
    handle: crypto_ops::KeyHandle,
    spki: SubjectPublicKeyInfoDer<'static>,
    verifier: Arc<ProviderVerifier>,
    pool: ThreadPoolBuilder,
    terms: Terms,
    standby: Option<Arc<dyn Accelerator<SigningWork>>>,
    clock: Option<Arc<dyn Clock>>,
}

impl SlowKey {
    /// The key of this certificate, the first of a chain. Its signatures are checked by the algorithms of `provider`.
    ///
    /// # Errors
    ///
    /// Any [`PublicKeyError`] but [`Absent`](PublicKeyError::Absent).
    pub fn builder(
        certificate: &CertificateDer<'_>,
        provider: &CryptoProvider,
    ) -> Result<SlowKeyBuilder, PublicKeyError> {
        let handle = key_of_certificate(certificate, provider)?;
        let spki = spki_of(certificate)?;
        let verifier = Arc::new(ProviderVerifier::new(&spki, provider)?);
        let (pool, terms) = (ThreadPoolBuilder::new().name("slow-key"), Terms::new());
        Ok(SlowKeyBuilder { handle, spki, verifier, pool, terms, standby: None, clock: None })
    }

    /// The engine that the signatures go through: to close, drain and watch it.
    pub fn engine(&self) -> &Arc<Engine<SigningWork>> {
        &self.key.engine
    }

    /// What has been counted: signatures, failures, deadlines, and where the time went.
    pub fn snapshot(&self) -> EngineSnapshot {
        self.key.engine.snapshot()
    }
}

impl fmt::Debug for SlowKeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowKeyBuilder")
            .field("terms", &self.terms)
            .field("standby", &self.standby)
            .finish_non_exhaustive()
    }
}

impl SlowKeyBuilder {
    /// How long a signature may take; the handshake fails then. Without this, for ever.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.terms = self.terms.deadline(deadline);
        self
    }

    /// Who signs when the first does not, or is too slow: a second region, another device, a software key held for the
    /// purpose. It has the deadline again.
    pub fn standby(mut self, standby: Arc<dyn Accelerator<SigningWork>>) -> Self {
        self.standby = Some(standby);
        self.terms = self.terms.fallback(Fallback::Standby);
        self
    }

    /// Keeps the deadline by a clock of yours instead of the machine's, as tests do that move time by hand. There is no
    /// thread for the deadlines then: whoever moves the clock calls [`Engine::poll`] of the key's
    /// [`engine`](SlowKey::engine).
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How many threads [`blocking`](Self::blocking) and [`signing_key`](Self::signing_key) use; 4 if not set.
    pub fn threads(mut self, threads: usize) -> Self {
        self.pool = self.pool.threads(threads);
        self
    }

    /// All that can be said of those threads.
    pub fn pool(mut self, pool: ThreadPoolBuilder) -> Self {
        self.pool = pool;
        self
    }

    /// The key is behind a closure that blocks: the library of a security module, a command, a lock around a token. It
    /// gets the whole message, not a digest.
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
            sign(work.scheme(), work.message()).map_err(|error| work.failed(&error))
        });
        self.accelerator(Arc::new(device))
    }

    /// The key is one of rustls's that blocks.
    ///
    /// # Errors
    ///
    /// [`DriverError`] if the system gives no thread for the deadlines.
    pub fn signing_key(self, key: Arc<dyn SigningKey>) -> Result<Arc<SlowKey>, DriverError> {
        let device = Arc::new(self.pool.clone().build(SigningWork::sign));
        self.build(Key::Rustls(key), device)
    }

    /// The key is on a device that takes [`SigningWork`]: an `async fn` as a
    /// [`TaskDevice`](https://docs.rs/ssl-async/latest/ssl_async/tokio/struct.TaskDevice.html), or an accelerator of your own.
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
        let Self { spki, verifier, terms, standby, clock, .. } = self;
        let by_real_time = clock.is_none();
        let mut builder = Engine::builder(device).terms(terms);
        if let Some(clock) = clock {
            builder = builder.clock(clock);
        }
        if let Some(standby) = standby {
            builder = builder.standby(standby);
        }
        let engine = builder.build();
        let driver = by_real_time.then(|| engine.spawn_driver()).transpose()?;
        let key = OffloadedSigningKey { engine, key, spki, verifier };
        Ok(Arc::new(SlowKey { key, _driver: driver }))
    }
}

impl SigningKey for SlowKey {
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
