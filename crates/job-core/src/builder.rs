//! Makes pools from settings.

use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::fiber::{self, ClosureType, Slab, StackGuard};
use crate::pool::JobPool;
use crate::pool_inner::PoolInner;
use crate::stats::Counts;

/// Twice [`MEASURED_NEED`].
const DEFAULT_STACK_SIZE: usize = 256 * 1024;
/// The stack that cryptography was measured to need, rounded up: a TLS packet in which aws-lc signs
/// with ML-DSA-87 takes 120 KiB. A pool with smaller stacks is logged.
const MEASURED_NEED: usize = 128 * 1024;
/// Enough to raise a panic.
const MIN_STACK_SIZE: usize = 16 * 1024;
const MAX_STACK_SIZE: usize = 1 << 40;

/// Settings of a [`JobPool`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    max_jobs: usize,
    stack_size: usize,
    guard: StackGuard,
    wipe_stacks: bool,
    unwind: bool,
    may_pause: Option<fn() -> bool>,
    resumes_at_thread_exit: bool,
    capable: bool,
}

/// A setting that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The stack is too small to raise a panic on, or too large to reserve.
    #[error(
        "stack_size is {given} bytes: choose one between {MIN_STACK_SIZE} and {MAX_STACK_SIZE}"
    )]
    StackSize {
        /// The size that was set.
        given: usize,
    },
    /// The limit on live jobs is 0.
    #[error("max_jobs is 0: leave it out for no limit")]
    MaxJobs,
}

impl Default for PoolBuilder {
    fn default() -> Self {
        Self {
            max_jobs: usize::MAX,
            stack_size: DEFAULT_STACK_SIZE,
            guard: StackGuard::Auto,
            wipe_stacks: true,
            unwind: false,
            may_pause: None,
            resumes_at_thread_exit: false,
            capable: fiber::is_capable(),
        }
    }
}

impl PoolBuilder {
    /// Sets the limit on live jobs. There is none if not set.
    pub fn max_jobs(mut self, max_jobs: usize) -> Self {
        self.max_jobs = max_jobs;
        self
    }

    /// Sets the bytes of stack for the frames of each job, 16 KiB at least; 256 KiB if not set, in
    /// every build profile. Rounded up to whole pages, with the job's state of a few hundred bytes
    /// on top. Below that comes the guard zone of at least 120 KiB, which is address space only.
    ///
    /// Memory is taken page by page as a job uses it, and the page tables grow with the address
    /// space. A paused job that has used one page costs, with pages of 4 KiB:
    ///
    /// | `stack_size` | page tables | in all |
    /// | --- | --- | --- |
    /// | 16 KiB | 280 bytes | 4.4 KB |
    /// | 64 KiB | 376 bytes | 4.5 KB |
    /// | 256 KiB | 760 bytes | 4.9 KB |
    /// | 1 MiB | 2,296 bytes | 6.4 KB |
    ///
    /// Compiled C may need more than expected: aws-lc uses 120 KiB of stack to sign with ML-DSA-87.
    /// Building a pool with less than 128 KiB logs an [event](crate#tracing), once for each size.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Sets how stacks are guarded; [`StackGuard::Auto`] if not set.
    pub fn guard(mut self, guard: StackGuard) -> Self {
        self.guard = guard;
        self
    }

    /// Sets whether idle stacks are overwritten with zeros down to the high-water mark, since keys
    /// pass through stacks; `true` if not set.
    ///
    /// The stack that came back last is left as it is, because the next job most likely runs on it
    /// at once. It is wiped when another comes back after it, and by [`JobPool::wipe`].
    ///
    /// The high-water mark is the deepest use of a stack seen so far. A job that goes deeper is
    /// noticed when it ends, by what it left right below the mark. If it left more than a kilobyte
    /// there unwritten, up to the end of a page, what lies below is found later: one return in 256
    /// scans the whole of each stack that was wiped since the last such return, and overwrites what
    /// it finds (of a stack of more than 64 MiB, the first 64). [`JobPool::wipe`] does that to every
    /// idle stack at once.
    ///
    /// Pages that were never touched are left alone: wiping takes no memory. Not wiped is what runs
    /// [on the parent's stack](crate::on_parent_stack), what a job in quarantine holds, and what the
    /// system swaps out between the end of a job and the scan of its stack; [`JobPool::wipe`] and
    /// [`JobPool::shrink`] drop the last of these.
    ///
    /// Set `false` under valgrind: memcheck reports every access to where returned frames were.
    pub fn wipe_stacks(mut self, wipe: bool) -> Self {
        self.wipe_stacks = wipe;
        self
    }

