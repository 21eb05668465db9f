//! The handle to a paused job.

use core::{fmt, mem};
use std::panic::resume_unwind;

use crate::cancel;
use crate::context::{self, JobFiber};
use crate::fiber::Switch;
use crate::id::JobId;

/// The result of starting or resuming a job.
#[derive(Debug)]
#[must_use = "a paused job that is dropped is cancelled"]
pub enum Step<T: 'static> {
    /// The job paused. A resume without a reason is harmless.
    Paused(Job<T>),
    /// The job returned this value, and its stack is back in the pool.
    Finished(T),
}

impl<T: 'static> Step<T> {
    /// The job, if it paused.
    pub fn paused(self) -> Option<Job<T>> {
        match self {
            Self::Paused(job) => Some(job),
            Self::Finished(_) => None,
        }
    }

    /// The value, if the job returned.
    pub fn finished(self) -> Option<T> {
        match self {
            Self::Paused(_) => None,
            Self::Finished(value) => Some(value),
        }
    }
}

/// A paused job.
///
/// It stays on the thread that started it. Dropping it cancels it, as [`cancel`](Self::cancel)
/// does; forgetting it leaks it and its place in the pool.
///
/// ```compile_fail
/// # use job_core::{JobPool, Step, pause};
/// # let pool = JobPool::new();
/// # let Ok(Step::Paused(job)) = pool.start(|| { pause(); }) else { unreachable!() };
/// fn needs_send<T: Send>(_: T) {}
/// needs_send(job);
/// ```
/// ```
/// # use job_core::{JobPool, Step, pause};
/// # let pool = JobPool::new();
/// # let Ok(Step::Paused(job)) = pool.start(|| { pause(); }) else { unreachable!() };
/// fn needs_nothing<T>(_: T) {}
/// needs_nothing(job);
/// ```
pub struct Job<T: 'static> {
    /// Absent once the job has been resumed or cancelled through this handle.
    fiber: Option<JobFiber<T>>,
}

impl<T: 'static> Job<T> {
    /// Continues the job until it returns or pauses again.
    ///
    /// While the thread destroys its thread-local variables the job [stays
    /// paused](crate#thread-exit), since it may be using one that is gone.
    ///
    /// # Panics
    ///
    /// With the panic of the job, which has then ended; and at the 4,096th resume of a job that
    /// stays paused, as above, so that a loop of resumes ends.
    #[inline(always)]
    pub fn resume(self) -> Step<T> {
        let fiber = self.into_fiber();
        if fiber.context().is_from_another_epoch() {
            return Step::Paused(stay_paused(Self { fiber: Some(fiber) }));
        }
        run(fiber)
    }

    /// Ends the job: its paused call returns [`Pause::Cancelled`](crate::Pause::Cancelled), and it
    /// cannot pause again. The protocol is on the [crate page](crate#cancellation).
    ///
    /// Returns the job's value if it returned one, as a job does that treats the cancellation as an
    /// error. A panic of the job is swallowed, logged and counted.
    pub fn cancel(self) -> Option<T> {
        cancel::cancel(self.into_fiber())
    }

    /// Ends the job without running it again: its frames are forgotten where they stand, so what they own leaks, and its
    /// stack goes back to the pool, emptied, also in a pool that does not [wipe](crate::PoolBuilder::wipe_stacks): the
    /// job did not get to erase what it would have erased. It counts as cancelled.
    ///
    /// For jobs of C code, whose frames cannot be unwound, and must not be resumed either once their session is freed.
    ///
    /// # Safety
    ///
    /// From now on no code and no device reads or writes what lies on the job's stack, and nothing on it had to be
    /// dropped before its memory is used for something else.
    #[allow(unsafe_code, reason = "the caller vouches for frames that this crate cannot see")]
    pub unsafe fn forget_frames(self) {
        let fiber = self.into_fiber();
        fiber.context().pool.counts.cancelled.add_one();
        // SAFETY: as the caller asserts; a `Job` is paused.
        let parts = unsafe { fiber.forget_frames() };
        context::end_forgotten(parts);
    }

    /// The same id as [`Current::id`](crate::Current::id) in the job.
    pub fn id(&self) -> JobId {
        self.fiber().id()
    }

    /// How often the job was switched to, the start included.
    pub fn resumes(&self) -> u64 {
        self.fiber().context().resumes.get()
    }

    #[inline]
    fn into_fiber(mut self) -> JobFiber<T> {
        let fiber = self.fiber.take().expect(HAS_FIBER);
        // There is nothing to drop any more, which only costs time to find out.
        mem::forget(self);
        fiber
    }

    pub(crate) fn fiber(&self) -> &JobFiber<T> {
        self.fiber.as_ref().expect(HAS_FIBER)
    }
}

/// The invariant of [`Job`].
const HAS_FIBER: &str = "a job that can be named has its fiber";

impl<T: 'static> Drop for Job<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(fiber) = self.fiber.take() {
            cancel::cancel_and_discard(fiber);
        }
    }
}

impl<T: 'static> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Returns a job that must not be switched to while its thread ends. Panics if it is asked too
/// often: a loop that resumes the job until it has finished would never end.
#[cold]
fn stay_paused<T>(job: Job<T>) -> Job<T> {
    assert!(
        job.fiber().context().note_answer() < cancel::PATIENCE,
        "job {} cannot finish: it was paused when its thread began to destroy the thread-local \
         variables; finish or drop jobs before the thread ends",
        job.id()
    );
    job
}

/// Switches to a fiber that starts or continues, and ends it if it has finished.
// Inlined into the caller of `start` and `resume`: with a frame between it and the switch, the processor predicts one
// more return wrongly for each.
#[inline(always)]
pub(crate) fn run<T: 'static>(mut fiber: JobFiber<T>) -> Step<T> {
    match context::switch_to(&mut fiber) {
        Switch::Paused => {
            fiber.context().pool.note_pause();
            Step::Paused(Job { fiber: Some(fiber) })
        }
        Switch::Returned(value) => {
            context::end(fiber);
            Step::Finished(value)
        }
        Switch::Panicked(panic) => {
            context::end(fiber);
            resume_unwind(panic)
        }
    }
}
