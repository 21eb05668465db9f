//! What code inside a job calls: pause it, forbid pauses, run something on another stack.

use core::cell::Cell;
use std::rc::Rc;
use std::thread;

use crate::context::{self, RunningJob};
use crate::{cancel, fiber};

/// The result of [`pause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "only `Resumed` means that the job has waited"]
#[non_exhaustive]
pub enum Pause {
    /// The job paused and was resumed. This does not mean that anything is ready: check again.
    Resumed,
    /// The job was cancelled: return an error and do not pause again. Every later pause of the job
    /// returns this at once.
    Cancelled,
    /// No job is running here, so nothing happened. Wait in some other way.
    NotInJob,
    /// Nothing happened, because a [`block_pause`] guard is alive, this code runs [on the parent's
    /// stack](on_parent_stack), or the pool's [check](crate::PoolBuilder::may_pause) forbids it.
    /// Wait in some other way; calling again in a loop would spin.
    Blocked,
    /// Nothing happened, because this is a destructor and the thread is unwinding.
    Panicking,
}

/// Pauses the running job: the call that started or resumed it returns
/// [`Step::Paused`](crate::Step::Paused).
///
/// Returns when the job is resumed or cancelled, or at once where pausing is refused. In a job that
/// was told [`Pause::Cancelled`] before it returns that again; after 4,096 such answers, or at once
/// in a pool that [unwinds](crate::PoolBuilder::unwind), it does not return.
///
/// A resume is a hint: check the condition again. Where not to pause is listed
/// [on the crate page](crate#threads), and how to pause in a callback of [C code](crate#c-code).
// Inlined: each frame between the switch and the code that pauses is a return that the processor predicts wrongly.
#[inline(always)]
pub fn pause() -> Pause {
    context::with_running(|job| {
        let context = job.context();
        if context.cancelled.get() {
            return pause_cancelled(job);
        }
        if thread::panicking() {
            return Pause::Panicking;
        }
        if job.is_detached() || context.is_blocked() || !context.pool.may_pause() {
            return Pause::Blocked;
        }
        job.suspend();
        if context.cancelled.get() { Pause::Cancelled } else { Pause::Resumed }
    })
    .unwrap_or(Pause::NotInJob)
}

#[cold]
fn pause_cancelled(job: RunningJob<'_>) -> Pause {
    let context = job.context();
    if job.is_detached() || context.is_blocked() {
        return Pause::Blocked;
    }
    if thread::panicking() && !context.resumed_in_panic.get() {
        // The job itself is unwinding.
        return Pause::Panicking;
    }
    cancel::pause_again(job);
    Pause::Cancelled
}

/// Forbids the running job to pause until the guard is dropped. Guards nest; each affects only the
/// job it was made in. Outside a job it does nothing.
///
/// For code that holds a lock which other jobs of the thread may want.
pub fn block_pause() -> BlockGuard {
    let blocks = context::with_running(|job| job.context().blocks());
    if let Some(blocks) = &blocks {
        blocks.set(blocks.get() + 1);
    }
    BlockGuard { blocks }
}

/// Keeps a job from pausing while it lives. Made by [`block_pause`].
///
/// ```compile_fail
/// fn needs_send<T: Send>(_: T) {}
/// needs_send(job_core::block_pause());
/// ```
/// ```
/// fn needs_nothing<T>(_: T) {}
/// needs_nothing(job_core::block_pause());
/// ```
#[derive(Debug)]
#[must_use = "the block ends when the guard is dropped"]
pub struct BlockGuard {
    blocks: Option<Rc<Cell<usize>>>,
}

impl Drop for BlockGuard {
    fn drop(&mut self) {
        if let Some(blocks) = &self.blocks {
            blocks.set(blocks.get() - 1);
        }
    }
}

/// Runs `f` on the stack from which the running job was resumed. For code that needs a deep stack
/// and never waits.
///
/// While `f` runs there is no current job and [`pause`] answers [`Pause::Blocked`]. Outside a job
/// `f` is simply called.
///
/// # Panics
///
/// With the panic of `f`.
pub fn on_parent_stack<R>(f: impl FnOnce() -> R) -> R {
    fiber::on_parent_stack(f)
}

/// Runs `f` on the thread's own stack, also from a job inside another job. For code that is not the
/// job's own, such as callbacks.
///
/// While `f` runs there is no current job and [`pause`] answers [`Pause::Blocked`]. Outside a job
/// `f` is simply called. [`wait_ctx::contain`] runs foreign code through this as soon as the
/// process has a [`JobPool`](crate::JobPool).
///
/// # Panics
///
/// With the panic of `f`.
pub fn on_thread_stack<R>(f: impl FnOnce() -> R) -> R {
    let (mut f, mut result) = (Some(f), None);
    fiber::on_thread_stack(&mut || result = f.take().map(|f| f()));
    result.expect("the closure was called")
}

/// Whether this code runs on the stack of a job: `false` [on the parent's](on_parent_stack), unless
/// that is a job, too, and [on the thread's](on_thread_stack).
pub fn on_job_stack() -> bool {
    fiber::on_fiber_stack()
}
