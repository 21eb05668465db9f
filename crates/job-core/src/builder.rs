//! The settings of a pool.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::fiber;
use crate::pool::JobPool;

/// The stack of a job, in bytes, unless the builder says otherwise: twice what the deepest packet
/// of a TLS handshake was measured to need, see [`MEASURED_NEED`].
const DEFAULT_STACK_SIZE: usize = 256 * 1024;
/// What cryptography was measured to need: a packet in which aws-lc signs with ML-DSA-87 takes
/// 120 KiB. A pool with smaller stacks is told so.
const MEASURED_NEED: usize = 128 * 1024;
/// Below this not even a panic can be raised.
const MIN_STACK_SIZE: usize = 16 * 1024;
/// A stack larger than this is a mistake.
const MAX_STACK_SIZE: usize = 1 << 40;

/// How the zone below a stack is guarded. It is the same 120 KiB or a page more either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StackGuard {
    /// Guard markers where the kernel has them (Linux 6.13 and later), page protection elsewhere.
    /// Markers are believed once the process has seen one fault, since emulators accept them and
    /// guard nothing.
    #[default]
    Auto,
    /// Page protection always: two memory mappings a stack, of which Linux allows some 65,530 in a
    /// process.
    Protect,
}

/// Settings of a [`JobPool`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    pub(crate) max_jobs: usize,
    pub(crate) stack_size: usize,
    pub(crate) guard: StackGuard,
    pub(crate) wipe_stacks: bool,
    pub(crate) unwind: bool,
    pub(crate) may_pause: Option<fn() -> bool>,
    pub(crate) capable: bool,
}

/// Settings that make no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The stack is too small to raise a panic on, or larger than any address space.
    #[error("stack_size is {given} bytes: choose one between {min} and {max}")]
    StackSize {
        /// What was asked for.
        given: usize,
        /// The smallest stack there is.
        min: usize,
        /// The largest stack there is.
        max: usize,
    },
    /// A pool without jobs is of no use.
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
            capable: fiber::is_capable(),
        }
    }
}

impl PoolBuilder {
    /// At most so many live jobs at once. Without this there is no limit.
    pub fn max_jobs(mut self, max_jobs: usize) -> Self {
        self.max_jobs = max_jobs;
        self
    }

    /// Bytes of stack for the frames of each job; 256 KiB if not set, in every build profile.
    /// Rounded up to whole pages, with the job's own state of a few hundred bytes on top. Below that
    /// comes the guard zone of at least 120 KiB, which is address space only.
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
    /// Compiled C may take more than one expects: signing with ML-DSA-87 takes 120 KiB of stack in
    /// aws-lc. A pool with less than 128 KiB says so when it is built, by an
    /// [event](crate#tracing), once for each size. The least is 16 KiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// How stacks are guarded; [`StackGuard::Auto`] if not set.
    pub fn guard(mut self, guard: StackGuard) -> Self {
        self.guard = guard;
        self
    }

    /// Whether idle stacks are overwritten with zeros down to the high-water mark, since keys pass
    /// through stacks. True if not set.
    ///
    /// The stack that came back last is left as it is, because the next job most likely runs on it
    /// at once; it is wiped when another comes back on top of it, and by [`JobPool::wipe`].
    ///
    /// A job that goes deeper than any before it raises the mark when it ends, by what it has left
    /// right below the mark. A function that leaves more than a kilobyte of its frame unwritten
    /// there, up to the end of a page, hides what lies below that, for a while: one return in 64
    /// looks at the whole of each stack that was wiped since the last such return, and overwrites
    /// what it finds (of a stack of more than 64 MiB, the first 64). [`JobPool::wipe`] does that to
    /// every idle stack at once.
    ///
    /// Pages that were never touched are left alone: wiping takes no memory. Not wiped is what runs
    /// [on the parent's stack](crate::on_parent_stack), what a job in quarantine holds, and what the
    /// system swaps out between the end of a job and the look at its stack; [`JobPool::wipe`] and
    /// [`JobPool::shrink`] drop the last of these.
    ///
    /// Say `false` under valgrind: memcheck reports every access to where returned frames were.
    pub fn wipe_stacks(mut self, wipe: bool) -> Self {
        self.wipe_stacks = wipe;
        self
    }

    /// Whether a cancelled job that pauses again is unwound, as by a panic. False if not set, and
    /// without effect where panics abort.
    ///
    /// Without it, [`pause`](crate::pause) and [`wait_for`](crate::wait_for) go on answering
    /// `Cancelled` to such a job, and the way out is to return (`?`). If it has not ended after
    /// 4,096 answers it is put in quarantine: its stack and all values on it leak, and are counted
    /// in [`PoolStats::quarantined`](crate::PoolStats::quarantined).
    ///
    /// With it such a job ends at once and its destructors run, but the process **aborts** if the
    /// unwind meets a frame that cannot unwind, or a destructor that panics. An `extern "C"`
    /// function, in Rust or in C, is such a frame, so say `true` only for pools whose jobs never
    /// pause in a callback of C code.
    pub fn unwind(mut self, unwind: bool) -> Self {
        self.unwind = unwind;
        self
    }

    /// Asks `check` before each pause: where it answers `false`, [`pause`](crate::pause) answers
    /// [`Pause::Blocked`](crate::Pause::Blocked) as under [`block_pause`](crate::block_pause). Without
    /// it a job may pause wherever it is not blocked.
    ///
    /// For code that marks its thread as busy while it calls back, if that can be seen. On a thread
    /// without a runtime of its own, `|| tokio::runtime::Handle::try_current().is_err()` keeps jobs
    /// from pausing inside `Handle::block_on` or under its `enter` guard, where the next job that does
    /// the same would panic. The check runs on the job's stack and costs its time at every pause.
    pub fn may_pause(mut self, check: fn() -> bool) -> Self {
        self.may_pause = Some(check);
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
    /// [`PoolError`] names the setting that cannot be.
    pub fn build(self) -> Result<JobPool, PoolError> {
        if !(MIN_STACK_SIZE..=MAX_STACK_SIZE).contains(&self.stack_size) {
            return Err(PoolError::StackSize {
                given: self.stack_size,
                min: MIN_STACK_SIZE,
                max: MAX_STACK_SIZE,
            });
        }
        if self.max_jobs == 0 {
            return Err(PoolError::MaxJobs);
        }
        tell_if_small(self.stack_size);
        Ok(JobPool::from_settings(&self))
    }
}

/// Says that a size is less than cryptography was measured to need, unless it was the last to be
/// told: many threads may make the same pool.
fn tell_if_small(stack_size: usize) {
    static LAST_TOLD: AtomicUsize = AtomicUsize::new(0);

    if stack_size < MEASURED_NEED && LAST_TOLD.swap(stack_size, Ordering::Relaxed) != stack_size {
        // Named after the settings, which are the remedy.
        tracing::warn!(
            target: "job_core",
            stack_size,
            measured_need = MEASURED_NEED,
            "pool.small_stacks"
        );
    }
}
