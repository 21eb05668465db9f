//! A device made of tasks: any `async fn` as an accelerator.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

use crate::rustls23::signing_key::SigningWork;

/// Runs an `async fn` for each request, as a task of a runtime: the way to use a key that is behind the network, in a
/// KMS, a Vault or a keyless server.
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
///     // Two attempts of 300 ms each.
///     Arc::new(TaskDevice::signing(sign).attempts(2).attempt_deadline(Duration::from_millis(300)))
/// };
/// let key = SlowKey::builder(chain)?
///     .deadline(Duration::from_secs(1))
///     .standby(region("eu-west"))
///     .accelerator(region("eu-central"))?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The task runs on the runtime that the device was made in, not on a fiber: it may use whatever that runtime offers. A
/// handshake that is dropped is not waited for: its task ends at its next attempt, or with this one. If the runtime is
/// gone, requests fail.
///
/// # Outside our acceptors
///
/// A key over a task device may also be given to code that signs where it stands: a stock tokio-rustls acceptor, hyper,
/// reqwest. The thread then waits for the task. If that is a thread of the very runtime, a multi-thread runtime moves
/// its other tasks to another thread ([`tokio::task::block_in_place`]); that works, and costs a thread for each wait. The
/// only thread of a current-thread runtime cannot wait for its own task: the signature fails at once, with a sentence that
/// names the remedies, [`TlsAcceptor`](super::TlsAcceptor), [`TlsConnector`](super::TlsConnector), or
/// [`own_runtime`](Self::own_runtime). Both are said in the log, once for each device, as `task_device.blocks`.
pub struct TaskDevice<W: Work> {
    call: Arc<Call<W>>,
    runtime: Handle,
    /// Ends with the device, if the runtime is its own.
    own: Option<OwnRuntime>,
    policy: Policy,
    shared: Arc<Shared>,
}

/// A runtime that waits for nothing when it is dropped.
struct OwnRuntime {
    runtime: Option<Runtime>,
    home: HomeProcess,
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        match self.runtime.take() {
            Some(runtime) if self.home.is_here() => runtime.shutdown_background(),
            // In a child made by fork its threads do not exist, and its locks may be theirs.
            runtime => core::mem::forget(runtime),
        }
    }
}

type Call<W> =
    dyn Fn(&W) -> Pin<Box<dyn Future<Output = Result<Out<W>, DeviceError>> + Send>> + Send + Sync;
type Out<W> = <W as Work>::Output;

#[derive(Clone, Copy, Debug)]
struct Policy {
    attempts: u32,
    attempt_deadline: Option<Duration>,
    in_flight: usize,
}

#[derive(Default)]
struct Shared {
    in_flight: AtomicUsize,
    /// Nothing is taken any more, and a shutdown waits on `idle`.
    closed: AtomicBool,
    lock: Mutex<()>,
    idle: Condvar,
    /// One for each engine over this device.
    rooms: Mutex<Vec<RoomNotice>>,
    /// The thread that runs the tasks, if there is only one; none until it has run the first.
    executor: Mutex<Option<ThreadId>>,
    executor_known: Condvar,
    warned: AtomicBool,
}

impl TaskDevice<SigningWork> {
    /// A device that signs by awaiting `sign`, which gets the whole message, not a digest, and answers with the signature as
    /// TLS has it: for ECDSA the DER of `SEQUENCE { r, s }`, not the two numbers side by side. What it says when it fails is
    /// logged, and in the error of the handshake.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn signing<F, Fut, E>(sign: F) -> Self
    where
        F: Fn(SignatureScheme, Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: fmt::Display + 'static,
    {
        Self::new(move |work: &SigningWork| {
            let signature = sign(work.scheme(), work.message().to_vec());
            async move { signature.await.map_err(|error| DeviceError::reported(&error)) }
        })
    }
}

impl<W: Work> TaskDevice<W> {
    /// A device that carries out work by awaiting what `call` returns.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub fn new<F, Fut>(call: F) -> Self
    where
        F: Fn(&W) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<W::Output, DeviceError>> + Send + 'static,
    {
        let call: Arc<Call<W>> = Arc::new(move |work| Box::pin(call(work)));
        let policy = Policy { attempts: 1, attempt_deadline: None, in_flight: 1024 };
        let shared = Arc::<Shared>::default();
        let runtime = Handle::current();
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            let told = Arc::clone(&shared);
            drop(runtime.spawn(async move { told.tell_executor() }));
        }
        Self { call, runtime, own: None, policy, shared }
    }

    /// Runs the tasks on a small runtime of the device's own, with one thread: for keys that are used by code that signs
    /// where it stands, on a current-thread runtime. What `call` awaits has to be made there too: a client with pooled
    /// connections belongs to the runtime that it was first used in.
    ///
    /// # Errors
    ///
    /// Those of the system that gives no thread.
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

    /// How often a request is tried before it fails, at least once; 10 ms lie between the first two attempts, and twice as
    /// much each time. Once if not set.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = attempts.max(1);
        self
    }

    /// How long one attempt may take. Without this, for ever: the operation's own deadline ends the wait, and not the
    /// attempt. Needs a runtime with its timer enabled, as do attempts beyond the first.
    #[must_use]
    pub fn attempt_deadline(mut self, deadline: Duration) -> Self {
        self.policy.attempt_deadline = Some(deadline);
        self
    }

    /// How many requests may be under way; more wait in the engine's queue. 1,024 if not set.
    #[must_use]
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.policy.in_flight = requests.max(1);
        self
    }
}

/// A request under way. Its place is free before the request is completed, also if the runtime drops its task.
struct UnderWay<W: Work> {
    place: Option<Place>,
    /// Absent once completed.
    request: Option<Request<W>>,
}

