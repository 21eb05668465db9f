//! The fiber itself: a started closure on a slot, switched to and away from.

use core::any::Any;
use core::cell::{Cell, UnsafeCell};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::slot::Slot;
use crate::context::{JobContext, Leftovers};
use crate::job::JobId;
use crate::pool::PoolInner;

/// Closures larger than this go to the heap: they are passed by value on the stack of the fiber.
const MAX_INLINE_CLOSURE: usize = 512;

thread_local! {
    /// The innermost running fiber of this thread.
    static CURRENT: Cell<*const Header> = const { Cell::new(ptr::null()) };
}

/// What lies at the base of a fiber's stack while the fiber exists.
///
/// Beside the frames, not in the handle: the handle is then one pointer, cheap to move, and
/// switching to a fiber that has left the cache finds both close together. What a switch touches
/// comes first.
#[repr(C, align(64))]
pub(super) struct Header {
    context: JobContext,
    /// The fiber that resumed this one, or null. Meaningful while this fiber runs.
    parent: Cell<*const Self>,
    coroutine: UnsafeCell<Coroutine<(), (), (), FiberStack>>,
    /// Where the resumer wants the value: memory for a `T`. Set at every resume, valid until that
    /// returns.
    value: Cell<*mut ()>,
    /// Where the fiber switches back to. Set by the fiber as its first act, valid to its end.
    yielder: Cell<*const Yielder<(), ()>>,
    /// Whether the fiber's code is running on its parent's stack, from where it must not switch.
    detached: Cell<bool>,
    outcome: Cell<Outcome>,
    panic: Cell<Option<Panic>>,
    /// The stack, including the memory of this header.
    slot: Slot,
}

/// Bytes to leave above the base of a stack for the header. Its alignment makes it whole cache
/// lines.
pub(super) const HEADER_ROOM: usize = size_of::<Header>();

/// What the closure has come to.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Running,
    /// The value is where the resumer wanted it.
    Returned,
    /// The payload is in the header.
    Panicked,
}

/// The payload of a panic.
type Panic = Box<dyn Any + Send>;

/// What came of switching to a fiber.
pub(crate) enum Switch<T> {
    /// It has suspended itself.
    Paused,
    /// Its closure has returned.
    Returned(T),
    /// Its closure has panicked.
    Panicked(Panic),
}

/// A fiber's stack, as corosensei wants it: two numbers. The slot itself is in the header.
///
/// Numbers and not a way to the header, because corosensei asks for both while it prepares the
/// stack, before there is a header.
struct FiberStack {
    base: StackPointer,
    /// Where the guard zone begins, which counts.
    limit: StackPointer,
}

impl FiberStack {
    #[inline]
    fn of(slot: &Slot) -> Self {
        Self { base: slot.base().addr(), limit: slot.guard_start() }
    }
}

