//! A slow signing key with a pool of its own, put behind rustls in one expression.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use engine_core::{Accelerator, BreakerPolicy, Clock, DriverError, ThreadPoolBuilder};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;
use rustls::{ServerConfig, SignatureScheme};

use crate::rustls23::key_pool::{KeyPool, SlowKey};
use crate::rustls23::key_pool_builder::KeyPoolBuilder;
use crate::rustls23::public_key::{PublicHalf, PublicKeyError};
use crate::rustls23::signing_key::SigningWork;

/// Builds a [`SlowKey`] with a pool of its own: its deadline and standby first, then the location of the key.
#[derive(Debug)]
#[must_use = "a builder makes no key before `blocking`, `signing_key` or `accelerator`"]
pub struct SlowKeyBuilder {
    chain: Vec<CertificateDer<'static>>,
    half: PublicHalf,
    schemes: Option<Vec<SignatureScheme>>,
    pool: KeyPoolBuilder,
}

/// Why a [`SlowKeyBuilder`] made no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlowKeyError {
    /// The system gave no thread for the deadlines.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A mistake in the key's configuration.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
}

impl SlowKey {
    /// Starts with the certificate chain, the key's own certificate first. Signatures are checked with the algorithms of the
    /// process's provider, the one that `ServerConfig::builder` uses.
    ///
    /// # Errors
    ///
    /// Any [`PublicKeyError`] that the certificate causes.
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
    /// Any [`PublicKeyError`] that the certificate causes.
    pub fn builder_with_provider(
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<SlowKeyBuilder, PublicKeyError> {
        let half = PublicHalf::of_chain(&chain, provider)?;
        let pool = KeyPool::builder_with_provider(provider);
        Ok(SlowKeyBuilder { chain, half, schemes: None, pool })
    }
}

impl SlowKeyBuilder {
    fn pool_with(self, set: impl FnOnce(KeyPoolBuilder) -> KeyPoolBuilder) -> Self {
        Self { pool: set(self.pool), ..self }
    }

    /// As [`KeyPoolBuilder::deadline`].
    pub fn deadline(self, deadline: Duration) -> Self {
        self.pool_with(|pool| pool.deadline(deadline))
    }

    /// As [`KeyPoolBuilder::attempts`].
    pub fn attempts(self, attempts: u32) -> Self {
        self.pool_with(|pool| pool.attempts(attempts))
    }

    /// As [`KeyPoolBuilder::standby`].
    pub fn standby(self, standby: Arc<dyn Accelerator<SigningWork>>) -> Self {
        self.pool_with(|pool| pool.standby(standby))
    }

    /// As [`KeyPoolBuilder::breaker`].
    pub fn breaker(self, policy: BreakerPolicy) -> Self {
        self.pool_with(|pool| pool.breaker(policy))
    }

    /// As [`KeyPoolBuilder::queue_bound`].
    pub fn queue_bound(self, requests: usize) -> Self {
        self.pool_with(|pool| pool.queue_bound(requests))
    }

    /// As [`KeyPoolBuilder::clock`].
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.pool_with(|pool| pool.clock(clock))
    }

    /// Sets the number of threads for [`blocking`](Self::blocking) and [`signing_key`](Self::signing_key). The default is 4.
    pub fn threads(self, threads: usize) -> Self {
        self.pool_with(|pool| pool.threads(threads))
    }

    /// Sets all options of those threads.
    pub fn pool(self, threads: ThreadPoolBuilder) -> Self {
        self.pool_with(|pool| pool.pool(threads))
    }

    /// Offers these schemes only, best first: see [`SlowKey::with_schemes`].
    pub fn schemes(mut self, schemes: impl IntoIterator<Item = SignatureScheme>) -> Self {
        self.schemes = Some(schemes.into_iter().collect());
        self
    }

    /// Builds a key behind a closure that blocks: the library of an HSM, a command, a lock around a token. The closure
    /// receives the whole message, not a digest, and returns the signature as encoded in TLS: for ECDSA the DER of
    /// `SEQUENCE { r, s }`, not the two numbers side by side. Its error is logged, and is part of the handshake's error; how
    /// errors are sorted is on the page of [`SignError`](crate::SignError).
    ///
    /// A closure with a state for each thread, or one that wants the digest: [`KeyPool`].
    ///
    /// # Errors
    ///
    /// [`SlowKeyError`].
    pub fn blocking<E, F>(self, sign: F) -> Result<Arc<SlowKey>, SlowKeyError>
    where
        E: fmt::Display + 'static,
        F: Fn(SignatureScheme, &[u8]) -> Result<Vec<u8>, E> + Send + Sync + 'static,
    {
        self.build(None, |pool| pool.blocking(move |work| sign(work.scheme(), work.message())))
    }

    /// Builds a key from a rustls `SigningKey` that blocks.
    ///
    /// # Errors
    ///
    /// [`SlowKeyError`]; [`PublicKeyError::OtherKey`] if the key is not the certificate's, as far as it gives its public half.
    pub fn signing_key(self, key: Arc<dyn SigningKey>) -> Result<Arc<SlowKey>, SlowKeyError> {
        if key.public_key().is_some_and(|spki| spki != self.half.spki) {
            return Err(PublicKeyError::OtherKey.into());
        }
        self.build(Some(key), |pool| {
            let device = pool.thread_pool().build(SigningWork::sign);
            pool.accelerator(Arc::new(device))
        })
    }

    /// Builds a key on a device that takes [`SigningWork`]: an `async fn` as a
    /// [`TaskDevice`](https://docs.rs/layby-ssl-async/latest/ssl_async/task/struct.TaskDevice.html), or an accelerator of your own.
    ///
    /// # Errors
    ///
    /// [`SlowKeyError`].
    pub fn accelerator(
        self,
        device: Arc<dyn Accelerator<SigningWork>>,
    ) -> Result<Arc<SlowKey>, SlowKeyError> {
        self.build(None, |pool| pool.accelerator(device))
    }

    fn build(
        self,
        private: Option<Arc<dyn SigningKey>>,
        pool: impl FnOnce(KeyPoolBuilder) -> Result<KeyPool, DriverError>,
    ) -> Result<Arc<SlowKey>, SlowKeyError> {
        let pool = pool(self.pool)?;
        let key = pool.key_of(self.chain, Arc::new(self.half), "".into(), private);
        match self.schemes {
            Some(schemes) => Ok(key.with_schemes(schemes)?),
            None => Ok(key),
        }
    }
}
