//! What the clients of a turn saw, and what they cost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::cpu::{nanoseconds, thread_cpu};

/// Nanoseconds, up to a minute, with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("valid bounds")
}

/// The clients so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Handshakes.
    pub(crate) done: u64,
    /// Clients without a handshake.
    pub(crate) failed: u64,
}

/// Quantiles of the clients' latencies, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
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
            self.histogram().saturating_record(nanoseconds(since.elapsed()));
        }
    }

    /// Does a client's work on the calling thread.
    pub(crate) fn client<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = thread_cpu();
        let result = work();
        self.clients.fetch_add(nanoseconds(thread_cpu() - before), Ordering::Relaxed);
        result
    }

    pub(crate) fn count(&self) -> Count {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Count { done: of(&self.done), failed: of(&self.failed) }
    }

    /// CPU time of the clients so far.
    pub(crate) fn clients_cpu(&self) -> Duration {
        Duration::from_nanos(self.clients.load(Ordering::Relaxed))
    }

    pub(crate) fn latencies(&self) -> Latencies {
        let all = self.histogram();
        let at = |quantile| all.value_at_quantile(quantile) as f64;
        Latencies { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }

    fn histogram(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
