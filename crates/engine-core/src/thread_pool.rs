//! A device made of threads: any blocking function as an accelerator.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
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
/// A panic in the closure fails its request and nothing else. Dropping the pool lets the threads finish what they
/// compute, drops what waits (its requests come back as lost), and waits for them.
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
    threads: usize,
    ring: usize,
    name: String,
}

/// Builds a [`ThreadPool`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ThreadPoolBuilder {
    threads: usize,
    ring: usize,
    name: String,
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
    threads: Vec<JoinHandle<()>>,
}

impl ThreadPoolBuilder {
    /// Four threads a kind, rings of 64.
    pub fn new() -> Self {
        Self { threads: 4, ring: 64, name: String::from("engine-pool") }
    }

    /// How many threads each kind of work has; at least 1. Default 4.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// How many requests of each kind the pool holds beside those that its threads compute; at least 1. Default 64.
    pub fn ring(mut self, requests: usize) -> Self {
        self.ring = requests.max(1);
        self
    }

    /// What the threads are called, and the pool in logs. Default `engine-pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Builds the pool. `compute` may block for as long as it likes; it runs on several threads at once.
    pub fn build<W, F>(self, compute: F) -> ThreadPool<W>
    where
        W: Work,
        F: Fn(&W) -> Result<W::Output, DeviceError> + Send + Sync + 'static,
    {
        let Self { threads, ring, name } = self;
        let shared = Arc::new(Shared {
            compute: Box::new(compute),
            stopping: AtomicBool::new(false),
            rooms: Mutex::default(),
        });
        ThreadPool { shared, lanes: Mutex::default(), threads, ring, name }
    }
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Work> ThreadPool<W> {
    /// How many threads the pool has started so far.
    pub fn n_threads(&self) -> usize {
        lock(&self.lanes).values().map(|lane| lane.threads.len()).sum()
    }

    fn start_lane(&self, kind: Kind) -> io::Result<Lane<W>> {
        let (ring, requests) = bounded(self.ring);
        let mut threads = Vec::with_capacity(self.threads);
        for _ in 0..self.threads {
            let (shared, requests) = (Arc::clone(&self.shared), Receiver::clone(&requests));
            let spawned = thread::Builder::new()
                .name(self.name.clone())
                .spawn(move || shared.work(&requests));
            match spawned {
                Ok(thread) => threads.push(thread),
                // Fewer threads than wished are slower, not wrong.
                Err(error) if !threads.is_empty() => {
                    tracing::warn!(kind = kind.name(), %error, "pool.fewer_threads");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Lane { ring, threads })
    }
}

impl<W: Work> Shared<W> {
    fn work(&self, requests: &Receiver<Request<W>>) {
        // The ring has room again as soon as a request is received. Nothing is announced then: a completion follows.
        for request in requests {
            if self.stopping.load(Ordering::Acquire) {
                drop(request);
            } else {
                carry_out(&self.compute, request);
                self.announce();
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
        Some(self.ring.saturating_sub(used))
    }

    fn attach(&self, room: RoomNotice) {
        lock(&self.shared.rooms).push(room);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: true, needs_poll: false }
    }
}

impl<W: Work> Drop for ThreadPool<W> {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        let lanes = core::mem::take(&mut *lock(&self.lanes));
        let me = thread::current().id();
        for (_, Lane { ring, threads }) in lanes {
            // Without its sender the ring ends.
            drop(ring);
            // The last owner of the engine may have been a completion on one of these very threads.
            for thread in threads.into_iter().filter(|thread| thread.thread().id() != me) {
                if thread.join().is_err() {
                    tracing::error!("a thread of the pool panicked");
                }
            }
        }
    }
}

impl<W: Work> fmt::Debug for ThreadPool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.name)
            .field("threads_per_kind", &self.threads)
            .finish_non_exhaustive()
    }
}
