//! The shards: threads, each with a pool of jobs, that process the packets in which a hook may pause.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use engine_core::{DeviceError, EngineError, OwnedThreads, RefusedReason, Shutdown, ShuttingDown};
use job_core::{JobPool, PoolBuilder, PoolStats};
use tokio::runtime::Handle;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::packet::Work;
use crate::task::active::{ActiveCount, ActiveGuard};
use crate::task::inbox::{Command, Inbox};
use crate::task::packet_task::{PacketId, PacketTask, Reply};
use crate::task::shard;

/// The threads on which handshakes pause on fibers. A clone is another handle to the same threads. Handshakes by
/// [replay](crate::Parking) need no thread, but are counted, limited and shut down here, too.
///
/// A fiber must be resumed on the thread that started it, and a task moves between threads. So a packet in which a hook may
/// pause is sent to a shard together with the connection, and the reply returns the connection. The threads sleep while
/// they have no packets, and no thread of the runtime blocks on them.
///
/// # Shutdown
///
/// Every acceptor, connector and unfinished handshake holds a handle, and the [process](super::compat) one to the shards of
/// acceptors and connectors by tokio-rustls's names. When the last handle is dropped, no packet is left,
/// and the threads end without being joined; [`threads_ending`](engine_core::threads_ending) counts them until they have
/// ended. To end them earlier, and to wait until they have ended:
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use core::time::Duration;
/// # async fn stop(shards: ssl_async::task::Shards, key: std::sync::Arc<ssl_async::SlowKey>) {
/// // After the last accept: ten seconds for the handshakes under way, then ten for the calls of the key.
/// let deadline = Duration::from_secs(10);
/// let ended = shards.shutdown(deadline).await.and(key.shutdown(deadline).await);
/// println!("{ended:?}"); // Drained: it is safe to return from main
/// # }
/// # }
/// ```
///
/// In a child made by `fork` the threads do not exist: handshakes fail with
/// [`RefusedReason::MadeElsewhere`](engine_core::RefusedReason::MadeElsewhere). Build shards after the fork.
#[derive(Clone)]
pub struct Shards {
    inner: Arc<ShardsInner>,
}

struct ShardsInner {
    inboxes: Box<[Arc<Inbox>]>,
    threads: OwnedThreads,
    jobs: PoolBuilder,
    /// Of each shard.
    max_parked: usize,
    /// How many threads were started; they serve the first inboxes.
    n_started: Mutex<usize>,
    is_started: AtomicBool,
    next: AtomicUsize,
    packets: Arc<ActiveCount>,
    handshakes: Arc<ActiveCount>,
    /// Permits for handshakes parked by replay.
    replays: Arc<Semaphore>,
    is_closed: AtomicBool,
    closing: Arc<Notify>,
}

/// Settings of [`Shards`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ShardsBuilder {
    threads: usize,
    jobs: PoolBuilder,
    max_parked: Option<usize>,
}

/// The default limit of parked packets on all shards together. It equals the default bound of an engine's queue, so that
/// the queue has room for every parked packet; the parked handshakes need about 200 MiB at most.
const MAX_PARKED: usize = 4096;

impl Shards {
    /// A builder with the defaults: one thread for each core, and at most 4,096 parked packets on all of them.
    pub fn builder() -> ShardsBuilder {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        ShardsBuilder { threads, jobs: JobPool::builder(), max_parked: None }
    }

    /// The set that endpoints made with `From` share, as long as one of them exists. Its threads start with the first
    /// packet. A new set follows one that was shut down, and in a child made by `fork`.
    pub(crate) fn shared() -> Self {
        static SHARED: Mutex<Weak<ShardsInner>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = shared.upgrade()
            && inner.threads.home().is_here()
            && !inner.is_closed.load(Ordering::SeqCst)
        {
            return Self { inner };
        }
        let inner = Self::builder().prepare().expect("the default settings are valid");
        *shared = Arc::downgrade(&inner);
        Self { inner }
    }

    /// As [`shared`](Self::shared), and from now on the set exists until it is shut down: for endpoints that are made for one
    /// handshake each, with which the threads would start and end.
    pub(crate) fn kept() -> Self {
        static KEPT: Mutex<Option<Shards>> = Mutex::new(None);
        let shared = Self::shared();
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = kept.as_ref().is_none_or(|kept| !Arc::ptr_eq(&kept.inner, &shared.inner));
        let before = is_new.then(|| kept.replace(shared.clone()));
        drop(kept);
        // After the lock, because it may end the set.
        drop(before);
        shared
    }

