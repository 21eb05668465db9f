//! The running job, seen from inside.

use core::any::TypeId;
use core::marker::PhantomData;
use core::task::Waker;
use std::rc::Rc;

use wait_ctx::WaitCtx;

use crate::fiber;
use crate::job::JobId;

/// The job whose code is running; none outside a job and on the parent's stack.
pub fn current() -> Option<Current> {
    fiber::here(|here| (!here.is_detached()).then(|| here.context().id()))
        .flatten()
        .map(|id| Current { id, on_this_thread: PhantomData })
}

/// A running job. The methods answer while it runs, also from a job nested in it; once it has
/// paused or ended they find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    id: JobId,
    on_this_thread: PhantomData<*mut ()>,
}

impl Current {
    /// The name of the job.
    pub fn id(self) -> JobId {
        self.id
    }

    /// The wait context that the job was started with, if any.
    pub fn wait_ctx(self) -> Option<WaitCtx> {
        fiber::find(self.id, |context| context.wait_ctx().cloned()).flatten()
    }

    /// What wakes whoever resumes the job: the task that awaits it as a future, else its wait
    /// context. `None` if it has neither and is resumed when its owner sees fit.
    pub fn waker(self) -> Option<Waker> {
        fiber::find(self.id, |context| context.waker_to_use()).flatten()
    }

    /// Whether the job is being ended. Once true it stays so: fail whatever would wait.
    pub fn is_cancelled(self) -> bool {
        fiber::find(self.id, |context| context.is_cancelled()).unwrap_or(false)
    }

    /// Whether a [`block_pause`](crate::block_pause) guard of the job is alive.
    pub fn is_blocked(self) -> bool {
        fiber::find(self.id, |context| context.is_blocked()).unwrap_or(false)
    }

    /// How often the job was switched to, the start included.
    pub fn resumes(self) -> u64 {
        fiber::find(self.id, |context| context.resumes()).unwrap_or(0)
    }

    /// Keeps a value with the job, one for each type, to the job's end. Answers the one it
    /// replaces.
    ///
    /// A job starts without any; a nested job does not see those of the job around it.
    pub fn set_local<V: 'static>(self, value: V) -> Option<Rc<V>> {
        let old = fiber::find(self.id, |context| context.set_local(Rc::new(value))).flatten()?;
        old.downcast().ok()
    }

    /// The value of that type kept with the job.
    pub fn local<V: 'static>(self) -> Option<Rc<V>> {
        let value = fiber::find(self.id, |context| context.local(TypeId::of::<V>())).flatten()?;
        value.downcast().ok()
    }
}
