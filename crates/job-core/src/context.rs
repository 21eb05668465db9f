//! What the crate knows about one job: lives beside its stack, read and written by its thread
//! alone.

use core::any::{Any, TypeId};
use core::cell::{Cell, OnceCell, RefCell};
use core::task::Waker;
use std::rc::Rc;
use std::thread;

use tracing::Span;
use tracing::level_filters::LevelFilter;
use wait_ctx::{Lease, WaitCtx};

use crate::fiber;
use crate::job::JobId;
use crate::pool::PoolInner;

/// The state of one job, from its start to the return of its stack.
#[derive(Debug)]
pub(crate) struct JobContext {
    pool: Rc<PoolInner>,
    /// Absent when nobody listens, which is the common case.
    span: Option<Box<Span>>,
    extras: OnceCell<Box<Extras>>,
    resumes: Cell<u64>,
    cancelled: Cell<bool>,
    /// Whether the thread was unwinding already when this job was last resumed.
    resumed_in_panic: Cell<bool>,
    /// Unwinds that the cancel protocol has started.
    unwinds: Cell<u8>,
    /// The thread's epoch when the job started; a job is switched to in that epoch only.
    epoch: u32,
    id: JobId,
    /// The wait context, and the right of this job alone to use it.
    lease: Option<Lease>,
}

/// What a job leaves behind. Dropping it runs foreign code, so it is [discarded](Self::discard).
#[derive(Debug)]
#[must_use = "dropped as it is, two destructors that panic abort the process"]
pub(crate) struct Leftovers {
    lease: Option<Lease>,
    extras: Option<Box<Extras>>,
    span: Option<Box<Span>>,
}

impl Leftovers {
    /// Drops each part by itself, whatever the others do.
    #[inline(never)]
    pub(crate) fn discard(self, pool: &PoolInner) {
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

/// What few jobs need.
#[derive(Debug, Default)]
struct Extras {
    /// Pause blocks in force. Shared with the guards, which may outlive the job.
    blocks: Rc<Cell<usize>>,
    locals: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
    waker: RefCell<Option<Waker>>,
    /// Answers given to a cancelled job without unwinding it.
    answers: Cell<u32>,
}

impl JobContext {
    // Inlined to the place where it is written: copied through the stack right after it was filled
    // in field by field it would cost more than the switch.
    #[inline(always)]
    pub(crate) fn new(id: JobId, pool: Rc<PoolInner>, lease: Option<Lease>) -> Self {
        let span =
            if LevelFilter::current() >= LevelFilter::DEBUG { span_of(id, &pool) } else { None };
        let epoch = fiber::epoch();
        if epoch != 0 {
            fiber::mark_in_exit();
        }
        Self {
            id,
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

    #[inline]
    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Rc<PoolInner> {
        &self.pool
    }

    pub(crate) fn wait_ctx(&self) -> Option<&WaitCtx> {
        self.lease.as_ref().map(Lease::ctx)
    }

    #[inline]
    pub(crate) fn span(&self) -> Option<&Span> {
        self.span.as_deref()
    }

    /// Switches to the job so far, the first one included.
    pub(crate) fn resumes(&self) -> u64 {
        self.resumes.get()
    }

    #[inline]
    pub(crate) fn note_resume(&self) {
        self.resumes.set(self.resumes.get() + 1);
        self.resumed_in_panic.set(thread::panicking());
    }

    pub(crate) fn was_resumed_in_panic(&self) -> bool {
        self.resumed_in_panic.get()
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Sticky: there is no way back.
    pub(crate) fn set_cancelled(&self) {
        self.cancelled.set(true);
    }

    pub(crate) fn unwinds(&self) -> u8 {
        self.unwinds.get()
    }

    pub(crate) fn note_unwind(&self) {
        self.unwinds.set(self.unwinds.get().saturating_add(1));
    }

    /// Counts one more answer to a cancelled job; the number of those before it.
    pub(crate) fn note_answer(&self) -> u32 {
        let answers = &self.extras().answers;
        answers.replace(answers.get().saturating_add(1))
    }

    /// Whether the thread has begun to destroy its local variables since the job started, so that
    /// the job may be in the middle of using one that is gone. It must not be switched to.
    #[inline]
    pub(crate) fn is_from_another_epoch(&self) -> bool {
        self.epoch != fiber::epoch()
    }

    /// The pool, and everything that can run foreign code when it is dropped.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (Rc<PoolInner>, Option<Leftovers>) {
        let Self { pool, lease, span, extras, .. } = self;
        let extras = extras.into_inner();
        if lease.is_none() && span.is_none() && extras.is_none() {
            return (pool, None);
        }
        (pool, Some(Leftovers { lease, extras, span }))
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
            Some((_, slot)) => Some(core::mem::replace(slot, value)),
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

    /// What wakes whoever resumes this job: the task that awaits it, or its wait context.
    pub(crate) fn waker_to_use(&self) -> Option<Waker> {
        let task = self.extras.get().and_then(|extras| extras.waker.borrow().clone());
        task.or_else(|| self.wait_ctx().map(|ctx| ctx.notifier().waker()))
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        let slot = &self.extras().waker;
        if slot.borrow().as_ref().is_some_and(|old| old.will_wake(waker)) {
            return;
        }
        // Wakers are foreign code: none is cloned or dropped under a mutable borrow. A panic of
        // `clone` comes out of here, with nothing changed.
        let waker = waker.clone();
        let old = slot.replace(Some(waker));
        if let Some(old) = old {
            self.pool.contain("the Drop of a waker", || drop(old));
        }
    }

    /// The waker of the task that is about to start the job.
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