    /// The number of packets on the shards, queued for a job, running or parked, and of handshakes parked by
    /// [replay](crate::Parking).
    pub fn n_packets(&self) -> usize {
        self.inner.packets.get()
    }

    /// Waits until [`n_packets`](Self::n_packets) is zero. Packets of dropped handshakes count until they are cancelled, so afterwards
    /// no job exists. A device may still hold requests; [`Engine::quiesce`](engine_core::Engine::quiesce) waits for those.
    ///
    /// A handshake that waits for its peer, between two packets, does not count.
    pub async fn quiesce(&self) {
        self.inner.packets.zero().await;
    }

    /// Waits for the handshakes under way until `deadline` has passed, cancels the rest, and ends and joins the threads.
    ///
    /// Cancelled handshakes usually fail with [`EngineError::Cancelled`], and handshakes that need a shard afterwards with
    /// [`EngineError::Gone`]. Established streams are not affected. Stop accepting before: handshakes that begin meanwhile
    /// are waited for, too.
    ///
    /// A hook that does not return blocks its thread, which is then counted in [`Shutdown::Stuck`]. The threads have at
    /// least a second to cancel their packets, even if the deadline is shorter.
    ///
    /// The work begins with the call, on a thread of its own. The future runs on any executor, and may be dropped.
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        if !self.is_here() {
            return ShuttingDown::ready(Shutdown::Drained);
        }
        let inner = Arc::clone(&self.inner);
        ShuttingDown::on_own_thread(deadline, move |deadline| inner.shut_down(deadline))
    }

    /// As [`shutdown`](Self::shutdown), but blocks until it is done. Do not call it on a thread of the runtime that runs
    /// the handshakes.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.inner.shut_down(deadline)
    }

    /// The statistics of each shard's job pool, except of shards that have ended.
    pub async fn stats(&self) -> Vec<PoolStats> {
        self.ask_all(Command::Stats).await
    }

    /// Overwrites every idle stack of every shard, as deep as it was used ([`JobPool::wipe`]).
    ///
    /// Stacks may contain copies of keys. Call this when a burst is over, or after a key was withdrawn. Each shard does it
    /// between two packets. All shards have the command after the first poll, even if the future is then dropped.
    pub async fn wipe(&self) {
        self.ask_all(Command::Wipe).await;
    }

    /// Returns memory of idle stacks to the system ([`JobPool::shrink`]), for instance after a burst. Returns the number of
    /// stacks freed.
    pub async fn shrink(&self) -> usize {
        self.ask_all(Command::Shrink).await.into_iter().sum()
    }

    /// Sends a command to all shards, then waits for their replies. A shard that has ended sends none.
    async fn ask_all<R>(&self, command: impl Fn(oneshot::Sender<R>) -> Command) -> Vec<R> {
        // In a child made by fork the threads do not exist.
        if !self.inner.threads.home().is_here() || !self.inner.is_started.load(Ordering::Acquire) {
            return Vec::new();
        }
        let ask = |inbox: &Arc<Inbox>| {
            let (reply, receiver) = oneshot::channel();
            // A closed inbox returns the command, which drops its sender.
            let _ = inbox.send(command(reply));
            receiver
        };
        let asked: Vec<_> = self.inner.inboxes.iter().map(ask).collect();
        let mut replies = Vec::with_capacity(asked.len());
        for receiver in asked {
            replies.extend(receiver.await);
        }
        replies
    }

    /// Counts a handshake as under way until the guard is dropped.
    pub(crate) fn begin_handshake(&self) -> ActiveGuard {
        self.inner.handshakes.begin()
    }

    /// The error for a packet that gets no reply.
    pub(crate) fn no_reply_error(&self) -> EngineError {
        if !self.is_here() {
            EngineError::Refused(RefusedReason::MadeElsewhere)
        } else if self.is_closed() || self.inner.is_started.load(Ordering::Acquire) {
            EngineError::Gone
        } else {
            EngineError::Device(DeviceError::Unavailable("the system has no thread for a shard"))
        }
    }

    /// Whether the shards belong to this process. False in a child made by `fork`.
    pub(crate) fn is_here(&self) -> bool {
        self.inner.threads.home().is_here()
    }

    /// Whether the shards were shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.is_closed.load(Ordering::SeqCst)
    }

    /// Parks a handshake by replay, without a thread of the shards. Returns a future of its permit, a future that is ready
    /// when the shards end, and the guard that counts it.
    pub(crate) fn park(
        &self,
    ) -> (
        impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + use<>,
        OwnedNotified,
        ActiveGuard,
    ) {
        let ShardsInner { replays, closing, packets, .. } = &*self.inner;
        let permit = Arc::clone(replays).acquire_owned();
        (permit, Arc::clone(closing).notified_owned(), packets.begin())
    }

    /// The shard for the packets of a new handshake, in turn. One shard per handshake, not per packet: most handshakes have
    /// one expensive packet and one cheap one, which would otherwise always go to the same of two shards.
    pub(crate) fn next_shard(&self) -> usize {
        self.inner.next.fetch_add(1, Ordering::Relaxed) % self.inner.inboxes.len()
    }

    /// Sends a packet to a shard.
    pub(crate) fn process(&self, shard: usize, work: Work) -> PacketHandle {
        let ShardsInner { inboxes, threads, packets, .. } = &*self.inner;
        // Before any lock, which may be locked for ever in a child made by fork.
        if !threads.home().is_here() {
            return PacketHandle::refused();
        }
        let inbox = &inboxes[shard];
        if let Err(error) = self.inner.start() {
            // The next packet tries again.
            tracing::error!(%error, "shards.not_started");
            if !self.inner.runs(shard) {
                return PacketHandle::refused();
            }
        }
        let (packet, reply) = PacketTask::new(work, packets.begin());
        let shard = Some((Arc::clone(inbox), packet.id));
        // A closed inbox returns the packet, which drops the sender of its reply.
        let _ = inbox.send(Command::Start(packet));
        PacketHandle { shard, reply }
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards")
            .field("threads", &self.inner.inboxes.len())
            .field("packets", &self.n_packets())
            .finish()
    }
}

