//! The running job, as code inside it sees it.

use core::any::TypeId;
use core::marker::PhantomData;
use core::task::Waker;
use std::rc::Rc;

use wait_ctx::WaitCtx;

use crate::context;
use crate::id::JobId;

/// The job that this code runs in; `None` outside a job and
/// [on another stack](crate::on_parent_stack).
pub fn current() -> Option<Current> {
    context::with_running(|job| (!job.is_detached()).then(|| job.id()))
        .flatten()
        .map(|id| Current { id, on_this_thread: PhantomData })
}

/// A running job. Its methods work while it runs, also from a job nested in it; once it has paused
/// or ended they return `None`, `false` or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    id: JobId,
    on_this_thread: PhantomData<*mut ()>,
}

impl Current {
    /// The same id as [`Job::id`](crate::Job::id) outside.
    pub fn id(self) -> JobId {
        self.id
    }

    /// The wait context that the job was started with, if any.
    pub fn wait_ctx(self) -> Option<WaitCtx> {
        context::find_running(self.id, |job| job.wait_ctx().cloned()).flatten()
    }

    /// The waker of the task that awaits the job as a future, else that of its wait job. `None`
    /// if it has neither.
    pub fn waker(self) -> Option<Waker> {
        context::find_running(self.id, |job| job.waker_to_use()).flatten()
    }

    /// Whether the job was cancelled. Once true it stays so; operations that would wait should fail.
    pub fn is_cancelled(self) -> bool {
        context::find_running(self.id, |job| job.cancelled.get()).unwrap_or(false)
    }

    /// Whether a [`block_pause`](crate::block_pause) guard of the job is alive.
    pub fn is_blocked(self) -> bool {
        context::find_running(self.id, |job| job.is_blocked()).unwrap_or(false)
    }

    /// How often the job was switched to, the start included.
    pub fn resumes(self) -> u64 {
        context::find_running(self.id, |job| job.resumes.get()).unwrap_or(0)
    }

    /// Stores a value with the job until it ends, one for each type. Returns the one it replaces.
    ///
    /// A nested job does not see the values of the job around it.
    pub fn set_local<V: 'static>(self, value: V) -> Option<Rc<V>> {
        let old = context::find_running(self.id, |job| job.set_local(Rc::new(value))).flatten()?;
        old.downcast().ok()
    }

    /// The stored value of that type.
    pub fn local<V: 'static>(self) -> Option<Rc<V>> {
        let value = context::find_running(self.id, |job| job.local(TypeId::of::<V>())).flatten()?;
        value.downcast().ok()
    }
}
