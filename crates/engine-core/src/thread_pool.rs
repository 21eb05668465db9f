//! A device made of threads: any blocking function as an accelerator.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::accelerator::{Accelerator, Capabilities, Rejected, RoomNotice};
use crate::dispatch::lock;
use crate::error::DeviceError;
use crate::inline::carry_out;
use crate::request::Request;
use crate::stuck::{Seen, Turn, Watch};
use crate::work::{Kind, Work};

/// Runs a blocking closure on threads of its own: the way to use a security module, a remote service or a software key
/// that has no asynchronous interface.
///
/// ```text
///   submit -- kind a --> ring of a --> threads of a --> closure --> complete
///        +--- kind b --> ring of b --> threads of b --> closure --> complete
/// ```
///
/// Each kind has a ring and threads of its own, started with the first request of that kind, so that slow kinds never
/// hold up fast ones. A ring that is full refuses; the engine's queue is before it.
///
/// A panic in the closure fails its request and nothing else. A closure that does not return holds its thread for good:
/// the deadline of the [terms](crate::Terms) ends the request, and [`stuck_after`](ThreadPoolBuilder::stuck_after) puts
/// another thread in the place of that one.
///
/// Dropping the pool lets the threads finish what they compute, drops what waits (its requests come back as lost), and
/// waits for them; but not for those that are known to be stuck.
///
/// ```
/// use std::sync::Arc;
/// use engine_core::{CheckFailed, Engine, Kind, ThreadPoolBuilder, Work};
///
/// struct Double(u32);
/// impl Work for Double {
///     type Output = u32;
///     fn kind(&self) -> Kind { Kind::new("double") }
///     fn check(&self, _: &u32) -> Result<(), CheckFailed> { Ok(()) }
/// }
///
/// let pool = ThreadPoolBuilder::new().threads(4).build(|work: &Double| Ok(2 * work.0));
/// let engine = Engine::builder(Arc::new(pool)).build();
/// assert_eq!(engine.run(Double(21)), Ok(42));
/// ```
pub struct ThreadPool<W: Work> {
    shared: Arc<Shared<W>>,
    lanes: Mutex<BTreeMap<Kind, Lane<W>>>,
    settings: ThreadPoolBuilder,
}

/// Builds a [`ThreadPool`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ThreadPoolBuilder {
    threads: usize,
    ring: usize,
    name: String,
    stuck_after: Option<Duration>,
    replacements: usize,
}

struct Shared<W: Work> {
    compute: Box<dyn Compute<W>>,
    stopping: AtomicBool,
    /// One for each engine over this pool.
    rooms: Mutex<Vec<RoomNotice>>,
}

/// What a pool computes. A name for the bound.
trait Compute<W: Work>: Fn(&W) -> Result<W::Output, DeviceError> + Send + Sync {}

impl<W: Work, F: Fn(&W) -> Result<W::Output, DeviceError> + Send + Sync> Compute<W> for F {}

struct Lane<W: Work> {
    ring: Sender<Request<W>>,
    /// For threads that are started later.
    requests: Receiver<Request<W>>,
    workers: Vec<Worker>,
}

struct Worker {
    thread: JoinHandle<()>,
    turn: Arc<Turn>,
    watch: Watch,
}

impl ThreadPoolBuilder {
    /// The most threads for one kind of work; more are taken as this many. Beyond it a device of tasks serves better.
    pub const MAX_THREADS: usize = 1024;

    /// The deepest ring; a deeper one is taken as this deep. What else waits is in the engine's queue, which takes memory
    /// only as it is used.
    pub const MAX_RING: usize = 1 << 16;

    /// Four threads a kind, rings of 64.
    pub fn new() -> Self {
        Self {
            threads: 4,
            ring: 64,
            name: String::from("engine-pool"),
            stuck_after: None,
            replacements: 4,
        }
    }