impl ShardsBuilder {
    /// The maximum number of threads. More threads than cores are of little use.
    pub const MAX_THREADS: usize = 1024;

    /// Sets the number of threads, at least 1 and at most [`MAX_THREADS`](Self::MAX_THREADS).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.clamp(1, Self::MAX_THREADS);
        self
    }

    /// Sets the limits and the stacks of the job pool that each thread makes. A packet that finds no free job is queued.
    ///
    /// The pool's [`may_pause`](PoolBuilder::may_pause) is replaced: inside `Handle::block_on` or under an `enter` guard a
    /// hook does not pause but blocks the shard, because another session's hook that enters a runtime would panic there.
    pub fn jobs(mut self, jobs: PoolBuilder) -> Self {
        self.jobs = jobs;
        self
    }

    /// Sets the maximum number of parked packets of one shard, at least 1. The maximum of all shards together also bounds the
    /// handshakes parked by [replay](crate::Parking), which are counted separately. The default is 4,096 divided by the
    /// number of threads, so that all shards together park the number of packets that an engine's queue holds by default.
    ///
    /// Packets beyond the maximum are queued in order of arrival, while the deadlines of their handshakes run. A parked
    /// packet leaves when the key has answered, when the client hangs up, or at its deadline, so a client that opens
    /// thousands of connections delays others no longer than its handshakes may last. To limit the connections of each
    /// client, count them by address: `examples/per_address.rs`.
    ///
    /// A hook that itself makes a handshake over the same shards needs a second parked packet for it.
    pub fn max_parked(mut self, packets: usize) -> Self {
        self.max_parked = Some(packets.max(1));
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// The system's error when it cannot create a thread; [`io::ErrorKind::InvalidInput`] for invalid settings of the pool.
    pub fn build(self) -> io::Result<Shards> {
        let inner = self.prepare()?;
        // If a thread cannot be created, dropping `inner` ends the others.
        inner.start()?;
        Ok(Shards { inner })
    }

    /// As [`build`](Self::build), but the threads start with the first packet.
    fn prepare(self) -> io::Result<Arc<ShardsInner>> {
        // Only validates the settings: each thread makes its own pool.
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        drop(self.jobs.clone().build().map_err(invalid)?);
        let max_parked = self.max_parked.unwrap_or_else(|| (MAX_PARKED / self.threads).max(1));
        let all = max_parked.saturating_mul(self.threads).min(Semaphore::MAX_PERMITS);
        Ok(Arc::new(ShardsInner {
            inboxes: (0..self.threads).map(|_| Inbox::new()).collect(),
            threads: OwnedThreads::new(),
            jobs: self.jobs,
            max_parked,
            n_started: Mutex::default(),
            is_started: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            packets: Arc::default(),
            handshakes: Arc::default(),
            replays: Arc::new(Semaphore::new(all)),
            is_closed: AtomicBool::new(false),
            closing: Arc::default(),
        }))
    }
}

