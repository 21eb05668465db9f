//! The figures of a pool.

use core::cell::Cell;

/// A snapshot of a pool's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Jobs that have started and not ended.
    pub live: usize,
    /// Live jobs that are not running.
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
    /// Jobs that returned, or panicked and passed the panic to the resumer.
    pub finished: u64,
    /// Jobs that were cancelled or dropped, including those in quarantine.
    pub cancelled: u64,
    /// Switches to jobs, starts and cancellations included.
    pub resumes: u64,
    /// Panics that were caught and logged: of jobs being cancelled, of wakers and tracing
    /// subscribers, and of the `Drop` of values, payloads and closures.
    pub swallowed_panics: u64,
    /// Times a job being cancelled caught the unwind meant to end it.
    pub swallowed_unwinds: u64,
    /// Jobs that were leaked with their stacks, because they did not end when cancelled or were
    /// paused when their thread ended.
    pub quarantined: u64,
    /// The deepest use of a stack seen so far, in bytes; 0 in a pool that does not wipe stacks.
    ///
    /// A job's use is seen within 256 returned stacks, as
    /// [`PoolBuilder::wipe_stacks`](crate::PoolBuilder::wipe_stacks) describes; if another job runs
    /// on its stack by then, when that one ends.
    pub stack_high_water: usize,
}

/// The counters behind [`PoolStats`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) live: Cell<usize>,
    pub(crate) peak_live: Cell<usize>,
    pub(crate) started: Counter,
    pub(crate) resumes: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) swallowed_panics: Counter,
    pub(crate) swallowed_unwinds: Counter,
    pub(crate) quarantined: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub(crate) fn add_one(&self) {
        self.0.set(self.0.get() + 1);
    }

    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0.get()
    }
}
