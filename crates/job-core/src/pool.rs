//! The pool: where jobs start and where their stacks come back to.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use std::collections::VecDeque;
use std::rc::Rc;

use wait_ctx::{Lease, WaitCtx};

use crate::context::JobContext;
use crate::fiber::{self, Fiber, GuardKind, Slab, Slot};
use crate::job::{self, JobId, Step};
use crate::start::{StartError, StartRefused};

/// The stack of a job, in bytes, unless the builder says otherwise: room for a TLS handshake with ML-KEM in compiled
/// C. Unoptimised Rust needs several times as much.
const DEFAULT_STACK_SIZE: usize = if cfg!(debug_assertions) { 256 * 1024 } else { 64 * 1024 };
/// Below this not even a panic can be raised.
const MIN_STACK_SIZE: usize = 16 * 1024;
/// A stack larger than this is a mistake.
const MAX_STACK_SIZE: usize = 1 << 40;
/// Names are handed to pools in blocks, so that starting a job touches no shared cache line.
const ID_BLOCK: u64 = 1 << 20;

/// Whether this process can run fibers. Where it cannot, every start answers [`StartRefused::NotCapable`].
///
/// False if user-mode shadow stacks are on for this process; the answer does not change while it runs.
pub fn is_capable() -> bool {
    fiber::is_capable()
}

/// A pool of jobs of one thread, and the stacks they run on. A clone is another handle to the same pool.
///
/// A stack is used again last in, first out, because the newest is the one still in the cache. Dropping the last
/// handle while jobs are live is fine: the pool goes when the last of them ends.
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

/// How the page below a stack is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// Guard markers where the kernel has them (Linux 6.13 and later), page protection elsewhere.
    #[default]
    Auto,
    /// Page protection always: two memory mappings a stack, of which Linux allows some 65,530 in a process.
    Protect,
}

/// Settings of a [`JobPool`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    max_jobs: usize,
    stack_size: usize,
    guard: Guard,
    wipe_stacks: bool,
}

/// Settings that make no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The stack is too small to raise a panic on, or larger than any address space.
    #[error("stack_size is {given} bytes: choose one between {min} and {max}")]
    StackSize {
        /// What was asked for.
        given: usize,
        /// The smallest stack there is.
        min: usize,
        /// The largest stack there is.
        max: usize,
    },
    /// A pool without jobs is of no use.
    #[error("max_jobs is 0: leave it out for no limit")]
    MaxJobs,
}

/// What a pool has done and has now. Stacks are counted whole; sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Jobs that have started and not ended.
    pub live: usize,
    /// Live jobs that are not running now.
    pub paused: usize,
    /// Stacks waiting for a job.
    pub idle: usize,
    /// The most jobs that were ever live at once.
    pub peak_live: usize,
    /// Stacks that hold a live job.
    pub stacks_in_use: usize,
    /// Stacks that exist: idle and in use. Those in quarantine are not counted.
    pub created: usize,
    /// Jobs ever started.
    pub started: u64,
    /// Jobs that ended by themselves: by returning, or by a panic that went to the resumer.
    pub finished: u64,
    /// Jobs that were cancelled, by call or by drop, including those in quarantine.
    pub cancelled: u64,
    /// Switches to jobs, starts and cancellations included.
    pub resumes: u64,
    /// Panics of jobs while they were being cancelled, or of what they left behind.
    pub swallowed_panics: u64,
    /// Times a job being cancelled caught the unwind meant to end it.
    pub swallowed_unwinds: u64,
    /// Jobs that would not end: leaked, with their stacks.
    pub quarantined: u64,
    /// The deepest use of a stack seen so far. Looked at on the first returns of the pool and then on one in 256;
    /// stays 0 if stacks are not wiped.
    pub stack_high_water: usize,
}

impl JobPool {
    /// A pool with the default settings: no limit, stacks of 64 KiB (256 KiB in builds with debug assertions).
    pub fn new() -> Self {
        Self::from_settings(&PoolBuilder::default())
    }

    /// Settings to change.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    fn from_settings(settings: &PoolBuilder) -> Self {
        let guard = match settings.guard {
            Guard::Auto => GuardKind::Auto,
            Guard::Protect => GuardKind::Protect,
        };
        let slab = Slab::new(settings.stack_size, guard, settings.wipe_stacks);
        Self {
            inner: Rc::new(PoolInner {
                max_jobs: settings.max_jobs,
                capable: Cell::new(fiber::is_capable()),
                can_unwind: Cell::new(cfg!(panic = "unwind")),
                slab: RefCell::new(slab),
                next_id: Cell::new(0),
                ids_end: Cell::new(0),
                counts: Counts::default(),
                waiting: RefCell::new(VecDeque::new()),
            }),
        }
    }

    /// Runs `f` as a job until it returns or pauses for the first time.
    ///
    /// No wait context belongs to it: [`Current::wait_ctx`](crate::Current::wait_ctx) is `None` in there, and whoever
    /// holds the job resumes it when it sees fit.
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
    /// Every [`StartRefused`], with the closure; [`WaitCtxBusy`](StartRefused::WaitCtxBusy) if another live job has
    /// the context.
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
        match self.prepare(lease, None, f) {
            Ok(fiber) => Ok(job::run(fiber)),
            Err(error) => Err(error),
        }
    }

    /// Puts `f` on a stack without running it.
    #[inline]
    pub(crate) fn prepare<F, T>(
        &self,
        lease: Option<Lease>,
        waker: Option<&Waker>,
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
        if let Some(waker) = waker {
            context.set_waker(waker);
        }
        Ok(Fiber::new(slot, context, f))
    }

    /// Makes `n` stacks in advance and answers how many there are now that were not there before: fewer than `n` if
    /// the system gives no more or the pool's limit is reached. They take address space, and memory once used.
    pub fn preallocate(&self, n: usize) -> usize {
        let mut slab = self.inner.slab.borrow_mut();
        let room = self.inner.max_jobs.saturating_sub(slab.made());
        let n = n.min(room);
        (0..n).take_while(|done| slab.add_idle(n - done).is_ok()).count()
    }

    /// Gives memory of idle stacks back to the system, and answers how many stacks ceased to exist. Address space is
    /// given back in whole reservations, so stacks beside one in use stay, empty.
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

