//! The options of a pool of threads.

use core::num::NonZero;
use core::time::Duration;

use crate::shares::ThreadLimit;
use crate::work::Kind;

/// Builds a [`ThreadPool`](crate::ThreadPool).
#[derive(Clone, Debug)]
#[must_use]
pub struct ThreadPoolBuilder {
    pub(crate) limit: ThreadLimit,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) ring: usize,
    pub(crate) name: String,
    pub(crate) stuck_after: Option<Duration>,
    pub(crate) replacements: usize,
}

impl ThreadPoolBuilder {
    /// The most threads of a pool, or for one kind of work if each has its own; a higher number means this one. Use a device
    /// of tasks for more.
    pub const MAX_THREADS: usize = 1024;

    /// The deepest ring; a higher number means this one. More requests wait in the engine's backlog, which takes memory only
    /// as it is used.
    pub const MAX_RING: usize = 1 << 16;

    /// Four threads, rings of 64.
    pub fn new() -> Self {
        Self {
            limit: ThreadLimit::Total(bounded(4)),
            kinds: Vec::new(),
            ring: 64,
            name: String::from("engine-pool"),
            stuck_after: None,
            replacements: 4,
        }
    }

    /// How many threads the pool has, over all kinds of work; at least 1, at most [`MAX_THREADS`](Self::MAX_THREADS).
    /// Default 4. How kinds share them is on the page of [`ThreadPool`](crate::ThreadPool).
    pub fn threads(mut self, threads: usize) -> Self {
        self.limit = ThreadLimit::Total(bounded(threads));
        self
    }

    /// Gives each kind of work this number of threads of its own instead, at least 1: `n` kinds have `n` times that number. For
    /// devices with separate units, and for kinds whose calls may take so long that no other should wait for them.
    pub fn threads_per_kind(mut self, threads: usize) -> Self {
        self.limit = ThreadLimit::PerKind(bounded(threads));
        self
    }

    /// Names kinds of work before their first request, so that a thread is kept for each from the start. None by default.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// How many requests of each kind the pool holds beside those that its threads compute; at least 1, at most
    /// [`MAX_RING`](Self::MAX_RING). Default 64.
    pub fn ring(mut self, requests: usize) -> Self {
        self.ring = requests.clamp(1, Self::MAX_RING);
        self
    }

    /// The name of the threads, and of the pool in logs. Default `engine-pool`. A zero byte in it is left out.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.name.retain(|letter| letter != '\0');
        self
    }

    /// Counts a thread as stuck after this time in one call, and starts another in its place. Never by default. Choose a
    /// time that no healthy call takes, well beyond the deadline of the operations. Checked when the engine is
    /// [polled](crate::Engine::poll).
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = Some(time);
        self
    }

    /// How many stuck threads are replaced at a time; further ones are only counted. Default 4.
    pub fn replacements(mut self, threads: usize) -> Self {
        self.replacements = threads;
        self
    }
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        Self::new()
    }
}

fn bounded(threads: usize) -> NonZero<usize> {
    let threads = threads.min(ThreadPoolBuilder::MAX_THREADS);
    NonZero::new(threads).unwrap_or(NonZero::<usize>::MIN)
}
