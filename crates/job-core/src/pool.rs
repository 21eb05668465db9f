//! The pool: where jobs start and where their stacks come back to.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use std::rc::Rc;

use wait_ctx::{Lease, WaitCtx};

use crate::builder::{PoolBuilder, StackGuard};
use crate::context::JobContext;
use crate::fiber::{self, Fiber, GuardKind, Kind, Slab, Slot};
use crate::job::{self, JobId, Step};
use crate::queue::{Queue, Ticket};
use crate::start::{StartError, StartRefused};
use crate::stats::{Counts, PoolStats};

/// Names are handed to pools in blocks, so that starting a job touches no shared cache line.
const ID_BLOCK: u64 = 1 << 20;

/// A pool of jobs of one thread, and the stacks they run on. A clone is another handle to the same
/// pool.
///
/// A stack is used again last in, first out, because the newest is the one still in the cache.
/// Dropping the last handle while jobs are live is fine: the pool goes when the last of them ends.
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

/// How many stacks are made in advance at a time: what a mistaken number may cost in page tables.
const MOST_PREALLOCATED: usize = 1 << 16;

impl JobPool {
    /// A pool with the default settings: no limit, stacks of 256 KiB.
    pub fn new() -> Self {
        Self::from_settings(&PoolBuilder::default())
    }

    /// Settings to change.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    pub(crate) fn from_settings(settings: &PoolBuilder) -> Self {
        let guard = match settings.guard {
            StackGuard::Auto => GuardKind::Auto,
            StackGuard::Protect => GuardKind::Protect,
        };
        wait_ctx::set_stack_switch(fiber::on_thread_stack);
        let slab = Slab::new(settings.stack_size, guard, settings.wipe_stacks);
        Self {
            inner: Rc::new(PoolInner {
                max_jobs: settings.max_jobs,
                capable: settings.capable,
                may_pause: settings.may_pause,
                can_unwind: settings.unwind && cfg!(panic = "unwind"),
                slab: RefCell::new(slab),
                next_id: Cell::new(0),
                ids_end: Cell::new(0),
                counts: Counts::default(),
                queue: Queue::default(),
                next_mark: Cell::new(0),
                has_news: Cell::new(false),
                last_kind: Cell::new(Kind::NONE),
            }),
        }
    }

    /// Runs `f` as a job until it returns or pauses for the first time.
    ///
    /// No wait context belongs to it: [`Current::wait_ctx`](crate::Current::wait_ctx) is `None` in
    /// there, and whoever holds the job resumes it when it sees fit.
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
        self.inner.note_kind(Kind::of::<F>());
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
    ) -> Result<Fiber<T>, StartError<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let slot = match self.inner.admit() {
            Ok(slot) => slot,
            Err(reason) => return Err(StartError::new(reason, f)),
        };
        let context = JobContext::new(self.inner.new_id(), Rc::clone(&self.inner), lease);
        Ok(Fiber::new(slot, context, f))
    }

    /// Makes `n` stacks in advance and answers how many there are now that were not there before:
    /// fewer than `n` if the system gives no more or the pool's limit is reached, and at most
    /// 65,536 at a time. They take address space, and memory once used.
    pub fn preallocate(&self, n: usize) -> usize {
        let n = n.min(MOST_PREALLOCATED);
        let mut slab = self.inner.slab.borrow_mut();
        let room = self.inner.max_jobs.saturating_sub(slab.made());
        slab.preallocate(n.min(room))
    }

    /// Overwrites every idle stack, the one that came back last included, as deep as it was used,
    /// whatever gaps there are. Something to do before a long sleep; nothing if the pool does not
    /// wipe. Takes about a microsecond for each idle stack, and more where there is something to
    /// wipe.
    pub fn wipe(&self) {
        self.inner.slab.borrow_mut().wipe();
    }

    /// Gives memory of idle stacks back to the system, and answers how many stacks ceased to exist.
    /// Address space is given back in whole reservations, so stacks beside one in use stay, empty.
    /// Where the process has locked its memory the system takes nothing back from them: they are
    /// overwritten with zeros instead, also in a pool that does not wipe.
    pub fn shrink(&self) -> usize {
        self.inner.slab.borrow_mut().shrink()
    }

    /// The figures of this pool.
    pub fn stats(&self) -> PoolStats {
        self.inner.stats()
    }

    pub(crate) fn inner(&self) -> &Rc<PoolInner> {
        &self.inner
    }
}

