//! A device that executes each request as a task: any `async fn` as an accelerator.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use engine_core::{
    Accelerator, BlockingScope, Capabilities, DeviceError, DeviceRefused, HomeProcess, Kind,
    Request, RoomNotice, Shutdown, Work,
};
use rustls::SignatureScheme;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

use crate::rustls23::SignError;
use crate::rustls23::signing_key::SigningWork;
use crate::task::active::{ActiveCount, ActiveGuard};

/// A device that runs an `async fn` for each request, as a task: for keys behind a network, in a KMS, a Vault or a keyless
/// server.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ssl_async::task::TaskDevice;
/// use ssl_async::{SlowKey, rustls::SignatureScheme};
/// # use std::io;
/// # struct Kms; impl Kms { async fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> io::Result<Vec<u8>> { Ok(Vec::new()) } }
/// # fn kms(region: &str) -> Arc<Kms> { Arc::new(Kms) }
/// # let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let chain = vec![identity.cert.der().clone()];
/// # let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # let _inside = runtime.enter();
///
/// let region = |name| {
///     let kms = kms(name);
///     let sign = move |scheme, message: Vec<u8>| {
///         let kms = Arc::clone(&kms);
///         async move { kms.sign(scheme, &message).await }
///     };
///     Arc::new(TaskDevice::signing(sign).attempt_deadline(Duration::from_millis(300)))
/// };
/// // Two attempts of 300 ms each at the first region, and two more at the other if they fail.
/// let key = SlowKey::builder(chain)?
///     .deadline(Duration::from_secs(1))
///     .attempts(2)
///     .standby(region("eu-west"))
///     .accelerator(region("eu-central"))?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The tasks run on the runtime in which the device was made, not on a fiber, so they can use all of that runtime. Each is one
/// call: what fails is called again by the engine, as its [`attempts`](crate::KeyPoolBuilder::attempts) say. The call of a
/// dropped handshake runs to its end, and its answer is discarded. When the runtime has ended, requests fail.
///
/// # With other acceptors and connectors
///
/// Code that signs synchronously, such as tokio-rustls, hyper or reqwest, can use a key over a task device, too. Its thread
/// then blocks until the task is done. On a thread of the device's own runtime:
///
/// - a multi-thread runtime moves the other tasks to another thread ([`tokio::task::block_in_place`]), at the cost of one
///   thread for each wait;
/// - on a current-thread runtime the task could never run, so the signature fails at once. The error names the remedies:
///   [`TlsAcceptor`](super::TlsAcceptor), [`TlsConnector`](super::TlsConnector), or [`own_runtime`](Self::own_runtime).
///
/// Both are logged as `task_device.blocks`, once for each device.
pub struct TaskDevice<W: Work> {
    call: Arc<Call<W>>,
    runtime: Handle,
    /// The runtime, if it is the device's own.
    own: Option<OwnRuntime>,
    policy: Policy,
    shared: Arc<Shared>,
}

/// A runtime that can be dropped on any thread, because it does not wait for its tasks.
struct OwnRuntime {
    runtime: Option<Runtime>,
    home: HomeProcess,
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        match self.runtime.take() {
            Some(runtime) if self.home.is_here() => runtime.shutdown_background(),
            // In a child made by fork, threads that do not exist may hold its locks.
            runtime => core::mem::forget(runtime),
        }
    }
}

type Call<W> =
    dyn Fn(&W) -> Pin<Box<dyn Future<Output = Result<Out<W>, DeviceError>> + Send>> + Send + Sync;
type Out<W> = <W as Work>::Output;

#[derive(Clone, Copy, Debug)]
struct Policy {
    attempt_deadline: Option<Duration>,
    in_flight: usize,
}

#[derive(Default)]
struct Shared {
    in_flight: Arc<ActiveCount>,
    /// Set by a shutdown: no more requests are accepted.
    closed: AtomicBool,
    /// One for each engine with this device.
    rooms: Mutex<Vec<RoomNotice>>,
    /// The thread of a current-thread runtime. `None` until it has run its first task.
    executor: Mutex<Option<ThreadId>>,
    executor_known: Condvar,
    warned: AtomicBool,
}

