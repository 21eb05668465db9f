//! Called inside a job: pause it, forbid pausing, leave its stack for a while.

use core::cell::Cell;
use std::rc::Rc;
use std::thread;

use crate::cancel;
use crate::fiber;

/// What a call of [`pause`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "only `Resumed` means that the job has waited"]
#[non_exhaustive]
pub enum Pause {
    /// The job paused and was resumed. That is a hint to look again, not a promise that anything is
    /// ready.
    Resumed,
    /// The job is being ended: undo, return an error, do not pause again. Every later pause of the
    /// job says so at once.
    Cancelled,
    /// Nothing happened: no job is running here. Wait in some other way.
    NotInJob,
    /// Nothing happened: a [`block_pause`] guard is alive, this code runs [on the parent's
    /// stack](on_parent_stack), or the pool's [check](crate::PoolBuilder::may_pause) forbids it here.
    /// Wait in some other way; calling again in a loop would spin.
    Blocked,
    /// Nothing happened: this is a destructor, and the thread is unwinding.
    Panicking,
}

/// Pauses the running job: whoever started or resumed it gets
/// [`Step::Paused`](crate::Step::Paused).
///
/// Returns when the job is resumed or cancelled, or at once where pausing is refused. In a job that
/// has been told [`Pause::Cancelled`] already it says so again; after 4,096 such answers, or at
/// once in a pool that [unwinds](crate::PoolBuilder::unwind), it does not return.
#[inline(never)]
pub fn pause() -> Pause {
    fiber::here(|here| {
        let context = here.context();
        if context.is_cancelled() {
            return if here.is_detached() || context.is_blocked() {
                Pause::Blocked
            } else {
                cancel::pause_again(here, context)
            };
        }
        if thread::panicking() {
            return Pause::Panicking;
        }
        if here.is_detached() || context.is_blocked() || !context.pool().may_pause() {
            return Pause::Blocked;
        }
        here.suspend();
        if context.is_cancelled() { Pause::Cancelled } else { Pause::Resumed }
    })
    .unwrap_or(Pause::NotInJob)
}

/// Forbids the running job to pause, until the guard is dropped. Guards nest; each belongs to the
/// job it was made in and has no effect on any other. Outside a job it does nothing.
///
/// For code that holds a lock which other jobs of the thread may want.
pub fn block_pause() -> BlockGuard {
    let blocks = fiber::here(|here| here.context().blocks());
    if let Some(blocks) = &blocks {
        blocks.set(blocks.get() + 1);
    }
    BlockGuard { blocks }
}

/// Keeps one job from pausing while it lives. Made by [`block_pause`].
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

/// Runs `f` on the stack from which the job was resumed: for code that needs a deep stack and never
/// waits.
///
/// While `f` runs there is no current job and [`pause`] answers [`Pause::Blocked`], so operations
/// in it complete synchronously. Outside a job `f` is simply called.
///
/// # Panics
///
/// With the panic of `f`.
pub fn on_parent_stack<R>(f: impl FnOnce() -> R) -> R {
    fiber::on_parent_stack(f)
}

/// Runs `f` on the thread's own stack, also inside a job that was started by another job: for code
/// that is not the job's own, such as callbacks.
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

/// Whether this code runs on the stack of a job. Not [on its parent's](on_parent_stack), unless
/// that is a job too, and not [on the thread's](on_thread_stack).
pub fn on_job_stack() -> bool {
    fiber::on_fiber_stack()
}