impl Default for JobPool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for JobPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// What the handles and the jobs of one pool share.
pub(crate) struct PoolInner {
    max_jobs: usize,
    capable: bool,
    can_unwind: bool,
    may_pause: Option<fn() -> bool>,
    slab: RefCell<Slab>,
    next_id: Cell<u64>,
    ids_end: Cell<u64>,
    pub(crate) counts: Counts,
    queue: Queue,
    /// At how many resumes to ask for another mark of thread exit.
    next_mark: Cell<u64>,
    /// Whether the next pause may be the first of a new kind of job.
    has_news: Cell<bool>,
    /// The type of the closure that was started last.
    last_kind: Cell<Kind>,
}

/// How a job left the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished,
    Cancelled,
}

impl PoolInner {
    /// Admits one more job and finds it a stack.
    #[inline]
    fn admit(&self) -> Result<Slot, StartRefused> {
        let live = self.counts.live.get();
        if live >= self.max_jobs {
            return Err(StartRefused::NoJobs { max_jobs: self.max_jobs });
        }
        if !self.capable {
            return Err(StartRefused::NotCapable);
        }
        let wanted = if self.max_jobs == usize::MAX { live + 1 } else { self.max_jobs - live };
        let slot = self.slab.borrow_mut().take(wanted)?;
        let live = live + 1;
        self.counts.live.set(live);
        if live > self.counts.peak_live.get() {
            self.counts.peak_live.set(live);
        }
        self.counts.started.set(self.counts.started.get() + 1);
        Ok(slot)
    }

    #[inline]
    fn new_id(&self) -> JobId {
        if self.next_id.get() == self.ids_end.get() {
            self.new_id_block();
        }
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        JobId(id)
    }

    #[cold]
    fn new_id_block(&self) {
        static BLOCKS: AtomicU64 = AtomicU64::new(0);
        let start = BLOCKS.fetch_add(1, Ordering::Relaxed) * ID_BLOCK + 1;
        self.next_id.set(start);
        self.ids_end.set(start + ID_BLOCK);
    }

    #[inline]
    pub(crate) fn note_resume(&self) {
        self.counts.resumes.set(self.counts.resumes.get() + 1);
    }

    /// Takes back the stack of a job that has ended.
    #[inline]
    pub(crate) fn take_back(&self, slot: Slot, ending: Ending) {
        self.slab.borrow_mut().give_back(slot);
        self.leave(ending);
    }

    /// Strikes a job off that would not end. Its stack is not coming back.
    pub(crate) fn write_off(&self) {
        self.slab.borrow_mut().write_off();
        self.counts.quarantined.set(self.counts.quarantined.get() + 1);
        self.leave(Ending::Cancelled);
    }

    #[inline]
    fn leave(&self, ending: Ending) {
        self.counts.live.set(self.counts.live.get() - 1);
        if ending == Ending::Cancelled {
            self.counts.cancelled.set(self.counts.cancelled.get() + 1);
        }
    }

    /// Whether the pool's check allows a pause here.
    #[inline]
    pub(crate) fn may_pause(&self) -> bool {
        self.may_pause.is_none_or(|check| check())
    }

    pub(crate) fn can_unwind(&self) -> bool {
        self.can_unwind
    }

    /// A job has paused. Once in a while that is noted for the end of the thread.
    #[inline]
    pub(crate) fn note_pause(&self) {
        if self.counts.resumes.get() >= self.next_mark.get() {
            self.mark();
        }
    }

    #[cold]
    fn mark(&self) {
        self.next_mark.set(fiber::next_mark(self.counts.resumes.get()));
        fiber::mark_if_due(self.has_news.replace(false));
    }

