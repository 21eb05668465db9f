//! Builds pools of threads, or of another device, for slow keys.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use engine_core::{
    Accelerator, BreakerPolicy, Clock, DeviceError, DriverError, Engine, Fallback, RequestOptions,
    ThreadPoolBuilder,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;

use crate::rustls23::key_pool::KeyPool;
use crate::rustls23::sign_error::SignError;
use crate::rustls23::signing_key::SigningWork;

/// Builds a [`KeyPool`].
#[derive(Clone)]
#[must_use = "a builder makes no pool before `blocking`, `with_state` or `accelerator`"]
pub struct KeyPoolBuilder {
    provider: CryptoProvider,
    threads: ThreadPoolBuilder,
    options: RequestOptions,
    queue_bound: Option<usize>,
    breaker: Option<BreakerPolicy>,
    standby: Option<Arc<dyn Accelerator<SigningWork>>>,
    clock: Option<Arc<dyn Clock>>,
}

impl KeyPool {
    /// Starts to build a pool. Signatures are checked with the algorithms of the process's provider, the one that
    /// `ServerConfig::builder` uses.
    ///
    /// # Panics
    ///
    /// As `ServerConfig::builder`: if no provider is installed and rustls's features do not determine one.
    pub fn builder() -> KeyPoolBuilder {
        Self::builder_with_provider(ServerConfig::builder().crypto_provider())
    }

    /// As [`builder`](Self::builder), with the algorithms of `provider`.
    pub fn builder_with_provider(provider: &CryptoProvider) -> KeyPoolBuilder {
        KeyPoolBuilder {
            provider: provider.clone(),
            threads: ThreadPoolBuilder::new().name("slow-key"),
            options: RequestOptions::new(),
            queue_bound: None,
            breaker: None,
            standby: None,
            clock: None,
        }
    }
}

