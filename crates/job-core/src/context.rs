//! The state of one job, which lies beside the job's stack, and the switch to it. Only the job's thread reads and writes it.

use core::any::{Any, TypeId};
use core::cell::{Cell, OnceCell, RefCell};
use core::mem;
use core::task::Waker;
use std::rc::Rc;
use std::thread;

use tracing::Span;
use tracing::level_filters::LevelFilter;
use wait_ctx::{Lease, WaitCtx};

use crate::fiber::{self, Fiber, RunningFiber, Slot, Switch};
use crate::id::JobId;
use crate::pool_inner::PoolInner;

/// The fiber of a job.
pub(crate) type JobFiber<T> = Fiber<JobContext, T>;
/// A running job, seen by code that runs in it.
pub(crate) type RunningJob<'a> = RunningFiber<'a, JobContext>;

impl<T> JobFiber<T> {
    #[inline]
    pub(crate) fn id(&self) -> JobId {
        JobId(self.name())
    }

    #[inline]
    pub(crate) fn context(&self) -> &JobContext {
        self.payload()
    }
}

impl<'a> RunningJob<'a> {
    pub(crate) fn id(&self) -> JobId {
        JobId(self.name())
    }

    #[inline]
    pub(crate) fn context(&self) -> &'a JobContext {
        self.payload()
    }
}

/// Calls `f` with the innermost job that runs on this thread, if there is one.
#[inline]
pub(crate) fn with_running<R>(f: impl FnOnce(RunningJob<'_>) -> R) -> Option<R> {
    fiber::with_running(f)
}

/// Calls `f` with the state of that job, if it runs on this thread, innermost or not.
pub(crate) fn find_running<R>(job: JobId, f: impl FnOnce(&JobContext) -> R) -> Option<R> {
    fiber::find_running(job.0, f)
}

/// The state of one job, from its start to the return of its stack.
#[derive(Debug)]
pub(crate) struct JobContext {
    pub(crate) pool: Rc<PoolInner>,
    /// Absent while no tracing subscriber is interested, which is the common case.
    span: Option<Box<Span>>,
    extras: OnceCell<Box<Extras>>,
    /// How often the job was switched to, the first time included.
    pub(crate) resumes: Cell<u64>,
    /// Set once, never cleared.
    pub(crate) cancelled: Cell<bool>,
    /// Whether the thread was unwinding already when this job was last resumed.
    pub(crate) resumed_in_panic: Cell<bool>,
    /// Unwinds that the cancel protocol has started.
    pub(crate) unwinds: Cell<u8>,
    /// The thread's epoch when the job started; a job is switched to in that epoch only, unless its pool allows any.
    epoch: u32,
    /// The wait context, leased to this job alone.
    lease: Option<Lease>,
}

/// The parts of an ended job whose destructors run foreign code. To be [discarded](Self::discard).
#[derive(Debug)]
#[must_use = "dropped as it is, two destructors that panic abort the process"]
pub(crate) struct Leftovers {
    lease: Option<Lease>,
    extras: Option<Box<Extras>>,
    span: Option<Box<Span>>,
}

impl Leftovers {
    /// Drops each part by itself, and contains its panics.
    #[inline(always)]
    pub(crate) fn discard(self, pool: &PoolInner) {
        if self.lease.is_none() && self.span.is_none() && self.extras.is_none() {
            mem::forget(self);
        } else {
            self.discard_some(pool);
        }
    }

    #[inline(never)]
    fn discard_some(self, pool: &PoolInner) {
        let Self { lease, extras, span } = self;
        if let Some(lease) = lease {
            pool.contain("a cleanup of a wait context", || drop(lease));
        }
        if let Some(extras) = extras {
            let Extras { locals, waker, .. } = *extras;
            for (_, value) in locals.into_inner() {
                pool.contain("the Drop of a value kept with a job", || drop(value));
            }
            if let Some(waker) = waker.into_inner() {
                pool.contain("the Drop of a waker", || drop(waker));
            }
        }
        if let Some(span) = span {
            pool.contain("a tracing subscriber", || drop(span));
        }
    }
}

/// State that few jobs need, allocated on first use.
#[derive(Debug, Default)]
struct Extras {
    /// The number of live [`BlockGuard`](crate::BlockGuard)s, which may outlive the job.
    blocks: Rc<Cell<usize>>,
    locals: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
    waker: RefCell<Option<Waker>>,
    /// How often the job was told `Cancelled` without being unwound.
    answers: Cell<u32>,
}

impl JobContext {
    // Inlined into the function that writes it to its place: a copy of the whole right after its
    // fields were written would stall for longer than a switch takes.
    #[inline(always)]
    pub(crate) fn new(id: JobId, pool: Rc<PoolInner>, lease: Option<Lease>) -> Self {
        let span =
            if LevelFilter::current() >= LevelFilter::DEBUG { span_of(id, &pool) } else { None };
        let epoch = fiber::epoch();
        if epoch != 0 && !pool.resumes_at_thread_exit {
            // In a destructor at thread exit: when it returns, the job must not be resumed.
            fiber::register_sentinel();
        }
        Self {
            pool,
            lease,
            span,
            resumes: Cell::new(0),
            cancelled: Cell::new(false),
            unwinds: Cell::new(0),
            epoch,
            resumed_in_panic: Cell::new(false),
            extras: OnceCell::new(),
        }
    }

    pub(crate) fn wait_ctx(&self) -> Option<&WaitCtx> {
        self.lease.as_ref().map(Lease::ctx)
    }

    #[inline]
    pub(crate) fn span(&self) -> Option<&Span> {
        self.span.as_deref()
    }

    #[inline]
    pub(crate) fn note_resume(&self) {
        self.resumes.set(self.resumes.get() + 1);
        self.resumed_in_panic.set(thread::panicking());
    }

    /// Counts one more answer to a cancelled job. Returns the number before.
    pub(crate) fn note_answer(&self) -> u32 {
        let answers = &self.extras().answers;
        answers.replace(answers.get().saturating_add(1))
    }

    /// Whether the thread has begun to destroy its thread-local variables since the job started. The
    /// job may be using one that is gone, so it must not be switched to, unless its pool allows it.
    #[inline]
    pub(crate) fn is_from_another_epoch(&self) -> bool {
        self.epoch != fiber::epoch() && !self.pool.resumes_at_thread_exit
    }

    /// The pool, and the parts whose drop runs foreign code.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (Rc<PoolInner>, Leftovers) {
        let Self { pool, lease, span, extras, .. } = self;
        (pool, Leftovers { lease, extras: extras.into_inner(), span })
    }

    fn extras(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }

    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.extras.get().is_some_and(|extras| extras.blocks.get() > 0)
    }

    pub(crate) fn blocks(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.extras().blocks)
    }

    pub(crate) fn set_local(&self, value: Rc<dyn Any>) -> Option<Rc<dyn Any>> {
        let key = (*value).type_id();
        let mut locals = self.extras().locals.borrow_mut();
        match locals.iter_mut().find(|(of, _)| *of == key) {
            Some((_, slot)) => Some(mem::replace(slot, value)),
            None => {
                locals.push((key, value));
                None
            }
        }
    }

    pub(crate) fn local(&self, key: TypeId) -> Option<Rc<dyn Any>> {
        let locals = self.extras.get()?.locals.borrow();
        locals.iter().find(|(of, _)| *of == key).map(|(_, value)| Rc::clone(value))
    }

    /// The waker of the task that awaits the job, else that of its wait context.
    pub(crate) fn waker_to_use(&self) -> Option<Waker> {
        let task = self.extras.get().and_then(|extras| extras.waker.borrow().clone());
        task.or_else(|| self.wait_ctx().map(|ctx| ctx.notifier().waker()))
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        let slot = &self.extras().waker;
        if slot.borrow().as_ref().is_some_and(|old| old.will_wake(waker)) {
            return;
        }
        // Foreign code: not cloned or dropped under a mutable borrow. If `clone` panics, nothing has
        // changed.
        let waker = waker.clone();
        let old = slot.replace(Some(waker));
        if let Some(old) = old {
            self.pool.contain("the Drop of a waker", || drop(old));
        }
    }

    /// As [`set_waker`](Self::set_waker), for a job that has none yet.
    pub(crate) fn set_first_waker(&self, waker: Waker) {
        self.extras().waker.replace(Some(waker));
    }
}