// SAFETY: both numbers are of one slot, which the fiber owns for as long as corosensei uses the
// stack: `Fiber::retire` takes the slot back only from a coroutine that is done. Below the usable
// bytes of a slot is its guard zone (`Slab::make` hands out no slot without one), there are at least
// `MIN_STACK_SIZE` of them (`Slab::new` asserts it), and both ends are aligned to 64 bytes.
unsafe impl Stack for FiberStack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// A fiber between two switches: about to start, suspended, or done.
///
/// Dropping one **leaks** it, with its stack and everything on it. That is sound, and it is what
/// quarantine means; ending a fiber properly is the business of the cancel protocol.
pub(crate) struct Fiber<T: 'static> {
    header: NonNull<Header>,
    returns: PhantomData<fn() -> T>,
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
        let body = move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: this runs on the fiber, and the header stays in place until the fiber is
            // done.
            let header = unsafe { header.as_ref() };
            header.yielder.set(yielder);
            let outcome = match catch_unwind(AssertUnwindSafe(f)) {
                Ok(value) => {
                    let wanted_at = header.value.get().cast::<T>();
                    // SAFETY: whoever resumed us is in `Fiber::<T>::resume`, which pointed this at
                    // its own memory for a `T`.
                    unsafe { wanted_at.write(value) };
                    Outcome::Returned
                }
                Err(panic) => {
                    header.panic.set(Some(panic));
                    Outcome::Panicked
                }
            };
            header.outcome.set(outcome);
        };
        let stack = FiberStack::of(&slot);
        let coroutine = UnsafeCell::new(Coroutine::with_stack(stack, body));
        let content = Header {
            context,
            parent: Cell::new(ptr::null()),
            coroutine,
            value: Cell::new(ptr::null_mut()),
            yielder: Cell::new(ptr::null()),
            detached: Cell::new(false),
            outcome: Cell::new(Outcome::Running),
            panic: Cell::new(None),
            slot,
        };
        // SAFETY: a slot has `HEADER_ROOM` bytes above its base, aligned to 64 bytes, and this one
        // is ours. Nothing has read the header yet: the body does at its first resume, and
        // corosensei only knows the two numbers.
        unsafe { header.write(content) };
        Self { header, returns: PhantomData }
    }

    /// Runs the fiber until it suspends or its closure has ended. After that only
    /// [`retire`](Self::retire) is left.
    ///
    /// # Panics
    ///
    /// If the closure has ended before.
    #[inline]
    pub(crate) fn resume(&mut self) -> Switch<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let header = self.header();
        header.value.set(value.as_mut_ptr().cast());
        let parent = CURRENT.replace(header);
        header.parent.set(parent);
        let restore = Restore(parent);
        // SAFETY: the only other use of the coroutine is in `retire`, which needs the fiber that is
        // mutably borrowed here, and code on the fiber itself never touches it.
        let coroutine = unsafe { &mut *header.coroutine.get() };
        let switched = coroutine.resume(());
        drop(restore);
        if switched == CoroutineResult::Yield(()) {
            return Switch::Paused;
        }
        match header.outcome.get() {
            Outcome::Returned => {
                // SAFETY: the body has written a `T` where `header.value` pointed, which this call
                // had set to `value`, and only then said `Returned`. It has run since: a fiber that
                // is done cannot be resumed.
                Switch::Returned(unsafe { value.assume_init() })
            }
            Outcome::Panicked => {
                Switch::Panicked(header.panic.take().expect("the body leaves the payload first"))
            }
            Outcome::Running => unreachable!("a body says what it has come to before it ends"),
        }
    }

    /// Leaks the fiber, its stack and everything on it.
    pub(crate) fn abandon(self) {
        // Nothing to do: there is no destructor. The header keeps its slot, and so the memory under
        // itself, for ever.
        let Self { header: _, returns: _ } = self;
    }

    /// The job this fiber belongs to.
    #[inline]
    pub(crate) fn context(&self) -> &JobContext {
        &self.header().context
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: written in `on_slot`, read out only after `retire`, which consumes the fiber. No
        // mutable reference to it is ever made; what changes is in cells.
        unsafe { self.header.as_ref() }
    }

    /// Puts a fiber away whose closure has ended.
    ///
    /// # Panics
    ///
    /// If it has not: its frames would lose their stack.
    #[inline]
    pub(crate) fn retire(self) -> Remains {
        // SAFETY: as in `resume`; a fiber that is owned is not borrowed.
        let coroutine = unsafe { &*self.header().coroutine.get() };
        assert!(coroutine.done(), "only a fiber that is done gives its stack back");
        // One that is done has nothing to unwind and owns nothing. But this tells the address
        // sanitizer, where there is one, that no frame is left on the stack.
        // SAFETY: the fiber is consumed, so this happens once, and the coroutine is not used after
        // that.
        unsafe { self.header().coroutine.get().drop_in_place() };
        Remains { header: self.header }
    }
}

/// What is left of a fiber that is done: its stack, and the state of its job.
///
/// The state stays where it is, since copying what was just written field by field would stall.
/// Leaks if dropped.
pub(crate) struct Remains {
    header: NonNull<Header>,
}

impl Remains {
    #[inline]
    pub(crate) fn context(&self) -> &JobContext {
        // SAFETY: the fiber that owned the header is gone, and its memory is ours until
        // `into_parts`.
        unsafe { &self.header.as_ref().context }
    }

