//! The shards: threads with a pool of jobs each, where packets that may pause are processed.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use job_core::{JobPool, PoolBuilder, PoolStats};
use tokio::sync::{Notify, oneshot, watch};

use crate::packet::Work;
use crate::tokio::inbox::{Command, Inbox};
use crate::tokio::shard;
use crate::tokio::visit::Visit;

/// A set of threads on which packets pause. A clone is another handle to the same threads.
///
/// A fiber stays on the thread where it was started, and a task does not; so a packet that may pause is sent to a thread
/// that does, and the connection comes back with the answer. The threads sleep while there is nothing to do, and no
/// thread of the runtime ever waits for one of them.
///
/// # Who ends them
///
/// Every acceptor, connector and unfinished handshake holds a handle. When the last handle goes the threads are told to
/// end; they cancel nothing then, for there is nothing left, and nobody waits for them. To end them at a time of your
/// own, and to know that they have ended:
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use core::time::Duration;
/// # async fn stop(shards: ssl_async::tokio::Shards) {
/// // Stopped accepting before. What is parked has ten seconds.
/// let _late = tokio::time::timeout(Duration::from_secs(10), shards.quiesce()).await;
/// shards.shutdown().await; // cancels the rest and joins the threads
/// # }
/// # }
/// ```
#[derive(Clone)]
pub struct Shards {
    inner: Arc<Inner>,
}

struct Inner {
    inboxes: Box<[Arc<Inbox>]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How many threads have not ended.
    alive: watch::Receiver<usize>,
    next: AtomicUsize,
    visits: Arc<Visits>,
}

/// How many packets are at the shards.
#[derive(Default)]
struct Visits {
    now: AtomicUsize,
    none: Notify,
}

/// Settings of [`Shards`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ShardsBuilder {
    threads: usize,
    jobs: PoolBuilder,
    max_parked: Option<usize>,
}

/// How many packets all shards together park, unless the program says otherwise: as many as wait in an engine's queue by
/// default. So one that parks has its place in the queue, and no client is refused because others have filled it; and what is
/// parked stays within some 200 MiB.
const MAX_PARKED: usize = 4096;

impl Shards {
    /// Settings to change: as many threads as the machine has cores, and at most 4,096 packets parked on all of them.
    pub fn builder() -> ShardsBuilder {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        ShardsBuilder { threads, jobs: JobPool::builder(), max_parked: None }
    }

    /// How many packets are at the shards now: waiting for a job, running, or parked.
    pub fn n_visits(&self) -> usize {
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
            if self.n_visits() == 0 {
                return;
            }
            none.await;
        }
    }

    /// Ends the threads and waits until they have ended. What is parked is cancelled: its handshake fails, with
    /// [`EngineError::Cancelled`](crate::EngineError::Cancelled) as a rule. Handshakes that need a shard from now on
    /// fail with [`EngineError::Gone`](crate::EngineError::Gone). Established streams go on.
    pub async fn shutdown(&self) {
        self.inner.close();
        let mut alive = self.inner.alive.clone();
        // An error would mean that the last thread is gone, too.
        let _ = alive.wait_for(|alive| *alive == 0).await;
        let threads = core::mem::take(&mut *self.inner.lock_threads());
        for thread in threads {
            // It has left its last statement: this does not wait.
            if thread.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
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

    /// Sends a packet to a shard.
    pub(crate) fn visit(&self, work: Work) -> Visit {
        let Inner { inboxes, next, visits, .. } = &*self.inner;
        let inbox = &inboxes[next.fetch_add(1, Ordering::Relaxed) % inboxes.len()];
        Visit::begin(inbox, Place::take(visits), work)
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards")
            .field("threads", &self.inner.inboxes.len())
            .field("visits", &self.n_visits())
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
    pub fn jobs(mut self, jobs: PoolBuilder) -> Self {
        self.jobs = jobs;
        self
    }

    /// At most so many packets are parked at a shard; at least 1. Without this it is 4,096 divided by the number of
    /// threads, as many as wait in an engine's queue by default, so that the queue has a place for each.
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
        let (ends, alive) = watch::channel(0);
        let ends = Arc::new(ends);
        let inboxes: Box<[_]> = (0..self.threads).map(|_| Inbox::new()).collect();
        let inner = Inner {
            inboxes,
            threads: Mutex::default(),
            alive,
            next: AtomicUsize::new(0),
            visits: Arc::default(),
        };
        // Should a start fail, dropping `inner` ends those that were started.
        for inbox in &inner.inboxes {
            let max_parked = self.max_parked.unwrap_or_else(|| (MAX_PARKED / self.threads).max(1));
            let (jobs, end) = (self.jobs.clone(), End::of(&ends, inbox));
            let thread =
                thread::Builder::new().name(String::from("ssl-shard")).spawn(move || {
                    let pool = jobs.build().expect("the settings made a pool before");
                    shard::serve(&end.inbox, pool, max_parked);
                })?;
            inner.lock_threads().push(thread);
        }
        Ok(Shards { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn close(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.close());
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    /// May run on any thread, one of the shards included, so it waits for none.
    fn drop(&mut self) {
        self.close();
    }
}

/// Counts a thread until it has ended, however it ends.
struct End {
    alive: Arc<watch::Sender<usize>>,
    inbox: Arc<Inbox>,
}

impl End {
    fn of(alive: &Arc<watch::Sender<usize>>, inbox: &Arc<Inbox>) -> Self {
        alive.send_modify(|alive| *alive += 1);
        Self { alive: Arc::clone(alive), inbox: Arc::clone(inbox) }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.inbox.abandon();
        self.alive.send_modify(|alive| *alive -= 1);
    }
}

/// A packet's place at the shards, until it is dropped.
pub(crate) struct Place(Arc<Visits>);

impl Place {
    fn take(visits: &Arc<Visits>) -> Self {
        visits.now.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(visits))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.now.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