impl ShardsInner {
    /// Starts the threads that do not run yet, unless the set was shut down.
    fn start(&self) -> io::Result<()> {
        if self.is_started.load(Ordering::Acquire) || self.is_closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut n_started = self.n_started();
        while let Some(inbox) = self.inboxes.get(*n_started) {
            let (jobs, inbox) = (self.jobs.clone(), Arc::clone(inbox));
            let max_parked = self.max_parked;
            self.threads.spawn(String::from("ssl-shard"), move || {
                // Made here: a thread that cannot be started closes nothing.
                let inbox = OpenInbox(inbox);
                // A shard is in a runtime only while a hook has entered one.
                let jobs = jobs.may_pause(|| Handle::try_current().is_err());
                let pool = jobs.build().expect("the settings were validated");
                shard::run(&inbox.0, pool, max_parked);
            })?;
            *n_started += 1;
        }
        self.is_started.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the thread of this shard was started.
    fn runs(&self, shard: usize) -> bool {
        shard < *self.n_started()
    }

    fn n_started(&self) -> MutexGuard<'_, usize> {
        self.n_started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.closing.notify_waiters();
        self.inboxes.iter().for_each(|inbox| inbox.close());
    }

    fn shut_down(&self, deadline: Duration) -> Shutdown {
        if !self.threads.home().is_here() {
            return Shutdown::Drained;
        }
        let end = Instant::now().checked_add(deadline);
        self.handshakes.wait_zero(end);
        // The packet of a dropped handshake exists until it is cancelled.
        self.packets.wait_zero(end);
        self.close();
        let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        self.threads.join(left.max(OwnedThreads::A_MOMENT))
    }
}

impl Drop for ShardsInner {
    /// Does not join the threads, because it may run on one of them.
    fn drop(&mut self) {
        // In a child made by fork, a thread that does not exist may hold the locks.
        if self.threads.home().is_here() {
            self.close();
        }
    }
}

/// The inbox of a running thread. Closed when the thread ends, also by a panic.
struct OpenInbox(Arc<Inbox>);

impl Drop for OpenInbox {
    fn drop(&mut self) {
        self.0.close_and_drop();
    }
}

/// A packet on a shard: the future of its reply, which is `None` when the shard has ended. Dropping it cancels the packet.
pub(crate) struct PacketHandle {
    /// `None` when the packet was refused, and once its reply has arrived.
    shard: Option<(Arc<Inbox>, PacketId)>,
    reply: oneshot::Receiver<Reply>,
}

impl PacketHandle {
    /// A packet that no shard processes.
    fn refused() -> Self {
        Self { shard: None, reply: oneshot::channel().1 }
    }

    /// Cancels the packet if it is parked or has no job yet. The reply says whether it was.
    pub(crate) fn cancel_unless_running(&self) {
        if let Some((inbox, id)) = &self.shard {
            // A shard that has ended has sent its reply.
            let _ = inbox.send(Command::CancelUnlessRunning(*id));
        }
    }
}

impl Future for PacketHandle {
    type Output = Option<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.reply).poll(cx));
        self.shard = None;
        Poll::Ready(reply.ok())
    }
}

impl Drop for PacketHandle {
    fn drop(&mut self) {
        if let Some((inbox, id)) = self.shard.take() {
            // Before the command, so that the shard does not start a packet that is about to be cancelled.
            self.reply.close();
            // A shard that has ended has cancelled its packets.
            let _ = inbox.send(Command::Cancel(id));
        }
    }
}
