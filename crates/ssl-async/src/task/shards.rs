//! The shards: threads with a pool of jobs each, where packets that may pause are processed.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use engine_core::{EngineError, OwnedThreads, RefusedReason, Shutdown, ShuttingDown};
use job_core::{JobPool, PoolBuilder, PoolStats};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::packet::Work;
use crate::task::inbox::{Command, Inbox};
use crate::task::shard;
use crate::task::visit::Visit;

/// A set of threads on which packets pause. A clone is another handle to the same threads.
///
/// A fiber stays on the thread where it was started, and a task does not; so a packet that may pause is sent to a thread
/// that does, and the connection comes back with the answer. The threads sleep while there is nothing to do, and no
/// thread of the runtime ever waits for one of them.
///
/// # Who ends them
///
/// Every acceptor, connector and unfinished handshake holds a handle. When the last handle goes the threads are told to
/// end; they cancel nothing then, for there is nothing left, and no thread waits for them:
/// [`threads_ending`](engine_core::threads_ending) counts them until they have ended. To end them at a time of your own, and
/// to know that they have ended:
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use core::time::Duration;
/// # async fn stop(shards: ssl_async::task::Shards, key: std::sync::Arc<ssl_async::SlowKey>) {
/// // Stopped accepting before. Handshakes under way have ten seconds, and the key what is left of a call.
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
    inner: Arc<Inner>,
}

struct Inner {
    inboxes: Box<[Arc<Inbox>]>,
    threads: OwnedThreads,
    next: AtomicUsize,
    visits: Arc<Visits>,
}

/// How many packets are at the shards, and how many handshakes are under way.
#[derive(Default)]
struct Visits {
    now: AtomicUsize,
    none: Notify,
    handshakes: AtomicUsize,
    /// A shutdown waits on `idle`.
    awaited: AtomicBool,
    lock: Mutex<()>,
    idle: Condvar,
}

/// Settings of [`Shards`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ShardsBuilder {
    threads: usize,
    jobs: PoolBuilder,
    max_parked: Option<usize>,
}

/// How many packets all shards together park, unless the program says otherwise: the default bound of an
/// engine's queue. So one that parks has its place in the queue, and no client is refused because others have filled it; and what is
/// parked stays within some 200 MiB.
const MAX_PARKED: usize = 4096;

impl Shards {
    /// Settings to change: as many threads as the machine has cores, and at most 4,096 packets parked on all of them.
    pub fn builder() -> ShardsBuilder {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        ShardsBuilder { threads, jobs: JobPool::builder(), max_parked: None }
    }

    /// How many packets are at the shards now: waiting for a job, running, or parked.
    pub fn n_packets(&self) -> usize {
        self.inner.visits.now.load(Ordering::Acquire)
    }

    /// Waits until no packet is at the shards. Packets of dropped handshakes count until they have been cancelled, so
    /// after this the ledger of jobs is at zero; what a device still holds then is the engine's to wait for
    /// ([`Engine::quiesce`](engine_core::Engine::quiesce)).
    ///
    /// Handshakes between two packets do not count. It is the program that knows its tasks.
    pub async fn quiesce(&self) {
        let visits = &self.inner.visits;
        loop {
            // Before the look, or the last one could go between the two.
            let mut none = core::pin::pin!(visits.none.notified());
            none.as_mut().enable();
            if self.n_packets() == 0 {
                return;
            }
            none.await;
        }
    }

