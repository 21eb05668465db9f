//! The pool: starts jobs and keeps their stacks.

use core::fmt;
use std::rc::Rc;

use wait_ctx::{Lease, WaitCtx};

use crate::context::{JobContext, JobFiber};
use crate::fiber::{self, ClosureType, Fiber};
use crate::job::{self, Step};
use crate::pool_inner::PoolInner;
use crate::start::{StartError, StartRefused};
use crate::stats::PoolStats;

/// Starts jobs on one thread and keeps their stacks. A clone is another handle to the same pool.
///
/// Stacks are reused last in, first out, since the newest is still in the cache. A pool lives until
/// its last handle is dropped and its last job has ended.
///
/// ```compile_fail
/// # use job_core::JobPool;
/// fn needs_send<T: Send>(_: T) {}
/// needs_send(JobPool::new());
/// ```
/// ```
/// # use job_core::JobPool;
/// fn needs_nothing<T>(_: T) {}
/// needs_nothing(JobPool::new());
/// ```
#[derive(Clone)]
pub struct JobPool {
    inner: Rc<PoolInner>,
}

impl JobPool {
    pub(crate) fn from_inner(inner: PoolInner) -> Self {
        wait_ctx::set_stack_switch(fiber::on_thread_stack);
        Self { inner: Rc::new(inner) }
    }

    /// Runs `f` as a job until it returns or pauses for the first time.
    ///
    /// The job has no wait context: [`Current::wait_ctx`](crate::Current::wait_ctx) is `None` in it.
    ///
    /// # Errors
    ///
    /// Every [`StartRefused`] except `WaitCtxBusy`, with the closure.
    ///
    /// # Panics
    ///
    /// With the panic of `f`.
    #[inline]
    pub fn start<F, T>(&self, f: F) -> Result<Step<T>, StartError<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.start_job(None, f)
    }

    /// Runs `f` as a job that owns the wait context `ctx` until it ends.
    ///
    /// # Errors
    ///
    /// Every [`StartRefused`], with the closure; [`WaitCtxBusy`](StartRefused::WaitCtxBusy) if
    /// another live job has the context.
    ///
    /// # Panics
    ///
    /// With the panic of `f`.
    pub fn start_with<F, T>(&self, ctx: &WaitCtx, f: F) -> Result<Step<T>, StartError<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        match ctx.lease() {
            Ok(lease) => self.start_job(Some(lease), f),
            Err(_) => Err(StartError::new(StartRefused::WaitCtxBusy, f)),
        }
    }

    #[inline]
    fn start_job<F, T>(&self, lease: Option<Lease>, f: F) -> Result<Step<T>, StartError<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.inner.note_closure(ClosureType::of::<F>());
        match self.prepare(lease, f) {
            Ok(fiber) => Ok(job::run(fiber)),
            Err(error) => Err(error),
        }
    }

    /// Puts `f` on a stack without running it.
    #[inline]
    pub(crate) fn prepare<F, T>(
        &self,
        lease: Option<Lease>,
        f: F,
    ) -> Result<JobFiber<T>, StartError<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let slot = match self.inner.admit() {
            Ok(slot) => slot,
            Err(reason) => return Err(StartError::new(reason, f)),
        };
        let id = self.inner.new_id();
        let context = JobContext::new(id, Rc::clone(&self.inner), lease);
        Ok(Fiber::new(slot, id.0, context, f))
    }

    /// Makes up to `n` stacks in advance and returns how many it made: fewer than `n` if the system
    /// refuses more or the pool's limit is reached, and at most 65,536 in one call. Their memory is
    /// only taken when they are used.
    pub fn preallocate(&self, n: usize) -> usize {
        self.inner.preallocate(n)
    }

    /// Overwrites every idle stack with zeros, the one that came back last included, as deep as it
    /// was used. For use before a long sleep. Does nothing in a pool that does not
    /// [wipe](crate::PoolBuilder::wipe_stacks). Takes about a microsecond for each idle stack, and
    /// more where there is something to overwrite.
    pub fn wipe(&self) {
        self.inner.slab.borrow_mut().wipe();
    }

    /// Gives memory of idle stacks back to the system, and returns how many stacks ceased to exist.
    ///
    /// Address space is given back in whole reservations, so a stack in the same one as a stack in
    /// use stays, without memory. Where the process has locked its memory such stacks are
    /// overwritten with zeros instead, also in a pool that does not wipe.
    pub fn shrink(&self) -> usize {
        self.inner.slab.borrow_mut().shrink()
    }

    /// A snapshot of the pool's counters.
    pub fn stats(&self) -> PoolStats {
        let is_ours = |job: &JobContext| Rc::ptr_eq(&job.pool, &self.inner);
        self.inner.stats(fiber::count_running(is_ours))
    }

    pub(crate) fn inner(&self) -> &Rc<PoolInner> {
        &self.inner
    }
}

impl fmt::Debug for JobPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
