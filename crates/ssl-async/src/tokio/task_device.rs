//! A device made of tasks: any `async fn` as an accelerator.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use engine_core::{
    Accelerator, Capabilities, DeviceError, Kind, Rejected, Request, RoomNotice, Work,
};
use rustls::SignatureScheme;
use tokio::runtime::Handle;

use crate::rustls23::SigningWork;

/// Runs an `async fn` for each request, as a task of a runtime: the way to use a key that is behind the network, in a
/// KMS, a Vault or a keyless server.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ssl_async::tokio::TaskDevice;
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
pub struct TaskDevice<W: Work> {
    call: Arc<Call<W>>,
    runtime: Handle,
    policy: Policy,
    shared: Arc<Shared>,
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
    /// One for each engine over this device.
    rooms: std::sync::Mutex<Vec<RoomNotice>>,
}

impl TaskDevice<SigningWork> {
    /// A device that signs by awaiting `sign`, which gets the whole message, not a digest. What it says when it fails is
    /// logged.
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
            let (signature, work) = (sign(work.scheme(), work.message().to_vec()), work.clone());
            async move { signature.await.map_err(|error| work.failed(&error)) }
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
        Self { call, runtime: Handle::current(), policy, shared: Arc::default() }
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
    _place: Place,
    request: Request<W>,
}

struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<W: Work + Sync> Accelerator<W> for TaskDevice<W> {
    fn submit(&self, request: Request<W>) -> Result<(), Rejected<W>> {
        let (policy, bound) = (self.policy, self.policy.in_flight);
        let more = |now| (now < bound).then_some(now + 1);
        if self.shared.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
            return Err(Rejected::Full(request));
        }
        let under_way = UnderWay { _place: Place(Arc::clone(&self.shared)), request };
        let (call, shared) = (Arc::clone(&self.call), Arc::clone(&self.shared));
        drop(self.runtime.spawn(async move {
            let answer = attempt(&*call, &under_way.request, policy).await;
            let UnderWay { _place: place, request } = under_way;
            drop(place);
            request.complete(answer);
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
}

impl Shared {
    fn rooms(&self) -> std::sync::MutexGuard<'_, Vec<RoomNotice>> {
        self.rooms.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
            .finish_non_exhaustive()
    }
}