    /// Ends the shards: lets handshakes under way finish until `deadline`, cancels what is left, ends the threads and joins
    /// them. What is cancelled fails with [`EngineError::Cancelled`](engine_core::EngineError::Cancelled) as a rule, and handshakes
    /// that need a shard afterwards with [`EngineError::Gone`](engine_core::EngineError::Gone). Established streams go on. Stop
    /// accepting before: a handshake that begins meanwhile is waited for as well.
    ///
    /// A hook that does not return holds its thread, which is then counted in [`Shutdown::Stuck`]. The threads have at least a
    /// second to cancel what they hold, whatever the deadline.
    ///
    /// The work begins at once, on a thread of its own; the future is of any executor, and may be dropped.
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        if !self.inner.threads.home().is_here() {
            return ShuttingDown::ready(Shutdown::Drained);
        }
        let inner = Arc::clone(&self.inner);
        ShuttingDown::on_own_thread(deadline, move |deadline| inner.shut_down(deadline))
    }

    /// As [`shutdown`](Self::shutdown), and blocks until then: not for a thread of the runtime that the handshakes need.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.inner.shut_down(deadline)
    }

    /// The figures of each shard's jobs; none of a shard that has ended.
    pub async fn stats(&self) -> Vec<PoolStats> {
        self.ask_all(Command::Report).await
    }

    /// Overwrites every idle stack of every shard, as deep as it was used
    /// ([`JobPool::wipe`]), between two packets. Keys pass through stacks: something to do when the load is over, and
    /// after a key was withdrawn. Done when the last shard has done it; a future that is dropped earlier has asked all
    /// of them if it was polled once.
    pub async fn wipe(&self) {
        self.ask_all(Command::Wipe).await;
    }

    /// Gives memory of the idle stacks of every shard back to the system ([`JobPool::shrink`]), after a burst for
    /// instance, and answers how many stacks ceased to exist.
    pub async fn shrink(&self) -> usize {
        self.ask_all(Command::Shrink).await.into_iter().sum()
    }

    /// Asks all shards at once and waits for their answers; a shard that has ended has none.
    async fn ask_all<R>(&self, command: impl Fn(oneshot::Sender<R>) -> Command) -> Vec<R> {
        // In a child made by fork the shards are not there.
        if !self.inner.threads.home().is_here() {
            return Vec::new();
        }
        let ask = |inbox: &Arc<Inbox>| {
            let (reply, answer) = oneshot::channel();
            // A command that comes back takes its sender with it.
            let _ = inbox.send(command(reply));
            answer
        };
        let asked: Vec<_> = self.inner.inboxes.iter().map(ask).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.extend(answer.await);
        }
        answers
    }

    /// Counts a handshake as under way until the answer is dropped.
    pub(crate) fn begin_handshake(&self) -> UnderWay {
        UnderWay::count(&self.inner.visits)
    }

    /// Why a packet gets no answer.
    pub(crate) fn why_gone(&self) -> EngineError {
        if self.inner.threads.home().is_here() {
            EngineError::Gone
        } else {
            EngineError::Refused(RefusedReason::MadeElsewhere)
        }
    }

    /// Sends a packet to a shard.
    pub(crate) fn visit(&self, work: Work) -> Visit {
        let Inner { inboxes, next, visits, threads } = &*self.inner;
        // Before any lock: in a child made by fork it may be held for ever.
        if !threads.home().is_here() {
            drop(work);
            return Visit::refused();
        }
        let inbox = &inboxes[next.fetch_add(1, Ordering::Relaxed) % inboxes.len()];
        Visit::begin(inbox, Place::take(visits), work)
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards")
            .field("threads", &self.inner.inboxes.len())
            .field("visits", &self.n_packets())
            .finish()
    }
}

impl ShardsBuilder {
    /// The most shards; more are taken as this many. More than the machine has cores are of little use.
    pub const MAX_THREADS: usize = 1024;