    /// The stack, free for another job, its pool, and what the job leaves behind.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (Slot, Rc<PoolInner>, Option<Leftovers>) {
        // SAFETY: as in `context`.
        let header = unsafe { self.header.as_ref() };
        // Field by field: a copy of the whole, parts of which were just written, would stall.
        // SAFETY: `self` is consumed, so each of the two is read out once, and the header is not
        // used after that.
        let slot = unsafe { ptr::from_ref(&header.slot).read() };
        // SAFETY: as above.
        let context = unsafe { ptr::from_ref(&header.context).read() };
        let (pool, leftovers) = context.into_parts();
        (slot, pool, leftovers)
    }
}

/// Puts the resumer back in the slot for the current fiber, also if the switch itself should
/// unwind.
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
        // SAFETY: a fiber that is current has started, so the yielder is set, and it lives on the
        // fiber's stack.
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
    // SAFETY: `CURRENT` points to a fiber that is running, below us on this thread. Its header
    // cannot go away before it is done, that is, not before `f` has returned.
    Some(f(Here(unsafe { &*header })))
}

/// Calls `f` with the running job of that name, innermost or not, if it runs on this thread.
pub(crate) fn find<R>(id: JobId, f: impl FnOnce(&JobContext) -> R) -> Option<R> {
    let mut header = CURRENT.get();
    while !header.is_null() {
        // SAFETY: as in `here`; and the fibers that resumed a running fiber are in the middle of
        // that call themselves.
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

/// The running job of this thread in whose guard zone `address` lies, and the bytes its frames had.
///
/// Async-signal-safe: it reads one thread-local pointer and headers of fibers that are running, and
/// nothing writes to what it reads while they do.
pub(super) fn overflowed(address: usize) -> Option<(JobId, usize)> {
    let mut header = CURRENT.get();
    while !header.is_null() {
        // SAFETY: as in `find`.
        let running = unsafe { &*header };
        let zone = running.slot.guard_start().get()..running.slot.limit().addr().get();
        if zone.contains(&address) {
            return Some((running.context.id(), running.slot.usable()));
        }
        header = running.parent.get();
    }
    None
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

/// Calls `f` on the thread's own stack: that from which the outermost running fiber was resumed.
pub(crate) fn on_thread_stack(f: &mut dyn FnMut()) {
    leave(CURRENT.get(), f);
}

/// Leaves `header` and the fibers around it, one after the other, and calls `f` below them all.
fn leave(header: *const Header, f: &mut dyn FnMut()) {
    if header.is_null() {
        return f();
    }
    // SAFETY: as in `find`.
    let running = unsafe { &*header };
    let parent = running.parent.get();
    // A fiber that is detached was left already, and all code since then has run below it.
    if running.detached.replace(true) {
        return leave(parent, f);
    }
    let _attach = Attach(&running.detached);
    // SAFETY: as in `Here::suspend`. This code runs on the stack of that very fiber, since the
    // fibers inside it were left before.
    let yielder = unsafe { &*running.yielder.get() };
    let f = Detached(move || leave(parent, f));
    yielder.on_parent_stack(move || f.call());
}

/// Whether this code runs on the stack of a fiber.
pub(crate) fn on_fiber_stack() -> bool {
    let mut header = CURRENT.get();
    while !header.is_null() {
        // SAFETY: as in `find`.
        let running = unsafe { &*header };
        if !running.detached.get() {
            return true;
        }
        header = running.parent.get();
    }
    false
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

// SAFETY: nothing is sent anywhere: the closure runs on the thread that made it, before
// `on_parent_stack` returns. corosensei asks for `Send` to keep references to the yielder out of
// the closure. Here no safe code ever sees one; the only way to it is `CURRENT`, and while
// `detached` is set `Here::suspend` refuses.
unsafe impl<F> Send for Detached<F> {}

impl<F: FnOnce() -> R, R> Detached<F> {
    fn call(self) -> R {
        (self.0)()
    }
}
