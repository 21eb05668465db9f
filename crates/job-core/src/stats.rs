//! The figures of a pool.

use core::cell::Cell;

/// What a pool has done and has now. Stacks are counted whole; sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Jobs that have started and not ended.
    pub live: usize,
    /// Live jobs that are not running now.
    pub paused: usize,
    /// Stacks waiting for a job.
    pub idle: usize,
    /// The most jobs that were ever live at once.
    pub peak_live: usize,
    /// Stacks that hold a live job.
    pub stacks_in_use: usize,
    /// Stacks that exist: idle and in use. Those in quarantine are not counted.
    pub created: usize,
    /// Jobs ever started.
    pub started: u64,
    /// Jobs that ended by themselves: by returning, or by a panic that went to the resumer.
    pub finished: u64,
    /// Jobs that were cancelled, by call or by drop, including those in quarantine.
    pub cancelled: u64,
    /// Switches to jobs, starts and cancellations included.
    pub resumes: u64,
    /// Panics that were contained: of jobs while they were being cancelled, of wakers and tracing
    /// subscribers, and of the `Drop` of values, payloads and closures. Each is logged.
    pub swallowed_panics: u64,
    /// Times a job being cancelled caught the unwind meant to end it.
    pub swallowed_unwinds: u64,
    /// Jobs that would not end, or that were paused when their thread ended: leaked, with their
    /// stacks.
    pub quarantined: u64,
    /// The deepest use of a stack seen so far, in bytes; 0 as long as stacks are not wiped.
    ///
    /// At most 64 returns behind, whatever a job left between its frames: stacks are looked at when
    /// they come back and whole now and then, as
    /// [`PoolBuilder::wipe_stacks`](crate::PoolBuilder::wipe_stacks) describes. A stack on which
    /// another job has begun meanwhile is looked at when that one ends.
    pub stack_high_water: usize,
}

/// The counters behind [`PoolStats`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) live: Cell<usize>,
    pub(crate) peak_live: Cell<usize>,
    pub(crate) started: Cell<u64>,
    pub(crate) resumes: Cell<u64>,
    pub(crate) cancelled: Cell<u64>,
    pub(crate) swallowed_panics: Counter,
    pub(crate) swallowed_unwinds: Counter,
    pub(crate) quarantined: Cell<u64>,
}

/// A counter of one thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.get()
    }
}