impl TaskDevice<SigningWork> {
    /// Makes a device that signs by awaiting `sign`.
    ///
    /// `sign` gets the whole message, not a digest, and returns the signature in the encoding of TLS: for ECDSA the DER of
    /// `SEQUENCE { r, s }`, not the concatenated numbers. Its error is logged, and part of the handshake's error; how errors are
    /// sorted is on the page of [`SignError`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn signing<F, Fut, E>(sign: F) -> Self
    where
        F: Fn(SignatureScheme, Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: fmt::Display + 'static,
    {
        Self::new(move |work: &SigningWork| {
            let signature = sign(work.scheme(), work.message().to_vec());
            async move { signature.await.map_err(|error| SignError::of(&error).into()) }
        })
    }
}

impl<W: Work> TaskDevice<W> {
    /// Makes a device that executes work by awaiting `call`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new<F, Fut>(call: F) -> Self
    where
        F: Fn(&W) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<W::Output, DeviceError>> + Send + 'static,
    {
        let call: Arc<Call<W>> = Arc::new(move |work| Box::pin(call(work)));
        let policy = Policy { attempt_deadline: None, in_flight: 1024 };
        let shared = Arc::<Shared>::default();
        let runtime = Handle::current();
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            let shared = Arc::clone(&shared);
            drop(runtime.spawn(async move { shared.set_executor() }));
        }
        Self { call, runtime, own: None, policy, shared }
    }

    /// Runs the tasks on a runtime of the device's own, with one thread. Needed on a current-thread runtime for keys that are
    /// used by code that signs synchronously.
    ///
    /// Clients with pooled connections belong to the runtime that first uses them, so use those of `call` only there.
    ///
    /// # Errors
    ///
    /// The system's error when it cannot create a thread.
    pub fn own_runtime(mut self) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("task-device")
            .enable_all()
            .build()?;
        self.runtime = runtime.handle().clone();
        self.own = Some(OwnRuntime { runtime: Some(runtime), home: HomeProcess::current() });
        Ok(self)
    }

    /// Sets the deadline of one call, one attempt at the signature. By default it has none, and continues even when the
    /// operation's own deadline has passed. It needs a runtime with a timer.
    #[must_use]
    pub fn attempt_deadline(mut self, deadline: Duration) -> Self {
        self.policy.attempt_deadline = Some(deadline);
        self
    }

    /// Sets the maximum number of requests in flight, at least 1; others wait in the engine's queue. The default is 1,024.
    #[must_use]
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.policy.in_flight = requests.max(1);
        self
    }
}

/// The request of a task, completed with an error if the task is dropped. However it ends, engines that found the device full
/// hear of it.
struct RequestInTask<W: Work> {
    shared: Arc<Shared>,
    in_flight: Option<ActiveGuard>,
    /// `None` once completed.
    request: Option<Request<W>>,
}

impl<W: Work> RequestInTask<W> {
    fn complete(&mut self, result: Result<W::Output, DeviceError>) {
        // Before the completion, in which the engine may submit the next request.
        drop(self.in_flight.take());
        if let Some(request) = self.request.take() {
            request.complete(result);
        }
    }
}

impl<W: Work> Drop for RequestInTask<W> {
    /// The task was dropped because its runtime has ended or its future has panicked.
    fn drop(&mut self) {
        self.complete(Err(if thread::panicking() {
            DeviceError::Failed("its async fn panicked")
        } else {
            DeviceError::Unavailable(RUNTIME_ENDED)
        }));
        self.shared.announce();
    }
}

const RUNTIME_ENDED: &str = "the tokio runtime that the TaskDevice was made in has ended: make it in one that lives as \
                             long as the key is used";