    /// A closure of this type is about to start. The first of its type may use thread-local
    /// variables that no job has used before, so its first pause is noted for the end of the thread.
    #[inline]
    pub(crate) fn note_kind(&self, kind: Kind) {
        if self.last_kind.get() != kind {
            self.note_other_kind(kind);
        }
    }

    #[cold]
    fn note_other_kind(&self, kind: Kind) {
        self.last_kind.set(kind);
        if kind.is_new() {
            self.next_mark.set(0);
            self.has_news.set(true);
        }
    }

    /// Runs foreign code, and counts a panic of it.
    pub(crate) fn contain<R>(&self, what: &'static str, foreign: impl FnOnce() -> R) -> Option<R> {
        let outcome = wait_ctx::contain(what, foreign);
        if outcome.is_err() {
            self.counts.swallowed_panics.add_one();
        }
        outcome.ok()
    }

    /// Tells the first future in the queue that a job has ended.
    #[inline]
    pub(crate) fn wake_next(&self) {
        if !self.queue.is_empty() {
            self.wake_first();
        }
    }

    /// Wakes the first in the queue. One whose waker panics was not woken, and loses its place: it
    /// would hold up the others for ever.
    #[cold]
    fn wake_first(&self) {
        while let Some((first, waker)) = self.queue.take_first_waker() {
            if self.contain("a waker", || waker.wake()).is_some() {
                return;
            }
            self.leave_queue(first);
        }
    }

    fn leave_queue(&self, ticket: Ticket) {
        if let Some(waker) = self.queue.leave(ticket) {
            self.contain("the Drop of a waker", || drop(waker));
        }
    }

    /// Whether a future with this place in the queue has to wait for others.
    pub(crate) fn is_others_turn(&self, ticket: Option<Ticket>) -> bool {
        self.queue.is_ahead_of(ticket)
    }

    /// Puts a future in the queue for the next free job; it keeps its place if it has one.
    pub(crate) fn enqueue(&self, ticket: Option<Ticket>, waker: Waker) -> Ticket {
        let (ticket, old) = self.queue.enter(ticket, waker);
        if let Some(old) = old {
            self.contain("the Drop of a waker", || drop(old));
        }
        ticket
    }

    /// Takes a future out of the queue, because it got its job or is gone.
    pub(crate) fn dequeue(&self, ticket: Ticket) {
        self.leave_queue(ticket);
        // If the job that became free was meant for this one, the next in the queue must hear of
        // it.
        if self.counts.live.get() < self.max_jobs {
            self.wake_next();
        }
    }

    fn stats(&self) -> PoolStats {
        let counts = &self.counts;
        let mut slab = self.slab.borrow_mut();
        let live = counts.live.get();
        let running = fiber::count_running(|context| core::ptr::eq(&**context.pool(), self));
        PoolStats {
            live,
            paused: live - running,
            idle: slab.idle(),
            peak_live: counts.peak_live.get(),
            stacks_in_use: slab.made() - slab.idle(),
            created: slab.made(),
            started: counts.started.get(),
            finished: counts.started.get() - counts.cancelled.get() - live as u64,
            cancelled: counts.cancelled.get(),
            resumes: counts.resumes.get(),
            swallowed_panics: counts.swallowed_panics.value(),
            swallowed_unwinds: counts.swallowed_unwinds.value(),
            quarantined: counts.quarantined.get(),
            stack_high_water: slab.mark(),
        }
    }
}

impl fmt::Debug for PoolInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobPool")
            .field("max_jobs", &self.max_jobs)
            .field("live", &self.counts.live.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pools that take turns, past the end of a block each.
    #[test]
    fn no_two_jobs_of_a_process_have_the_same_name() {
        let pools = [JobPool::new(), JobPool::new()];
        let mut names = std::collections::BTreeSet::new();
        for turn in 0..ID_BLOCK + 2 {
            // All names are rising, so the first and the last of each block tell.
            let telling = !(2..ID_BLOCK - 2).contains(&turn);
            for pool in &pools {
                let name = pool.inner.new_id();
                assert!(!telling || names.insert(name), "{name:?} twice, in turn {turn}");
            }
        }
    }
}
