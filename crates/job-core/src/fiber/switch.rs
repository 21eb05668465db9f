//! The fiber itself: a started closure on a slot, switched to and away from.

use core::cell::Cell;
use core::mem::ManuallyDrop;
use core::num::NonZeroUsize;
use core::ptr::{self, NonNull};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::slab::Slot;
use crate::context::JobContext;
use crate::job::JobId;

/// Closures larger than this go to the heap: they are passed by value on the stack of the fiber.
const MAX_INLINE_CLOSURE: usize = 512;

thread_local! {
    /// The innermost running fiber of this thread.
    static CURRENT: Cell<*const Header> = const { Cell::new(ptr::null()) };
}

/// What lies at the base of a fiber's stack while the fiber exists.
#[derive(Debug)]
pub(super) struct Header {
    /// The fiber that resumed this one, or null. Meaningful while this fiber runs.
    parent: Cell<*const Self>,
    /// Where the fiber switches back to. Set by the fiber as its first act, valid to its end.
    yielder: Cell<*const Yielder<(), ()>>,
    /// Whether the fiber's code is running on its parent's stack, from where it must not switch.
    detached: Cell<bool>,
    /// The stack, including the memory of this header.
    slot: Slot,
    context: JobContext,
}

/// A fiber's stack, as corosensei wants it. The slot itself is in the header.
#[derive(Debug)]
struct FiberStack(NonNull<Header>);

// SAFETY: a slot has a guard page below its limit, at least `MIN_STACK_SIZE` usable bytes (the pool's builder refuses
// less), a base aligned to 64 bytes, and memory that belongs to nobody else. The header below stays in place for as
// long as corosensei holds the stack: `Fiber::retire` takes both apart together.
unsafe impl Stack for FiberStack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.0.addr()
    }

    fn limit(&self) -> StackPointer {
        // SAFETY: see above; nobody holds a mutable reference to a header.
        let slot = &unsafe { self.0.as_ref() }.slot;
        // The guard page counts.
        let lowest = slot.limit().addr().get() - super::map::page_size();
        NonZeroUsize::new(lowest).expect("a mapping does not start at address zero")
    }
}

/// A fiber between two switches: about to start, suspended, or done.
///
/// Dropping one **leaks** it, with its stack and everything on it. That is sound, and it is what quarantine means;
/// ending a fiber properly is the business of the cancel protocol.
pub(crate) struct Fiber<T: 'static> {
    coroutine: ManuallyDrop<Coroutine<(), (), thread::Result<T>, FiberStack>>,
    header: NonNull<Header>,
}

impl<T: 'static> Fiber<T> {
    /// Puts `f` on a stack. It runs at the first [`resume`](Self::resume).
    #[inline]
    pub(crate) fn new<F: FnOnce() -> T + 'static>(slot: Slot, context: JobContext, f: F) -> Self {
        if size_of::<F>() > MAX_INLINE_CLOSURE {
            Self::on_slot(slot, context, Box::new(f))
        } else {
            Self::on_slot(slot, context, f)
        }
    }

    #[inline]
    fn on_slot<F: FnOnce() -> T + 'static>(slot: Slot, context: JobContext, f: F) -> Self {
        let header = slot.base().cast::<Header>();
        let content = Header {
            parent: Cell::new(ptr::null()),
            yielder: Cell::new(ptr::null()),
            detached: Cell::new(false),
            slot,
            context,
        };
        // SAFETY: the slab leaves room for a header above every base, aligned to 64 bytes, and the slot is ours.
        unsafe { header.write(content) };
        let body = move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: this runs on the fiber, and the header stays in place until the fiber is done.
            unsafe { header.as_ref() }.yielder.set(yielder);
            catch_unwind(AssertUnwindSafe(f))
        };
        let coroutine = ManuallyDrop::new(Coroutine::with_stack(FiberStack(header), body));
        Self { coroutine, header }
    }

    /// Runs the fiber until it suspends (`None`) or its closure has ended, by returning or by panicking.
    #[inline]
    pub(crate) fn resume(&mut self) -> Option<thread::Result<T>> {
        let header = self.header.as_ptr().cast_const();
        let parent = CURRENT.replace(header);
        self.header_ref().parent.set(parent);
        let _restore = Restore(parent);
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(outcome) => Some(outcome),
        }
    }

    /// Whether the closure has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.coroutine.done()
    }

    /// The job this fiber belongs to.
    #[inline]
    pub(crate) fn context(&self) -> &JobContext {
        &self.header_ref().context
    }

    #[inline]
    fn header_ref(&self) -> &Header {
        // SAFETY: written in `on_slot`, read out only by `retire`, which consumes the fiber. Only shared references to
        // it are ever made.
        unsafe { self.header.as_ref() }
    }

    /// Takes a fiber that is done apart.
    ///
    /// # Panics
    ///
    /// If it is not done: its frames would lose their stack.
    #[inline]
    pub(crate) fn retire(self) -> (Slot, JobContext) {
        assert!(self.is_done(), "only a fiber that is done gives its stack back");
        let header = self.header;
        let FiberStack(_) = ManuallyDrop::into_inner(self.coroutine).into_stack();
        // SAFETY: nothing runs on the stack any more, `self` is gone, and so the header is read out exactly once.
        let Header { slot, context, .. } = unsafe { header.read() };
        (slot, context)
    }
}

