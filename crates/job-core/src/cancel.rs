//! The cancel protocol: how a paused job is ended.
//!
//! ```text
//!   cancel or drop
//!        |  the thread destroys its local variables ------------------> quarantine
//!        |  resume under catch_unwind
//!        v
//!   the paused call returns Cancelled ------- the job returns ---------> ended, value kept
//!        |       ^  \                    \--- the job panics ----------> ended, panic swallowed
//!        |       |   \  pauses again
//!        |       +----+  up to PATIENCE times
//!        |
//!        +-- pauses once more -----------------------------------------> quarantine: the stack and
//!        |                                                               all on it leak, counted
//!        |  or, in a pool that unwinds: pauses again
//!        v
//!   the pause unwinds ---- reaches the root of the job ----------------> ended
//!        |       ^  \
//!        |       |   caught by the job, which pauses again
//!        |       +---/
//!        |  after UNWIND_LIMIT times
//!        v
//!   quarantine
//! ```
//!
//! Unwinding is asked for, because it aborts the process if it meets a frame that cannot unwind,
//! and that cannot be found out beforehand. A Rust function that is `extern "C"` cannot unwind, and
//! is compiled to a landing pad that ends in an abort; if it owns a value with a destructor at the
//! call, its entry in the unwind tables is that of an ordinary cleanup, the same as in a function
//! that unwinds. A destructor that panics on the way aborts, too.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::thread;

use tracing::level_filters::LevelFilter;

use crate::context::JobContext;
use crate::fiber::{Fiber, Here, Switch};
use crate::job;
use crate::pause::Pause;
use crate::pool::{Ending, PoolInner};

/// Unwinds a cancelled job may catch before it is given up.
pub(crate) const UNWIND_LIMIT: u8 = 3;
/// How often a cancelled job is told so again: enough for a C function that calls back a few
/// thousand times on its way out, and soon over for a loop that ignores the answer.
pub(crate) const PATIENCE: u32 = 4096;

/// What unwinds a cancelled job. Private: no other code can raise it or tell it from other
/// payloads.
struct Unwind;

/// Ends a paused job and answers what it returned, if it did.
pub(crate) fn cancel<T: 'static>(mut fiber: Fiber<T>) -> Option<T> {
    if fiber.context().is_from_another_epoch() {
        quarantine(fiber, "its thread is destroying its thread-local variables");
        return None;
    }
    fiber.context().set_cancelled();
    if LevelFilter::current() >= LevelFilter::DEBUG {
        log_cancel(fiber.context());
    }
    match job::switch_to(&mut fiber) {
        Switch::Paused => {
            quarantine(fiber, "it paused again and again");
            None
        }
        Switch::Returned(value) => {
            end(fiber, true);
            Some(value)
        }
        Switch::Panicked(payload) => {
            let pool = end(fiber, false);
            if !payload.is::<Unwind>() {
                pool.contain("a job being cancelled", || resume_unwind(payload));
            }
            None
        }
    }
}

/// Ends a paused job and drops what it returns. Never panics.
pub(crate) fn cancel_and_discard<T: 'static>(fiber: Fiber<T>) {
    let pool = Rc::clone(fiber.context().pool());
    if let Some(value) = cancel(fiber)
        && core::mem::needs_drop::<T>()
    {
        pool.contain("the Drop of a job's value", || drop(value));
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
    pool.wake_next();
    if let Some(leftovers) = leftovers {
        leftovers.discard(&pool);
    }
    pool
}

#[cold]
fn log_cancel(context: &JobContext) {
    context.pool().contain("a tracing subscriber", || {
        tracing::debug!(target: "job_core", job = %context.id(), "job.cancel");
    });
}

/// Leaks a job that paused although it must not, or that must not run.
#[cold]
fn quarantine<T: 'static>(fiber: Fiber<T>, reason: &'static str) {
    let pool = Rc::clone(fiber.context().pool());
    pool.write_off();
    pool.contain("a tracing subscriber", || {
        let context = fiber.context();
        tracing::warn!(
            target: "job_core",
            job = %context.id(),
            unwinds = context.unwinds(),
            reason,
            "job.quarantined"
        );
    });
    pool.wake_next();
    fiber.abandon();
}

/// A cancelled job pauses again: tells it once more, unwinds it, or gives it up.
#[cold]
pub(crate) fn pause_again(here: Here<'_>, context: &JobContext) -> Pause {
    let panicking = thread::panicking();
    if panicking && !context.was_resumed_in_panic() {
        // The job is unwinding already: a destructor wants to pause.
        return Pause::Panicking;
    }
    // If the canceller was unwinding when it dropped the job, whether the job itself unwinds cannot
    // be seen, and a second unwind on top of its own would abort the process.
    if context.pool().can_unwind() && !panicking {
        if context.unwinds() > 0 {
            context.pool().counts.swallowed_unwinds.add_one();
        }
        if context.unwinds() < UNWIND_LIMIT {
            context.note_unwind();
            resume_unwind(Box::new(Unwind));
        }
    } else if context.note_answer() < PATIENCE {
        return Pause::Cancelled;
    }
    here.suspend();
    unreachable!("a job in quarantine is not resumed")
}
