//! A paused job, and what a step of one gives.

use core::fmt;
use std::panic::resume_unwind;
use std::rc::Rc;

use crate::cancel;
use crate::fiber::{Fiber, Switch};
use crate::pool::Ending;

/// The name of a job: unique in this process, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(crate) u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What starting or resuming a job has led to.
#[derive(Debug)]
#[must_use = "a paused job that is dropped is cancelled"]
pub enum Step<T: 'static> {
    /// The job has paused. Resume it when there is a reason to; a resume without one is harmless.
    Paused(Job<T>),
    /// The job has returned this, and its stack is back in the pool.
    Finished(T),
}

impl<T: 'static> Step<T> {
    /// The job, if it has paused.
    pub fn paused(self) -> Option<Job<T>> {
        match self {
            Self::Paused(job) => Some(job),
            Self::Finished(_) => None,
        }
    }

    /// The value, if the job has returned.
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
    fiber: Option<Fiber<T>>,
}

impl<T: 'static> Job<T> {
    /// Runs the job on, until it returns or pauses again.
    ///
    /// While its thread destroys its thread-local variables the job [stays
    /// paused](crate#thread-exit), since one that it uses may be gone already.
    ///
    /// # Panics
    ///
    /// With the panic of the job, which has then ended. If a job that stays paused, as above, is
    /// resumed 4,096 times.
    #[inline]
    pub fn resume(mut self) -> Step<T> {
        let fiber = self.fiber.take().expect(HAS_FIBER);
        if fiber.context().is_from_another_epoch() {
            return Step::Paused(stay_paused(Self { fiber: Some(fiber) }));
        }
        run(fiber)
    }

    /// Ends the job: its paused call returns [`Pause::Cancelled`](crate::Pause::Cancelled), and
    /// whatever it does then, it does not get to pause again. The protocol is on the [crate
    /// page](crate#cancellation).
    ///
    /// Answers the value if the job returned one, as a job does that treats the cancellation as an
    /// error. A panic of the job is swallowed, logged and counted.
    pub fn cancel(mut self) -> Option<T> {
        let fiber = self.fiber.take().expect(HAS_FIBER);
        cancel::cancel(fiber)
    }

    /// The name of the job, the same as inside it.
    pub fn id(&self) -> JobId {
        self.fiber.as_ref().expect(HAS_FIBER).context().id()
    }

    /// How often the job was switched to, the start included.
    pub fn resumes(&self) -> u64 {
        self.fiber.as_ref().expect(HAS_FIBER).context().resumes()
    }

    pub(crate) fn fiber(&self) -> &Fiber<T> {
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

/// Refuses to resume a job while the thread ends. Code that resumes it in a loop until it has
/// finished would never end: such a loop panics.
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

/// Runs a fiber on and deals with what comes of it.
#[inline]
pub(crate) fn run<T: 'static>(mut fiber: Fiber<T>) -> Step<T> {
    match switch_to(&mut fiber) {
        Switch::Paused => {
            fiber.context().pool().note_pause();
            Step::Paused(Job { fiber: Some(fiber) })
        }
        Switch::Returned(value) => {
            end(fiber);
            Step::Finished(value)
        }
        Switch::Panicked(panic) => {
            end(fiber);
            resume_unwind(panic)
        }
    }
}

/// Puts away what is left of a job that ended by itself.
#[inline]
fn end<T: 'static>(fiber: Fiber<T>) {
    let (slot, pool, leftovers) = fiber.retire().into_parts();
    pool.take_back(slot, Ending::Finished);
    pool.wake_next();
    // What the job left behind may run foreign code, which may use the pool: it goes last.
    if let Some(leftovers) = leftovers {
        leftovers.discard(&pool);
    }
}

/// One switch to a fiber, under its span.
#[inline]
pub(crate) fn switch_to<T: 'static>(fiber: &mut Fiber<T>) -> Switch<T> {
    let context = fiber.context();
    context.note_resume();
    context.pool().note_resume();
    if context.span().is_none() {
        return fiber.resume();
    }
    switch_within_span(fiber)
}

#[cold]
fn switch_within_span<T: 'static>(fiber: &mut Fiber<T>) -> Switch<T> {
    let pool = Rc::clone(fiber.context().pool());
    // Not with a guard: its drop would be a second panic if the subscriber panics in `enter`.
    let enter = || fiber.context().span()?.with_subscriber(|(id, to)| to.enter(id));
    let entered = pool.contain("a tracing subscriber", enter).is_some();
    let switch = fiber.resume();
    if entered {
        let exit = || fiber.context().span()?.with_subscriber(|(id, to)| to.exit(id));
        pool.contain("a tracing subscriber", exit);
    }
    switch
}