impl<T: 'static> core::fmt::Debug for Fiber<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Fiber").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

/// Puts the resumer back in the slot for the current fiber, also if the switch itself should unwind.
struct Restore(*const Header);

impl Drop for Restore {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// The innermost running fiber, seen from the code that runs on it.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a>(&'a Header);

impl<'a> Here<'a> {
    pub(crate) fn context(self) -> &'a JobContext {
        &self.0.context
    }

    /// Whether this code runs on the parent's stack.
    #[inline]
    pub(crate) fn is_detached(self) -> bool {
        self.0.detached.get()
    }

    /// Switches to whoever resumed this fiber, and returns when it is resumed again.
    ///
    /// # Panics
    ///
    /// If the code runs on the parent's stack.
    #[inline]
    pub(crate) fn suspend(self) {
        assert!(!self.is_detached(), "a fiber is not left from its parent's stack");
        // SAFETY: a fiber that is current has started, so the yielder is set, and it lives on the fiber's stack.
        let yielder = unsafe { &*self.0.yielder.get() };
        yielder.suspend(());
    }
}

/// Calls `f` with the innermost fiber that runs on this thread, if there is one.
#[inline]
pub(crate) fn here<R>(f: impl FnOnce(Here<'_>) -> R) -> Option<R> {
    // No borrow of the thread-local is held across a switch: `get` copies the pointer.
    let header = CURRENT.get();
    if header.is_null() {
        return None;
    }
    // SAFETY: `CURRENT` points to a fiber that is running, below us on this thread. Its header cannot go away before
    // it is done, that is, not before `f` has returned.
    Some(f(Here(unsafe { &*header })))
}

/// Calls `f` with the running job of that name, innermost or not, if it runs on this thread.
pub(crate) fn find<R>(id: JobId, f: impl FnOnce(&JobContext) -> R) -> Option<R> {
    let mut header = CURRENT.get();
    while !header.is_null() {
        // SAFETY: as in `here`; and the fibers that resumed a running fiber are in the middle of that call themselves.
        let running = unsafe { &*header };
        if running.context.id() == id {
            return Some(f(&running.context));
        }
        header = running.parent.get();
    }
    None
}

/// Counts the running fibers of this thread for which `matches` holds.
pub(crate) fn count_running(matches: impl Fn(&JobContext) -> bool) -> usize {
    let mut count = 0;
    let mut header = CURRENT.get();
    while !header.is_null() {
        // SAFETY: as in `find`.
        let running = unsafe { &*header };
        count += usize::from(matches(&running.context));
        header = running.parent.get();
    }
    count
}

/// Runs `f` on the stack from which the current fiber was resumed, or right here if there is none.
pub(crate) fn on_parent_stack<R>(f: impl FnOnce() -> R) -> R {
    let header = CURRENT.get();
    if header.is_null() {
        return f();
    }
    // SAFETY: as in `here`.
    let running = unsafe { &*header };
    if running.detached.replace(true) {
        return f();
    }
    let _attach = Attach(&running.detached);
    // SAFETY: as in `Here::suspend`.
    let yielder = unsafe { &*running.yielder.get() };
    let f = Detached(f);
    yielder.on_parent_stack(move || f.call())
}

/// Ends a stay on the parent's stack.
struct Attach<'a>(&'a Cell<bool>);

impl Drop for Attach<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A closure that cannot reach the yielder of the fiber it was written on.
struct Detached<F>(F);

// SAFETY: nothing is sent anywhere: the closure runs on the thread that made it, before `on_parent_stack` returns.
// corosensei asks for `Send` to keep references to the yielder out of the closure. Here no safe code ever sees one;
// the only way to it is `CURRENT`, and while `detached` is set `Here::suspend` refuses.
unsafe impl<F> Send for Detached<F> {}

impl<F: FnOnce() -> R, R> Detached<F> {
    fn call(self) -> R {
        (self.0)()
    }
}