    /// Sets whether a cancelled job that pauses again is unwound, as by a panic; `false` if not set,
    /// and without effect where panics abort.
    ///
    /// Without it, [`pause`](crate::pause) and [`wait_for`](crate::wait_for) go on answering
    /// `Cancelled` to such a job, which should return (`?`). If it has not ended after 4,096 answers
    /// it is put in quarantine: its stack and all values on it leak, and are counted in
    /// [`PoolStats::quarantined`](crate::PoolStats::quarantined).
    ///
    /// With it such a job ends at once and its destructors run, but the process **aborts** if the
    /// unwind meets a frame that cannot unwind, or a destructor that panics. An `extern "C"`
    /// function, in Rust or in C, is such a frame: set `true` only for pools whose jobs never pause
    /// in a [callback of C code](crate#c-code).
    pub fn unwind(mut self, unwind: bool) -> Self {
        self.unwind = unwind;
        self
    }

    /// Sets a check that runs before each pause: where it returns `false`, [`pause`](crate::pause)
    /// answers [`Pause::Blocked`](crate::Pause::Blocked) as under
    /// [`block_pause`](crate::block_pause). There is none if not set.
    ///
    /// For code that marks its thread as busy while it calls back, if that can be queried. On a
    /// thread without a runtime of its own, `|| tokio::runtime::Handle::try_current().is_err()`
    /// keeps jobs from pausing inside `Handle::block_on` or under its `enter` guard, where the next
    /// job that does the same would panic. The check runs on the job's stack and costs its time at
    /// every pause.
    pub fn may_pause(mut self, check: fn() -> bool) -> Self {
        self.may_pause = Some(check);
        self
    }

    /// Lets jobs be resumed, cancelled and ended after their thread has begun to [destroy its thread-local
    /// variables](crate#thread-exit). For jobs of C code, as in the handlers of `atexit` and the destructors of
    /// `pthread_key_create`.
    ///
    /// # Safety
    ///
    /// No job of the pool uses a thread-local variable with a destructor after a pause, or it copes with one that is gone.
    #[doc(hidden)]
    #[allow(unsafe_code, reason = "the caller vouches for frames that this crate cannot see")]
    pub unsafe fn resume_at_thread_exit(mut self) -> Self {
        self.resumes_at_thread_exit = true;
        self
    }

    /// Pretends that this process cannot switch stacks.
    #[cfg(test)]
    pub(crate) fn incapable(mut self) -> Self {
        self.capable = false;
        self
    }

    /// Makes the pool. No stack is made yet.
    ///
    /// # Errors
    ///
    /// [`PoolError`] names the setting that is out of range.
    pub fn build(self) -> Result<JobPool, PoolError> {
        if !(MIN_STACK_SIZE..=MAX_STACK_SIZE).contains(&self.stack_size) {
            return Err(PoolError::StackSize { given: self.stack_size });
        }
        if self.max_jobs == 0 {
            return Err(PoolError::MaxJobs);
        }
        warn_if_small(self.stack_size);
        Ok(self.build_checked())
    }

    fn build_checked(self) -> JobPool {
        JobPool::from_inner(PoolInner {
            max_jobs: self.max_jobs,
            capable: self.capable,
            can_unwind: self.unwind && cfg!(panic = "unwind"),
            may_pause: self.may_pause,
            resumes_at_thread_exit: self.resumes_at_thread_exit,
            slab: RefCell::new(Slab::new(self.stack_size, self.guard, self.wipe_stacks)),
            next_id: Cell::new(0),
            ids_end: Cell::new(0),
            counts: Counts::default(),
            queue: RefCell::default(),
            next_ticket: Cell::new(0),
            next_sentinel: Cell::new(if self.resumes_at_thread_exit { u64::MAX } else { 0 }),
            has_new_closure: Cell::new(false),
            last_closure: Cell::new(ClosureType::NONE),
        })
    }
}

impl JobPool {
    /// A pool with the default settings: no limit, stacks of 256 KiB.
    pub fn new() -> Self {
        PoolBuilder::default().build_checked()
    }

    /// The default settings, to change.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }
}

impl Default for JobPool {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs a stack size that is less than cryptography was measured to need, unless it was the last
/// one logged: many threads may build the same pool.
fn warn_if_small(stack_size: usize) {
    static LAST_LOGGED: AtomicUsize = AtomicUsize::new(0);

    if stack_size < MEASURED_NEED && LAST_LOGGED.swap(stack_size, Ordering::Relaxed) != stack_size {
        tracing::warn!(
            target: "job_core",
            stack_size,
            measured_need = MEASURED_NEED,
            "pool.small_stacks"
        );
    }
}