    /// How many threads each kind of work has; at least 1, at most [`MAX_THREADS`](Self::MAX_THREADS). Default 4.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.clamp(1, Self::MAX_THREADS);
        self
    }

    /// How many requests of each kind the pool holds beside those that its threads compute; at least 1, at most [`MAX_RING`](Self::MAX_RING),
    /// for the memory of the ring is taken at once. Default 64.
    pub fn ring(mut self, requests: usize) -> Self {
        self.ring = requests.clamp(1, Self::MAX_RING);
        self
    }

    /// What the threads are called, and the pool in logs. Default `engine-pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Counts a thread that has computed one request for so long as stuck, and starts another in its place. Never by
    /// default. Choose a time that no healthy call takes, well beyond the deadline of the operations; it is looked at
    /// when the engine is [polled](crate::Engine::poll), so somebody has to, as for deadlines.
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = Some(time);
        self
    }

    /// How many threads of each kind may be stuck and replaced at a time; one more is counted, and not replaced. Default
    /// 4.
    pub fn replacements(mut self, threads: usize) -> Self {
        self.replacements = threads;
        self
    }

    /// Builds the pool. `compute` may block for as long as it likes; it runs on several threads at once.
    pub fn build<W, F>(self, compute: F) -> ThreadPool<W>
    where
        W: Work,
        F: Fn(&W) -> Result<W::Output, DeviceError> + Send + Sync + 'static,
    {
        let shared = Arc::new(Shared {
            compute: Box::new(compute),
            stopping: AtomicBool::new(false),
            rooms: Mutex::default(),
        });
        ThreadPool { shared, lanes: Mutex::default(), settings: self }
    }
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Work> ThreadPool<W> {
    /// How many threads the pool has now, stuck ones included.
    pub fn n_threads(&self) -> usize {
        lock(&self.lanes).values().map(|lane| lane.workers.len()).sum()
    }

    /// How many of them are stuck, as far as [`stuck_after`](ThreadPoolBuilder::stuck_after) tells.
    pub fn n_stuck(&self) -> usize {
        let lanes = lock(&self.lanes);
        lanes.values().flat_map(|lane| &lane.workers).filter(|worker| worker.is_stuck()).count()
    }

    fn start_lane(&self, kind: Kind) -> io::Result<Lane<W>> {
        let (ring, requests) = bounded(self.settings.ring);
        let mut workers = Vec::with_capacity(self.settings.threads);
        for _ in 0..self.settings.threads {
            match self.start_worker(&requests) {
                Ok(worker) => workers.push(worker),
                // Fewer threads than wished are slower, not wrong.
                Err(error) if !workers.is_empty() => {
                    tracing::warn!(kind = kind.name(), %error, "pool.fewer_threads");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Lane { ring, requests, workers })
    }

    fn start_worker(&self, requests: &Receiver<Request<W>>) -> io::Result<Worker> {
        let (shared, requests) = (Arc::clone(&self.shared), Receiver::clone(requests));
        let turn = Arc::<Turn>::default();
        let own = Arc::clone(&turn);
        let thread = thread::Builder::new()
            .name(self.settings.name.clone())
            .spawn(move || shared.work(&requests, &own))?;
        Ok(Worker { thread, turn, watch: Watch::default() })
    }

    /// Looks after the threads of one kind. Returns when the next of them will have computed for `limit`.
    fn look_after(
        &self,
        kind: Kind,
        lane: &mut Lane<W>,
        limit: Duration,
        now: Duration,
    ) -> Option<Duration> {
        // A thread that was stuck, was replaced and has come back is of no more use.
        lane.workers.retain(|worker| !(worker.turn.is_retired() && worker.thread.is_finished()));
        let mut next = None::<Duration>;
        let mut to_replace = Vec::new();
        for (nth, worker) in lane.workers.iter_mut().enumerate() {
            match worker.watch.look(worker.turn.now(), limit, now) {
                Seen::Idle | Seen::StillStuck => {}
                Seen::Busy { until } => next = Some(next.map_or(until, |next| next.min(until))),
                Seen::Stuck => to_replace.push(nth),
            }
        }
        for nth in to_replace {
            let n_replaced = lane.workers.iter().filter(|worker| worker.turn.is_retired()).count();
            let replaced = n_replaced < self.settings.replacements
                && match self.start_worker(&lane.requests) {
                    Ok(worker) => {
                        lane.workers[nth].turn.retire();
                        lane.workers.push(worker);
                        true
                    }
                    Err(error) => {
                        tracing::error!(kind = kind.name(), %error, "pool.no_thread");
                        false
                    }
                };
            tracing::warn!(kind = kind.name(), replaced, "pool.stuck");
        }
        next
    }
}

impl Worker {
    fn is_stuck(&self) -> bool {
        self.watch.is_stuck(self.turn.now())
    }
}

impl<W: Work> Shared<W> {
    fn work(&self, requests: &Receiver<Request<W>>, turn: &Turn) {
        // The ring has room again as soon as a request is received. Nothing is announced then: a completion follows.
        for request in requests {
            if self.stopping.load(Ordering::Acquire) {
                drop(request);
            } else {
                turn.begin();
                carry_out(&self.compute, request);
                turn.end();
                self.announce();
            }
            if turn.is_retired() {
                return;
            }
        }
    }
}

impl<W: Work> Shared<W> {
    /// The completion has told its own engine; the room may be wanted by another one.
    fn announce(&self) {
        let rooms = {
            let rooms = lock(&self.rooms);
            if rooms.len() > 1 { rooms.clone() } else { Vec::new() }
        };
        rooms.iter().for_each(RoomNotice::announce);
    }
}

impl<W: Work> Accelerator<W> for ThreadPool<W> {
    fn submit(&self, request: Request<W>) -> Result<(), Rejected<W>> {
        let kind = request.kind();
        let sent = {
            let mut lanes = lock(&self.lanes);
            let lane = match lanes.get(&kind) {
                Some(lane) => lane,
                None => match self.start_lane(kind) {
                    Ok(lane) => lanes.entry(kind).or_insert(lane),
                    Err(error) => {
                        tracing::error!(kind = kind.name(), %error, "pool.no_thread");
                        return Err(Rejected::Unavailable(
                            request,
                            "no thread for this kind of work",
                        ));
                    }
                },
            };
            lane.ring.try_send(request)
        };
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(request)) => Err(Rejected::Full(request)),
            Err(TrySendError::Disconnected(request)) => {
                Err(Rejected::Unavailable(request, "its threads have ended"))
            }
        }
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        let used = lock(&self.lanes).get(&kind).map_or(0, |lane| lane.ring.len());
        Some(self.settings.ring.saturating_sub(used))
    }

    fn attach(&self, room: RoomNotice) {
        lock(&self.shared.rooms).push(room);
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        let limit = self.settings.stuck_after?;
        let mut lanes = lock(&self.lanes);
        lanes.iter_mut().filter_map(|(kind, lane)| self.look_after(*kind, lane, limit, now)).min()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: true, needs_poll: self.settings.stuck_after.is_some() }
    }
}

impl<W: Work> Drop for ThreadPool<W> {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        let lanes = core::mem::take(&mut *lock(&self.lanes));
        let me = thread::current().id();
        for (_, Lane { ring, requests, workers }) in lanes {
            // Without its sender the ring ends.
            drop((ring, requests));
            for worker in workers {
                // The last owner of the engine may have been a completion on one of these very threads; and a thread that
                // is stuck may never end.
                if worker.thread.thread().id() == me || worker.is_stuck() {
                    continue;
                }
                if worker.thread.join().is_err() {
                    tracing::error!("a thread of the pool panicked");
                }
            }
        }
    }
}

impl<W: Work> fmt::Debug for ThreadPool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.settings.name)
            .field("threads_per_kind", &self.settings.threads)
            .finish_non_exhaustive()
    }
}
