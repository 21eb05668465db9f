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

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use crate::context::JobContext;
use crate::fiber::{Fiber, Here};
use crate::job;
use crate::pause::Pause;
use crate::pool::{Ending, PoolInner};

/// Unwinds a cancelled job may catch before it is given up.
pub(crate) const UNWIND_LIMIT: u8 = 3;
/// Answers a cancelled job gets from calls that only report the cancellation, before they behave like a pause. So a
/// job that retries for ever ends, too.
pub(crate) const PATIENCE: u8 = 64;

/// What unwinds a cancelled job. Private: nobody else can raise it or tell it from other payloads.
struct Unwind;

/// Ends a paused job and answers what it returned, if it did.
pub(crate) fn cancel<T: 'static>(mut fiber: Fiber<T>) -> Option<T> {
    fiber.context().set_cancelled();
    tracing::debug!(target: "job_core", job = %fiber.context().id(), "cancelling");
    let Some(outcome) = job::switch_to(&mut fiber) else {
        quarantine(fiber);
        return None;
    };
    let (slot, context) = fiber.retire();
    let pool = context.pool().clone();
    if outcome.is_ok() && context.unwinds() > 0 {
        // It caught the last unwind and went on to return.
        pool.counts.swallowed_unwinds.add_one();
    }
    pool.take_back(slot, Ending::Cancelled);
    discard(&pool, context);
    match outcome {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Unwind>() => None,
        Err(payload) => {
            pool.counts.swallowed_panics.add_one();
            discard(&pool, payload);
            None
        }
    }
}

/// Ends a paused job of which nobody wants to hear more. Never panics.
pub(crate) fn cancel_and_discard<T: 'static>(fiber: Fiber<T>) {
    let pool = fiber.context().pool().clone();
    if let Some(value) = cancel(fiber) {
        discard(&pool, value);
    }
}

/// Drops something of the job's, whose destructor may panic.
fn discard<V>(pool: &PoolInner, value: V) {
    let mut dropped = catch_unwind(AssertUnwindSafe(|| drop(value)));
    // The payload of a panic may panic in turn when it is dropped. Once is enough.
    if let Err(payload) = dropped {
        pool.counts.swallowed_panics.add_one();
        dropped = catch_unwind(AssertUnwindSafe(|| drop::<Box<dyn Any + Send>>(payload)));
        if let Err(payload) = dropped {
            core::mem::forget(payload);
        }
    }
}

/// Leaks a job that paused although it must not.
#[cold]
fn quarantine<T: 'static>(fiber: Fiber<T>) {
    let pool = fiber.context().pool().clone();
    tracing::warn!(
        target: "job_core",
        job = %fiber.context().id(),
        unwinds = fiber.context().unwinds(),
        "the job would not end; it is leaked with its stack"
    );
    pool.write_off();
    // A fiber has no destructor: this leaks it.
    drop(fiber);
}

/// A cancelled job pauses again: unwinds it, or gives it up.
#[cold]
pub(crate) fn pause_again(here: Here<'_>, context: &JobContext) -> Pause {
    if thread::panicking() {
        if !context.was_resumed_in_panic() {
            // The job is unwinding already: a destructor wants to pause.
            return Pause::Panicking;
        }
        // The canceller was unwinding when it dropped the job. Whether the job itself is cannot be seen, and a second
        // unwind on top of its own would abort the process. So the job is told, and then given up.
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