impl KeyPoolBuilder {
    /// Sets the number of threads, over all keys and types of keys. The default is 4.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = self.threads.threads(threads);
        self
    }

    /// Sets all options of those threads: when a thread counts as stuck and is replaced, the length of their queue, their
    /// name.
    pub fn pool(mut self, threads: ThreadPoolBuilder) -> Self {
        self.threads = threads;
        self
    }

    /// Sets how long a signature may take, the time in the queue included; then the handshake fails. Without a deadline it
    /// waits for ever.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options = self.options.deadline(deadline);
        self
    }

    /// Sets how many times a signature is tried that fails [transiently](SignError::Transient), within the deadline, by the
    /// device and as many times by the standby. The default is once. No thread and no task waits between two attempts; see
    /// [`RequestOptions::attempts`]. Each is a call of the closure or the `async fn`: attempts that this makes by itself
    /// multiply with them.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options = self.options.attempts(attempts);
        self
    }

    /// Sets how many signatures with each type of key may wait for a thread beside those in the threads' own queue; the next
    /// one is refused. The default is 4,096.
    pub fn queue_bound(mut self, requests: usize) -> Self {
        self.queue_bound = Some(requests);
        self
    }

    /// Sets when the device is left alone for a while because it fails, and likewise the standby. Without a standby
    /// handshakes then fail at once instead of at their deadline. By default there is a breaker if there is a standby: it
    /// opens for a second by a [share](engine_core::FailedShare) of 50 % of 16 calls, so that no handshake waits for a region
    /// that is known to be away.
    pub fn breaker(mut self, policy: BreakerPolicy) -> Self {
        self.breaker = Some(policy);
        self
    }

    /// Sets the device that signs when the first one fails, is too slow, or is shut off by the breaker: a second region,
    /// another card, software kept for the purpose. The deadline starts again for it.
    pub fn standby(mut self, standby: Arc<dyn Accelerator<SigningWork>>) -> Self {
        self.standby = Some(standby);
        self.options = self.options.fallback(Fallback::Standby);
        self
    }

    /// Measures the deadlines with `clock` instead of the machine's, for tests that move time by hand. Then there is no thread
    /// for the deadlines: call [`Engine::poll`] of the pool's [`engine`](KeyPool::engine) after moving the clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds a pool on a closure that blocks. The closure signs with the key of that [name](SigningWork::key_id), as
    /// [`SigningWork`] says; it runs on several threads at once. How errors are sorted is on the page of [`SignError`].
    ///
    /// # Errors
    ///
    /// [`DriverError`] if the system gives no thread for the deadlines.
    pub fn blocking<E, F>(self, sign: F) -> Result<KeyPool, DriverError>
    where
        E: fmt::Display + 'static,
        F: Fn(&SigningWork) -> Result<Vec<u8>, E> + Send + Sync + 'static,
    {
        let device = self.threads.clone().build(move |work: &SigningWork| {
            sign(work).map_err(|error| SignError::of(&error).into())
        });
        self.accelerator(Arc::new(device))
    }

    /// Builds a pool on threads that have a state each, for instance a session with a token: `open` makes it on the thread,
    /// before the first signature, and `sign` uses it. It never leaves its thread, so it need be neither `Send` nor `Sync`.
    ///
    /// A state is dropped and opened anew after [`SignError::Reopen`] and after a panic. If `open` fails, the signature fails
    /// with its error, and the next one opens again; but [`SignError::Permanent`] is final, and `open` is not called again on
    /// any thread. Until `open` has succeeded once, one thread at a time calls it. So a wrong PIN is given once, and does not
    /// lock the token. A state is dropped when its thread ends.
    ///
    /// # Errors
    ///
    /// [`DriverError`] if the system gives no thread for the deadlines.
    pub fn with_state<S, E1, E2, O, F>(self, open: O, sign: F) -> Result<KeyPool, DriverError>
    where
        S: 'static,
        E1: fmt::Display + 'static,
        E2: fmt::Display + 'static,
        O: Fn() -> Result<S, E1> + Send + Sync + 'static,
        F: Fn(&mut S, &SigningWork) -> Result<Vec<u8>, E2> + Send + Sync + 'static,
    {
        let shared = Arc::new((open, sign, Opens::default()));
        let device = self.threads.clone().build_per_thread(move || {
            let shared = Arc::clone(&shared);
            let mut state: Option<S> = None;
            move |work: &SigningWork| {
                let (open, sign, opens) = &*shared;
                let mut may_reopen = true;
                loop {
                    let own = match &mut state {
                        Some(state) => state,
                        None => state.insert(opens.open(open)?),
                    };
                    match sign(own, work).map_err(|error| SignError::of(&error)) {
                        Err(SignError::Reopen(_)) if may_reopen => may_reopen = false,
                        Err(error @ SignError::Reopen(_)) => {
                            state = None;
                            return Err(error.into());
                        }
                        signed => return signed.map_err(DeviceError::from),
                    }
                    state = None;
                }
            }
        });
        self.accelerator(Arc::new(device))
    }

    /// Builds a pool on a device that takes [`SigningWork`]: an `async fn` as a
    /// [`TaskDevice`](https://docs.rs/layby-ssl-async/latest/ssl_async/task/struct.TaskDevice.html), or an accelerator of your own.
    ///
    /// # Errors
    ///
    /// [`DriverError`] if the system gives no thread for the deadlines.
    pub fn accelerator(
        self,
        device: Arc<dyn Accelerator<SigningWork>>,
    ) -> Result<KeyPool, DriverError> {
        let mut engine = Engine::builder(device).options(self.options);
        if let Some(bound) = self.queue_bound {
            engine = engine.queue_bound(bound);
        }
        let by_default = BreakerPolicy::default().failed_share(50, 16);
        if let Some(standby) = self.standby {
            engine = engine.standby(standby).breaker(by_default);
        }
        if let Some(policy) = self.breaker {
            engine = engine.breaker(policy);
        }
        let by_real_time = self.clock.is_none();
        if let Some(clock) = self.clock {
            engine = engine.clock(clock);
        }
        let engine = engine.build();
        let driver = by_real_time.then(|| engine.spawn_driver()).transpose()?;
        Ok(KeyPool::new(engine, driver, self.provider))
    }

    /// The threads, for a device that is made of them.
    pub(crate) fn thread_pool(&self) -> ThreadPoolBuilder {
        self.threads.clone()
    }
}

/// When a thread may open its state: one thread at a time until one has succeeded, and none after a permanent error. So a
/// wrong PIN is given once, however many threads begin together.
#[derive(Default)]
struct Opens {
    first: Mutex<()>,
    succeeded: AtomicBool,
    refused: OnceLock<DeviceError>,
}

impl Opens {
    fn open<S, E: fmt::Display + 'static>(
        &self,
        open: impl Fn() -> Result<S, E>,
    ) -> Result<S, DeviceError> {
        let alone = !self.succeeded.load(Ordering::Acquire);
        let _alone = alone.then(|| self.first.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(refused) = self.refused.get() {
            return Err(refused.clone());
        }
        match open() {
            Ok(state) => {
                self.succeeded.store(true, Ordering::Release);
                Ok(state)
            }
            Err(error) => {
                let error = SignError::of(&error);
                let permanent = matches!(error, SignError::Permanent(_));
                let error = DeviceError::from(error);
                if permanent {
                    let _first_one_counts = self.refused.set(error.clone());
                }
                Err(error)
            }
        }
    }
}

impl fmt::Debug for KeyPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPoolBuilder")
            .field("threads", &self.threads)
            .field("options", &self.options)
            .field("breaker", &self.breaker)
            .field("standby", &self.standby)
            .finish_non_exhaustive()
    }
}