impl<W: Work + Sync> Accelerator<W> for TaskDevice<W> {
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(DeviceRefused::Unavailable(request, "the device was shut down"));
        }
        let policy = self.policy;
        let Some(in_flight) = self.shared.in_flight.begin_below(policy.in_flight) else {
            return Err(DeviceRefused::Full(request));
        };
        let (call, shared) = (Arc::clone(&self.call), Arc::clone(&self.shared));
        let mut task = RequestInTask { shared, in_flight: Some(in_flight), request: Some(request) };
        drop(self.runtime.spawn(async move {
            if let Some(request) = &task.request {
                request.begin();
                let result = attempt(&*call, request, policy.attempt_deadline).await;
                task.complete(result);
            }
        }));
        Ok(())
    }

    fn credits(&self, _kind: Kind) -> Option<usize> {
        Some(self.policy.in_flight.saturating_sub(self.shared.in_flight.get()))
    }

    fn attach(&self, room: RoomNotice) {
        self.shared.rooms().push(room);
    }

    /// Results are checked on the runtime's threads, because a service on the network is not trusted.
    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: true, needs_poll: false }
    }

    /// A thread of the device's own runtime must not simply block: its task may need that thread.
    fn blocking(&self) -> Result<Option<BlockingScope>, DeviceError> {
        let same = Handle::try_current().is_ok_and(|current| current.id() == self.runtime.id());
        if !same {
            return Ok(None);
        }
        match self.runtime.runtime_flavor() {
            RuntimeFlavor::CurrentThread if self.shared.is_executor() => {
                self.shared.warn(NEEDS_THIS_THREAD);
                Err(DeviceError::Unsupported(NEEDS_THIS_THREAD))
            }
            RuntimeFlavor::CurrentThread => Ok(None),
            _ => {
                self.shared.warn(
                    "a thread of the runtime blocks until a signature is made, because the handshake does not use \
                     ssl_async::task's acceptor or connector; another thread runs its tasks meanwhile",
                );
                Ok(Some(wait_in_place))
            }
        }
    }

    /// Waits for the tasks of this device, unless another engine still uses it.
    fn end(&self, deadline: Duration) -> Option<Shutdown> {
        if self.shared.rooms().iter().any(RoomNotice::is_open) {
            return None;
        }
        self.shared.closed.store(true, Ordering::SeqCst);
        Some(Shutdown::of(self.shared.in_flight.wait_zero(Instant::now().checked_add(deadline))))
    }
}

const NEEDS_THIS_THREAD: &str = "its task needs the runtime's only thread, which would wait for it; accept with \
    ssl_async::task::TlsAcceptor (connect with TlsConnector), or give the device a runtime by TaskDevice::own_runtime, \
    or use a multi-thread runtime";

/// Blocks in `wait` while another thread of the runtime runs the tasks of this one.
fn wait_in_place(wait: &mut dyn FnMut()) -> Result<(), DeviceError> {
    let mut begun = false;
    // `block_in_place` panics inside a LocalSet, whose tasks no other thread can run, before it calls the closure.
    let waited = catch_unwind(AssertUnwindSafe(|| {
        tokio::task::block_in_place(|| {
            begun = true;
            wait();
        });
    }));
    match waited {
        Ok(()) => Ok(()),
        Err(panic) if begun => resume_unwind(panic),
        Err(_) => Err(DeviceError::Unsupported(NEEDS_THIS_THREAD)),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn rooms(&self) -> MutexGuard<'_, Vec<RoomNotice>> {
        locked(&self.rooms)
    }

    fn warn(&self, why: &'static str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(why, "task_device.blocks");
        }
    }

    /// Called by the first task of a current-thread runtime, on its thread.
    fn set_executor(&self) {
        *locked(&self.executor) = Some(thread::current().id());
        self.executor_known.notify_all();
    }

    /// Whether this thread is the one that runs the tasks of a current-thread runtime. If none has run within 100 ms, this
    /// thread must be it, or no thread runs the runtime.
    fn is_executor(&self) -> bool {
        let unknown = |executor: &mut Option<ThreadId>| executor.is_none();
        let (executor, _) = self
            .executor_known
            .wait_timeout_while(locked(&self.executor), Duration::from_millis(100), unknown)
            .unwrap_or_else(PoisonError::into_inner);
        executor.is_none_or(|executor| executor == thread::current().id())
    }

    /// Tells the engines that the device accepts a request again. A completion tells only the request's own engine.
    fn announce(&self) {
        let rooms = {
            let rooms = self.rooms();
            if rooms.len() > 1 { rooms.clone() } else { Vec::new() }
        };
        rooms.iter().for_each(RoomNotice::announce);
    }
}

async fn attempt<W: Work>(
    call: &Call<W>,
    request: &Request<W>,
    limit: Option<Duration>,
) -> Result<W::Output, DeviceError> {
    // The result would be discarded.
    if request.is_abandoned() {
        return Err(DeviceError::Lost);
    }
    match limit {
        None => call(request.work()).await,
        Some(limit) => tokio::time::timeout(limit, call(request.work()))
            .await
            .unwrap_or(Err(DeviceError::Failed("the attempt took too long"))),
    }
}

impl<W: Work> fmt::Debug for TaskDevice<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskDevice")
            .field("policy", &self.policy)
            .field("in_flight", &self.shared.in_flight.get())
            .field("own_runtime", &self.own.is_some())
            .finish_non_exhaustive()
    }
}