impl<W: Work> UnderWay<W> {
    fn complete(&mut self, answer: Result<W::Output, DeviceError>) {
        drop(self.place.take());
        if let Some(request) = self.request.take() {
            request.complete(answer);
        }
    }
}

/// The runtime has dropped the task: with its own end, or because the future panicked.
impl<W: Work> Drop for UnderWay<W> {
    fn drop(&mut self) {
        self.complete(Err(if thread::panicking() {
            DeviceError::Failed("its async fn panicked")
        } else {
            DeviceError::Unavailable(RUNTIME_ENDED)
        }));
    }
}

const RUNTIME_ENDED: &str = "the tokio runtime that the TaskDevice was made in has ended: make it in one that lives as \
                             long as the key is used";

struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        // In one order with `closed`: either this sees the waiter, or the waiter the zero.
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1
            && self.0.closed.load(Ordering::SeqCst)
        {
            drop(locked(&self.0.lock));
            self.0.idle.notify_all();
        }
    }
}

impl<W: Work + Sync> Accelerator<W> for TaskDevice<W> {
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(DeviceRefused::Unavailable(request, "the device was shut down"));
        }
        let (policy, bound) = (self.policy, self.policy.in_flight);
        let more = |now| (now < bound).then_some(now + 1);
        if self.shared.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return Err(DeviceRefused::Full(request));
        }
        let place = Some(Place(Arc::clone(&self.shared)));
        let mut under_way = UnderWay { place, request: Some(request) };
        let (call, shared) = (Arc::clone(&self.call), Arc::clone(&self.shared));
        drop(self.runtime.spawn(async move {
            if let Some(request) = &under_way.request {
                request.begin();
                let answer = attempt(&*call, request, policy).await;
                under_way.complete(answer);
            }
            shared.announce();
        }));
        Ok(())
    }

    fn credits(&self, _kind: Kind) -> Option<usize> {
        let used = self.shared.in_flight.load(Ordering::Acquire);
        Some(self.policy.in_flight.saturating_sub(used))
    }

    fn attach(&self, room: RoomNotice) {
        self.shared.rooms().push(room);
    }

    /// Answers come on threads of the runtime and are checked there: a service is not to be trusted blindly.
    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: true, needs_poll: false }
    }

    /// The task may need the very thread that waits.
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
                    "a thread of the runtime waits for a signature, because it was asked for outside of \
                     ssl_async::task's acceptor and connector; another thread takes over its tasks meanwhile",
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
        Some(self.shared.wait_idle(deadline))
    }
}

/// The only thread of the runtime waits for a task of that runtime.
const NEEDS_THIS_THREAD: &str = "its task needs the runtime's only thread, which would wait for it; accept with \
    ssl_async::task::TlsAcceptor (connect with TlsConnector), or give the device a runtime by TaskDevice::own_runtime, \
    or use a multi-thread runtime";

/// Waits while another thread of the runtime takes over the tasks of this one.
fn wait_in_place(wait: &mut dyn FnMut()) -> Result<(), DeviceError> {
    let mut begun = false;
    // Inside a LocalSet it panics, before it calls anything: no other thread can take those tasks over.
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

    /// Called by a task: which thread runs them.
    fn tell_executor(&self) {
        *locked(&self.executor) = Some(thread::current().id());
        self.executor_known.notify_all();
    }

    /// Whether this thread is the one that runs the tasks of a current-thread runtime. As long as none has run, it is, or
    /// no thread is yet: a moment later a thread that is another one would have run the first.
    fn is_executor(&self) -> bool {
        let unknown = |executor: &mut Option<ThreadId>| executor.is_none();
        let (executor, _) = self
            .executor_known
            .wait_timeout_while(locked(&self.executor), Duration::from_millis(100), unknown)
            .unwrap_or_else(PoisonError::into_inner);
        executor.is_none_or(|executor| executor == thread::current().id())
    }

    /// Waits, once closed, until no task is under way.
    fn wait_idle(&self, deadline: Duration) -> Shutdown {
        let end = Instant::now().checked_add(deadline);
        let left =
            || end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        let mut guard = locked(&self.lock);
        loop {
            let n = self.in_flight.load(Ordering::SeqCst);
            if n == 0 || left().is_zero() {
                return Shutdown::of(n);
            }
            let wait = left().min(Duration::from_secs(86_400));
            guard = self.idle.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The completion has told its own engine; the room may be wanted by another one.
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
    policy: Policy,
) -> Result<W::Output, DeviceError> {
    let mut wait = FIRST_WAIT;
    let mut attempts = policy.attempts;
    loop {
        // Nobody waits any more: the answer does not matter.
        if request.is_abandoned() {
            return Err(DeviceError::Lost);
        }
        let answer = match policy.attempt_deadline {
            None => call(request.work()).await,
            Some(limit) => tokio::time::timeout(limit, call(request.work()))
                .await
                .unwrap_or(Err(DeviceError::Failed("the attempt took too long"))),
        };
        attempts -= 1;
        match answer {
            Err(error) if attempts > 0 && !matches!(error, DeviceError::Unsupported(_)) => {
                tracing::debug!(request = request.id().as_u64(), %error, "device.retry");
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2);
            }
            answer => return answer,
        }
    }
}

/// Between the first two attempts: a hiccup of a network is over by then.
const FIRST_WAIT: Duration = Duration::from_millis(10);

impl<W: Work> fmt::Debug for TaskDevice<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskDevice")
            .field("policy", &self.policy)
            .field("in_flight", &self.shared.in_flight)
            .field("own_runtime", &self.own.is_some())
            .finish_non_exhaustive()
    }
}
