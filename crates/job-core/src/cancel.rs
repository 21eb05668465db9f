//! The cancel protocol: how a paused job is ended.
//!
//! ```text
//!   cancel or drop
//!        |  resume under catch_unwind
//!        v
//!   the paused call returns Cancelled ------- the job returns ---------> ended, value kept
//!        |                            \------ the job panics ----------> ended, panic swallowed
//!        |  pauses again
//!        v
//!   the pause unwinds ---- reaches the root of the job ----------------> ended
//!        |       ^  \
//!        |       |   caught by the job, which pauses again
//!        |       +---/
//!        |  after UNWIND_LIMIT times; or nothing can be unwound
//!        v
//!   quarantine: the stack and all on it leak, counted
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;

use crate::context::JobContext;
use crate::fiber::{Fiber, Here, Switch};
use crate::job;
use crate::pause::Pause;
use crate::pool::{Ending, PoolInner};

/// Unwinds a cancelled job may catch before it is given up.
pub(crate) const UNWIND_LIMIT: u8 = 3;
/// Answers a cancelled job gets from calls that only report the cancellation, before they behave
/// like a pause. So a job that retries for ever ends, too.
pub(crate) const PATIENCE: u8 = 64;

/// What unwinds a cancelled job. Private: nobody else can raise it or tell it from other payloads.
struct Unwind;

/// Ends a paused job and answers what it returned, if it did.
pub(crate) fn cancel<T: 'static>(mut fiber: Fiber<T>) -> Option<T> {
    fiber.context().set_cancelled();
    tracing::debug!(target: "job_core", job = %fiber.context().id(), "job.cancel");
    match job::switch_to(&mut fiber) {
        Switch::Paused => {
            quarantine(fiber);
            None
        }
        Switch::Returned(value) => {
            end(fiber, true);
            Some(value)
        }
        Switch::Panicked(payload) => {
            let pool = end(fiber, false);
            if !payload.is::<Unwind>() {
                pool.counts.swallowed_panics.add_one();
                guarded(&pool, || drop(payload));
            }
            None
        }
    }
}

/// Ends a paused job of which nobody wants to hear more. Never panics.
pub(crate) fn cancel_and_discard<T: 'static>(fiber: Fiber<T>) {
    let pool = Rc::clone(fiber.context().pool());
    if let Some(value) = cancel(fiber) {
        guarded(&pool, || drop(value));
    }
}

/// Puts away what is left of a job that was cancelled.
fn end<T: 'static>(fiber: Fiber<T>, returned: bool) -> Rc<PoolInner> {
    let remains = fiber.retire();
    let caught_the_unwind = returned && remains.context().unwinds() > 0;
    let (slot, pool, leftovers) = remains.into_parts();
    if caught_the_unwind {
        pool.counts.swallowed_unwinds.add_one();
    }
    pool.take_back(slot, Ending::Cancelled);
    guarded(&pool, || pool.wake_next());
    guarded(&pool, || drop(leftovers));
    pool
}

/// Runs code of the user's, which may panic, where nobody wants to hear of it.
fn guarded(pool: &PoolInner, f: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { return };
    pool.counts.swallowed_panics.add_one();
    // The payload of a panic may panic in turn when it is dropped. Once is enough.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        core::mem::forget(payload);
    }
}

/// Leaks a job that paused although it must not.
#[cold]
fn quarantine<T: 'static>(fiber: Fiber<T>) {
    let pool = Rc::clone(fiber.context().pool());
    tracing::warn!(
        target: "job_core",
        job = %fiber.context().id(),
        unwinds = fiber.context().unwinds(),
        "job.quarantined"
    );
    pool.write_off();
    guarded(&pool, || pool.wake_next());
    fiber.abandon();
}

/// A cancelled job pauses again: unwinds it, or gives it up.
#[cold]
pub(crate) fn pause_again(here: Here<'_>, context: &JobContext) -> Pause {
    if thread::panicking() {
        if !context.was_resumed_in_panic() {
            // The job is unwinding already: a destructor wants to pause.
            return Pause::Panicking;
        }
        // The canceller was unwinding when it dropped the job. Whether the job itself is cannot be
        // seen, and a second unwind on top of its own would abort the process. So the job is told,
        // and then given up.
        if context.note_answer() < UNWIND_LIMIT {
            return Pause::Cancelled;
        }
    } else {
        if context.unwinds() > 0 {
            context.pool().counts.swallowed_unwinds.add_one();
        }
        if context.pool().can_unwind() && context.unwinds() < UNWIND_LIMIT {
            context.note_unwind();
            resume_unwind(Box::new(Unwind));
        }
    }
    here.suspend();
    unreachable!("a job in quarantine is not resumed")
}