    /// How many threads; at least 1, at most [`MAX_THREADS`](Self::MAX_THREADS).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.clamp(1, Self::MAX_THREADS);
        self
    }

    /// The pool of jobs that each thread makes: its limit, its stacks. A packet that finds all jobs taken waits for one.
    ///
    /// Its [`may_pause`](PoolBuilder::may_pause) is the shard's: a hook does not pause inside `Handle::block_on` or under an
    /// `enter` guard, where another session's hook that does the same would panic. What would wait there blocks the shard.
    pub fn jobs(mut self, jobs: PoolBuilder) -> Self {
        self.jobs = jobs;
        self
    }

    /// The most packets that are parked at a shard; at least 1. Without this it is 4,096 divided by the number of
    /// threads, which is the default bound of an engine's queue, so that the queue has a place for each.
    ///
    /// A packet beyond waits for the place of another, first come first served, while its handshake's deadline runs; the
    /// connections that are parked leave theirs when the key has answered, when the client hangs up, or at their deadlines.
    /// So a client that opens thousands of connections delays others by as much work as it has been given, and no longer
    /// than its handshakes may last. To give each client its share, count them by address: `examples/per_address.rs`.
    ///
    /// A hook that itself makes a handshake over these shards needs a place of its own for it.
    pub fn max_parked(mut self, packets: usize) -> Self {
        self.max_parked = Some(packets.max(1));
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// Those of the system that gives no thread; [`io::ErrorKind::InvalidInput`] for settings that make no pool of jobs.
    pub fn build(self) -> io::Result<Shards> {
        // Only to see whether it can be: each thread makes its own.
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        drop(self.jobs.clone().build().map_err(invalid)?);
        let inboxes: Box<[_]> = (0..self.threads).map(|_| Inbox::new()).collect();
        let inner = Inner {
            inboxes,
            threads: OwnedThreads::new(),
            next: AtomicUsize::new(0),
            visits: Arc::default(),
        };
        // Should a start fail, dropping `inner` ends those that were started.
        for inbox in &inner.inboxes {
            let max_parked = self.max_parked.unwrap_or_else(|| (MAX_PARKED / self.threads).max(1));
            let (jobs, end) = (self.jobs.clone(), End(Arc::clone(inbox)));
            inner.threads.spawn(String::from("ssl-shard"), move || {
                // The thread is in no runtime, unless a hook has entered one.
                let jobs = jobs.may_pause(|| Handle::try_current().is_err());
                let pool = jobs.build().expect("the settings made a pool before");
                shard::serve(&end.0, pool, max_parked);
            })?;
        }
        Ok(Shards { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn close(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.close());
    }

    fn shut_down(&self, deadline: Duration) -> Shutdown {
        if !self.threads.home().is_here() {
            return Shutdown::Drained;
        }
        let end = Instant::now().checked_add(deadline);
        let left =
            || end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        self.visits.wait_idle(&left);
        self.close();
        self.threads.join(left().max(OwnedThreads::A_MOMENT))
    }
}

impl Drop for Inner {
    /// May run on any thread, one of the shards included, so it waits for none.
    fn drop(&mut self) {
        // In another process the locks may be held by threads that are not there.
        if self.threads.home().is_here() {
            self.close();
        }
    }
}

impl Visits {
    fn is_idle(&self) -> bool {
        self.now.load(Ordering::SeqCst) == 0 && self.handshakes.load(Ordering::SeqCst) == 0
    }

    /// Waits until no packet is here and no handshake under way, or no time is left.
    fn wait_idle(&self, left: &dyn Fn() -> Duration) {
        self.awaited.store(true, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_idle() && !left().is_zero() {
            let wait = left().min(Duration::from_secs(86_400));
            guard = self.idle.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A count has come to zero.
    fn note_zero(&self) {
        // In one order with the counts: either this sees the waiter, or the waiter the zero.
        if self.awaited.load(Ordering::SeqCst) && self.is_idle() {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.idle.notify_all();
        }
    }
}

/// Closes a thread's inbox when it has ended, however it ends.
struct End(Arc<Inbox>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A handshake under way, until it is dropped.
pub(crate) struct UnderWay(Arc<Visits>);

impl UnderWay {
    fn count(visits: &Arc<Visits>) -> Self {
        visits.handshakes.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(visits))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.handshakes.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.note_zero();
        }
    }
}

/// A packet's place at the shards, until it is dropped.
pub(crate) struct Place(Arc<Visits>);

impl Place {
    fn take(visits: &Arc<Visits>) -> Self {
        visits.now.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(visits))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.now.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
            self.0.note_zero();
        }
    }
}