#[cold]
fn span_of(id: JobId, pool: &PoolInner) -> Option<Box<Span>> {
    let span = pool.contain(
        "a tracing subscriber",
        || tracing::debug_span!(target: "job_core", "job", job = %id),
    );
    span.filter(|span| !span.is_disabled()).map(Box::new)
}

/// Switches to a job, within its span.
#[inline(always)]
pub(crate) fn switch_to<T: 'static>(fiber: &mut JobFiber<T>) -> Switch<T> {
    let context = fiber.context();
    context.note_resume();
    context.pool.counts.resumes.add_one();
    if context.span().is_none() {
        return fiber.resume();
    }
    switch_within_span(fiber)
}

#[cold]
fn switch_within_span<T: 'static>(fiber: &mut JobFiber<T>) -> Switch<T> {
    let pool = Rc::clone(&fiber.context().pool);
    // Not with a guard: its drop would be a second panic if the subscriber panics in `enter`.
    let enter = || fiber.context().span()?.with_subscriber(|(id, to)| to.enter(id));
    let entered = pool.contain("a tracing subscriber", enter).is_some();
    let switch = fiber.resume();
    if entered {
        let exit = || fiber.context().span()?.with_subscriber(|(id, to)| to.exit(id));
        pool.contain("a tracing subscriber", exit);
    }
    switch
}

/// Gives the stack of a job that has ended back to its pool, and drops what it leaves behind.
#[inline(always)]
pub(crate) fn end<T: 'static>(fiber: JobFiber<T>) -> Rc<PoolInner> {
    release(fiber.retire())
}

#[inline(always)]
fn release((slot, context): (Slot, JobContext)) -> Rc<PoolInner> {
    let (pool, leftovers) = context.into_parts();
    pool.take_back(slot);
    // Last, since it runs foreign code, which may use the pool.
    leftovers.discard(&pool);
    pool
}

/// As [`end`], for a fiber whose frames were forgotten.
pub(crate) fn end_forgotten((slot, context): (Slot, JobContext)) {
    let (pool, leftovers) = context.into_parts();
    pool.take_back_emptied(slot);
    leftovers.discard(&pool);
}