impl Default for PoolBuilder {
    fn default() -> Self {
        Self {
            max_jobs: usize::MAX,
            stack_size: DEFAULT_STACK_SIZE,
            guard: Guard::Auto,
            wipe_stacks: true,
        }
    }
}

impl PoolBuilder {
    /// At most so many live jobs at once. Without this there is no limit.
    pub fn max_jobs(mut self, max_jobs: usize) -> Self {
        self.max_jobs = max_jobs;
        self
    }

    /// Bytes of stack for each job, rounded up to whole pages. The guard page comes on top of that; a few hundred
    /// bytes are taken for the job's own state.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// How stacks are guarded; [`Guard::Auto`] if not set.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Whether a stack that comes back is overwritten with zeros down to the high-water mark, since keys pass through
    /// stacks. True if not set. A job that goes deeper than any that was measured leaves what is below the mark until
    /// a later return of the same stack is measured or the pool is shrunk.
    pub fn wipe_stacks(mut self, wipe: bool) -> Self {
        self.wipe_stacks = wipe;
        self
    }

    /// Makes the pool. No stack is made yet.
    ///
    /// # Errors
    ///
    /// [`PoolError`] names the setting that cannot be.
    pub fn build(self) -> Result<JobPool, PoolError> {
        if !(MIN_STACK_SIZE..=MAX_STACK_SIZE).contains(&self.stack_size) {
            return Err(PoolError::StackSize {
                given: self.stack_size,
                min: MIN_STACK_SIZE,
                max: MAX_STACK_SIZE,
            });
        }
        if self.max_jobs == 0 {
            return Err(PoolError::MaxJobs);
        }
        Ok(JobPool::from_settings(&self))
    }
}

/// What the handles and the jobs of one pool share.
pub(crate) struct PoolInner {
    max_jobs: usize,
    /// Settable in tests only: is this process able to switch stacks, and to unwind?
    capable: Cell<bool>,
    can_unwind: Cell<bool>,
    slab: RefCell<Slab>,
    next_id: Cell<u64>,
    ids_end: Cell<u64>,
    pub(crate) counts: Counts,
    waiting: RefCell<VecDeque<Waiter>>,
}

/// The counters behind [`PoolStats`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    live: Cell<usize>,
    peak_live: Cell<usize>,
    started: Cell<u64>,
    resumes: Cell<u64>,
    cancelled: Cell<u64>,
    pub(crate) swallowed_panics: Counter,
    pub(crate) swallowed_unwinds: Counter,
    quarantined: Cell<u64>,
}

/// A counter of one thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// A future that waits for a job of the pool to end.
struct Waiter {
    ticket: Ticket,
    waker: Waker,
}

/// A place in the queue for the next free job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

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
        if !self.capable.get() {
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
        self.wake_next();
    }

    pub(crate) fn can_unwind(&self) -> bool {
        self.can_unwind.get()
    }

    /// Puts a future in the queue for the next free job; it keeps its place if it has one.
    pub(crate) fn enqueue(&self, ticket: Option<Ticket>, waker: &Waker) -> Ticket {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(waiter) = waiting.iter_mut().find(|waiter| Some(waiter.ticket) == ticket) {
            waiter.waker.clone_from(waker);
            return waiter.ticket;
        }
        let ticket = Ticket(waiting.back().map_or(0, |last| last.ticket.0 + 1));
        waiting.push_back(Waiter { ticket, waker: waker.clone() });
        ticket
    }

    /// Takes a future out of the queue, because it got its job or is gone.
    pub(crate) fn dequeue(&self, ticket: Ticket) {
        let removed = {
            let mut waiting = self.waiting.borrow_mut();
            let place = waiting.iter().position(|waiter| waiter.ticket == ticket);
            place.and_then(|place| waiting.remove(place))
        };
        drop(removed);
        // If the job that became free was meant for this one, the next in the queue must hear of it.
        if self.counts.live.get() < self.max_jobs {
            self.wake_next();
        }
    }

    #[inline]
    fn wake_next(&self) {
        let next = self.waiting.borrow().front().map(|waiter| waiter.waker.clone());
        if let Some(waker) = next {
            waker.wake();
        }
    }

    fn stats(&self) -> PoolStats {
        let counts = &self.counts;
        let slab = self.slab.borrow();
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
            swallowed_panics: counts.swallowed_panics.0.get(),
            swallowed_unwinds: counts.swallowed_unwinds.0.get(),
            quarantined: counts.quarantined.get(),
            stack_high_water: slab.mark(),
        }
    }

    /// Pretends that this process cannot switch stacks, or cannot unwind.
    #[cfg(test)]
    pub(crate) fn pretend(&self, capable: bool, can_unwind: bool) {
        self.capable.set(capable);
        self.can_unwind.set(can_unwind);
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
