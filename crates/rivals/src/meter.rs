//! What the clients of a turn saw, and what they cost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::cpu::{nanoseconds, thread_cpu};

/// Nanoseconds, up to a minute, with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("valid bounds")
}

/// Counts of the clients. Latencies count once [`begin`](Self::begin) has been called.
#[derive(Debug)]
pub(crate) struct Meter {
    done: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds of CPU time of the clients.
    clients: AtomicU64,
    measuring: AtomicBool,
    latencies: Mutex<Histogram<u64>>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            clients: AtomicU64::new(0),
            measuring: AtomicBool::new(false),
            latencies: Mutex::new(histogram()),
        }
    }

    pub(crate) fn begin(&self) {
        self.measuring.store(true, Ordering::Relaxed);
    }

    /// Counts a client that arrived at `since` and leaves, with its handshake done or not.
    pub(crate) fn gone(&self, since: Instant, done: bool) {
        if !done {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        if self.measuring.load(Ordering::Relaxed) {
            self.latencies().saturating_record(nanoseconds(since.elapsed()));
        }
    }

    /// Does a client's work on the calling thread.
    pub(crate) fn client<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = thread_cpu();
        let result = work();
        self.clients.fetch_add(nanoseconds(thread_cpu() - before), Ordering::Relaxed);
        result
    }

    /// Handshakes so far.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Clients without a handshake so far.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// CPU time of the clients so far.
    pub(crate) fn clients_cpu(&self) -> Duration {
        Duration::from_nanos(self.clients.load(Ordering::Relaxed))
    }

    pub(crate) fn latencies(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
