//! The cancel protocol: how a paused job is ended. The crate's page draws it.
//!
//! Unwinding is opt-in, because it aborts the process if it meets a frame that cannot unwind, and
//! no check can tell beforehand: an `extern "C"` function in Rust has a landing pad that aborts,
//! and if it owns a value with a destructor its entry in the unwind tables is that of an ordinary
//! cleanup. A destructor that panics on the way aborts, too.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::thread;

use tracing::level_filters::LevelFilter;

use crate::context::{self, JobFiber, RunningJob};
use crate::fiber::Switch;
use crate::id::JobId;
use crate::pool_inner::PoolInner;

/// Unwinds that a cancelled job may catch before it is put in quarantine.
const UNWIND_LIMIT: u8 = 3;
/// Answers `Cancelled` that a job gets: enough for a C function that calls back a few thousand
/// times before it returns, and soon over for a loop that ignores the answer.
pub(crate) const PATIENCE: u32 = 4096;

/// The payload that unwinds a cancelled job. No other code can raise it.
struct Unwind;

/// Ends a paused job and returns its value, if it returned one.
pub(crate) fn cancel<T: 'static>(mut fiber: JobFiber<T>) -> Option<T> {
    if fiber.context().is_from_another_epoch() {
        quarantine(fiber, "its thread is destroying its thread-local variables");
        return None;
    }
    fiber.context().cancelled.set(true);
    if LevelFilter::current() >= LevelFilter::DEBUG {
        log_cancel(fiber.id(), &fiber.context().pool);
    }
    match context::switch_to(&mut fiber) {
        Switch::Paused => {
            quarantine(fiber, "it paused again and again");
            None
        }
        Switch::Returned(value) => {
            if fiber.context().unwinds.get() > 0 {
                fiber.context().pool.counts.swallowed_unwinds.add_one();
            }
            count_and_end(fiber);
            Some(value)
        }
        Switch::Panicked(payload) => {
            let pool = count_and_end(fiber);
            if !payload.is::<Unwind>() {
                pool.contain("a job being cancelled", || resume_unwind(payload));
            }
            None
        }
    }
}

fn count_and_end<T: 'static>(fiber: JobFiber<T>) -> Rc<PoolInner> {
    fiber.context().pool.counts.cancelled.add_one();
    context::end(fiber)
}

/// Ends a paused job and drops what it returns. Never panics.
pub(crate) fn cancel_and_discard<T: 'static>(fiber: JobFiber<T>) {
    let pool = Rc::clone(&fiber.context().pool);
    if let Some(value) = cancel(fiber)
        && core::mem::needs_drop::<T>()
    {
        pool.contain("the Drop of a job's value", || drop(value));
    }
}

#[cold]
fn log_cancel(job: JobId, pool: &PoolInner) {
    pool.contain("a tracing subscriber", || {
        tracing::debug!(target: "job_core", job = %job, "job.cancel");
    });
}

/// Leaks a job that does not end, or that must not be switched to.
#[cold]
fn quarantine<T: 'static>(fiber: JobFiber<T>, reason: &'static str) {
    let pool = Rc::clone(&fiber.context().pool);
    pool.write_off();
    pool.contain("a tracing subscriber", || {
        tracing::warn!(
            target: "job_core",
            job = %fiber.id(),
            unwinds = fiber.context().unwinds.get(),
            reason,
            "job.quarantined"
        );
    });
    fiber.abandon();
}

/// Called when a cancelled job pauses again. Returns if the pause is to answer `Cancelled` once
/// more; else unwinds the job, or suspends it for ever.
///
/// If the thread is unwinding here, then because the canceller was when it dropped the job. Whether
/// the job unwinds, too, cannot be seen, and a second unwind on top of its own would abort the
/// process.
#[cold]
pub(crate) fn pause_again(job: RunningJob<'_>) {
    let context = job.context();
    if context.pool.can_unwind() && !thread::panicking() {
        if context.unwinds.get() > 0 {
            context.pool.counts.swallowed_unwinds.add_one();
        }
        if context.unwinds.get() < UNWIND_LIMIT {
            context.unwinds.set(context.unwinds.get() + 1);
            resume_unwind(Box::new(Unwind));
        }
    } else if context.note_answer() < PATIENCE {
        return;
    }
    job.suspend();
    unreachable!("a job in quarantine is not resumed")
}
