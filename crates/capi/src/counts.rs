//! Counters of one thread, read by any.

use std::sync::atomic::{AtomicU64, Ordering};

/// Only the thread itself counts, so there is no contended addition. They go on when the next thread takes the home.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) started: Count,
    pub(crate) finished: Count,
    pub(crate) pauses: Count,
    pub(crate) peak_live: Count,
    pub(crate) orphans: Count,
    /// Orphans whose stack is back in the pool.
    pub(crate) reclaimed: Count,
    /// Paused jobs that ended with their thread, after an engine had woken them.
    pub(crate) dropped: Count,
    /// Paused jobs that ended with their thread before an engine had woken them: their stacks are kept for that engine.
    pub(crate) leaked: Count,
    /// Starts refused because the pool is full or the system has no memory for a stack.
    pub(crate) no_jobs: Count,
}

/// A number that one thread changes and others read.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self) {
        self.set(self.get() + 1);
    }
}

impl Counts {
    /// Jobs started, and neither finished nor ended in another way.
    pub(crate) fn live(&self) -> u64 {
        let ended =
            self.finished.get() + self.reclaimed.get() + self.dropped.get() + self.leaked.get();
        self.started.get().saturating_sub(ended)
    }

    /// This number of jobs is live now.
    #[inline]
    pub(crate) fn note_live(&self, live: u64) {
        if live > self.peak_live.get() {
            self.peak_live.set(live);
        }
    }
}
