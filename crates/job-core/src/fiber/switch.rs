//! Fibers: a closure on a stack of its own, switched to and away from.

use core::any::{Any, TypeId};
use core::cell::{Cell, UnsafeCell};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::panic::{AssertUnwindSafe, catch_unwind};

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::slot::{HEADER_ROOM, Slot};

/// Closures larger than this are boxed: corosensei passes them by value on the fiber's stack.
const MAX_INLINE_CLOSURE: usize = 512;

thread_local! {
    /// The innermost running fiber of this thread.
    static CURRENT: Cell<Option<NonNull<Head>>> = const { Cell::new(None) };
}

/// The header at the base of a fiber's stack, with the payload that the fiber was made with.
///
/// It lies beside the frames and not in the handle, so that the handle is one pointer and a switch
/// to a fiber that is no longer cached finds both close together.
#[repr(C, align(64))]
struct Header<P> {
    /// First, so that a pointer to the header is one to the head.
    head: Head,
    payload: P,
}

/// The part of the header that is the same for every payload. The first cache line is what a switch
/// touches.
#[repr(C)]
struct Head {
    /// The fiber that resumed this one. Meaningful while this fiber runs.
    parent: Cell<Option<NonNull<Self>>>,
    coroutine: UnsafeCell<Coroutine<(), (), (), FiberStack>>,
    /// Memory of the resumer for the value, a `T`. Set at every resume, valid until that returns.
    value: Cell<*mut ()>,
    /// Switches back to the resumer. Set by the fiber as its first act, valid to its end.
    yielder: Cell<*const Yielder<(), ()>>,
    /// The type of the payload.
    payload_type: TypeId,
    name: u64,
    panic: Cell<Option<Panic>>,
    /// The stack, which includes the memory of this header.
    slot: Slot,
    // Last: beside padding, fields are copied through the stack when the header is made, which
    // costs a quarter of a start.
    /// Whether the fiber's code runs on its parent's stack, from where it must not switch.
    detached: Cell<bool>,
    outcome: Cell<Outcome>,
}

/// How the closure ended.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Running,
    /// The value is in the resumer's memory.
    Returned,
    /// The payload is in the header.
    Panicked,
}

/// The payload of a panic.
type Panic = Box<dyn Any + Send>;

/// Result of a switch to a fiber.
pub(crate) enum Switch<T> {
    /// The fiber suspended itself.
    Paused,
    Returned(T),
    Panicked(Panic),
}

/// Both ends of a fiber's stack, as corosensei asks for them while it prepares the stack, before
/// there is a header.
struct FiberStack {
    base: StackPointer,
    /// The start of the guard zone, which corosensei counts as part of the stack.
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
/// Dropping one **leaks** it, with its stack and everything on it, which is sound.
pub(crate) struct Fiber<P: 'static, T: 'static> {
    header: NonNull<Header<P>>,
    returns: PhantomData<fn() -> T>,
}

impl<P: 'static, T: 'static> Fiber<P, T> {
    /// Puts `f` on a stack. It runs at the first [`resume`](Self::resume). `name` tells the fiber
    /// from others of its thread.
    #[inline]
    pub(crate) fn new<F: FnOnce() -> T + 'static>(slot: Slot, name: u64, payload: P, f: F) -> Self {
        if size_of::<F>() > MAX_INLINE_CLOSURE {
            Self::on_slot(slot, name, payload, Box::new(f))
        } else {
            Self::on_slot(slot, name, payload, f)
        }
    }

    #[inline]
    fn on_slot<F: FnOnce() -> T + 'static>(slot: Slot, name: u64, payload: P, f: F) -> Self {
        const { assert!(size_of::<Header<P>>() <= HEADER_ROOM && align_of::<Header<P>>() == 64) };
        let header = slot.base().cast::<Header<P>>();
        let body = move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: this runs on the fiber, and the header stays in place until the fiber is
            // done.
            let head = unsafe { &header.as_ref().head };
            head.yielder.set(yielder);
            let outcome = match catch_unwind(AssertUnwindSafe(f)) {
                Ok(value) => {
                    let wanted_at = head.value.get().cast::<T>();
                    // SAFETY: the resumer is in `Fiber::<P, T>::resume`, which pointed this at its
                    // own memory for a `T`.
                    unsafe { wanted_at.write(value) };
                    Outcome::Returned
                }
                Err(panic) => {
                    head.panic.set(Some(panic));
                    Outcome::Panicked
                }
            };
            head.outcome.set(outcome);
        };
        let stack = FiberStack::of(&slot);
        let head = Head {
            parent: Cell::new(None),
            coroutine: UnsafeCell::new(Coroutine::with_stack(stack, body)),
            value: Cell::new(ptr::null_mut()),
            yielder: Cell::new(ptr::null()),
            payload_type: TypeId::of::<P>(),
            name,
            panic: Cell::new(None),
            slot,
            detached: Cell::new(false),
            outcome: Cell::new(Outcome::Running),
        };
        // SAFETY: a slot has `HEADER_ROOM` bytes above its base, aligned to 64 bytes, which is
        // enough, says the assertion above, and this slot is ours. Nothing has read the header yet:
        // the body does at its first resume, and corosensei only knows the two numbers.
        unsafe { header.write(Header { head, payload }) };
        Self { header, returns: PhantomData }
    }

    /// Runs the fiber until it suspends or its closure ends. After that only
    /// [`retire`](Self::retire) is allowed.
    ///
    /// # Panics
    ///
    /// If the closure has ended before.
    #[inline(always)]
    pub(crate) fn resume(&mut self) -> Switch<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let head = &self.header().head;
        head.value.set(value.as_mut_ptr().cast());
        // Not a pointer to `head`: the payload is reached from this one, too.
        let parent = CURRENT.replace(Some(self.header.cast()));
        head.parent.set(parent);
        let restore = Restore(parent);
        // SAFETY: the only other use of the coroutine is in `retire`, which needs the fiber that is
        // mutably borrowed here, and code on the fiber itself never touches it.
        let coroutine = unsafe { &mut *head.coroutine.get() };
        let switched = coroutine.resume(());
        drop(restore);
        if switched == CoroutineResult::Yield(()) {
            return Switch::Paused;
        }
        match head.outcome.get() {
            Outcome::Returned => {
                // SAFETY: the body has written a `T` where `head.value` pointed, which this call
                // had set to `value`, and only then said `Returned`. It has run since: a fiber that
                // is done cannot be resumed.
                Switch::Returned(unsafe { value.assume_init() })
            }
            Outcome::Panicked => {
                Switch::Panicked(head.panic.take().expect("the body stores the payload first"))
            }
            Outcome::Running => unreachable!("a body stores its outcome before it ends"),
        }
    }

    /// Takes the stack and the payload back from a suspended fiber. Its frames are forgotten where they stand: nothing
    /// on them runs or is dropped.
    ///
    /// # Safety
    ///
    /// No code and no device uses what lies on the stack from now on, and no frame on it owns something that must be
    /// dropped before its memory is used for something else.
    pub(crate) unsafe fn forget_frames(self) -> (Slot, P) {
        // SAFETY: as in `resume`; a fiber that is owned is not borrowed.
        let coroutine = unsafe { &mut *self.header().head.coroutine.get() };
        // SAFETY: the caller vouches for what is on the stack.
        unsafe { coroutine.force_reset() };
        self.retire()
    }

    /// Leaks the fiber, its stack and everything on it.
    pub(crate) fn abandon(self) {
        // There is no destructor. The header keeps its slot, and so the memory under itself.
        let Self { header: _, returns: _ } = self;
    }

    #[inline]
    pub(crate) fn name(&self) -> u64 {
        self.header().head.name
    }

    #[inline]
    pub(crate) fn payload(&self) -> &P {
        &self.header().payload
    }

    #[inline]
    fn header(&self) -> &Header<P> {
        // SAFETY: written in `on_slot`, moved out of only in `retire`, which consumes the fiber. No
        // mutable reference to it is ever made; what changes is in cells.
        unsafe { self.header.as_ref() }
    }

    /// Takes the stack and the payload back from a fiber whose closure has ended.
    ///
    /// # Panics
    ///
    /// If it has not: its frames would lose their stack.
    // Inlined, so that of the payload only the fields in use are read: a copy of the whole, parts
    // of which were just written, would stall.
    #[inline(always)]
    pub(crate) fn retire(self) -> (Slot, P) {
        let header = self.header();
        let coroutine = header.head.coroutine.get();
        // SAFETY: as in `resume`; a fiber that is owned is not borrowed.
        let is_done = unsafe { &*coroutine }.done();
        assert!(is_done, "only a fiber that is done gives its stack back");
        // A coroutine that is done has nothing to unwind and owns nothing. But its drop tells the
        // address sanitizer, where there is one, that no frame is left on the stack.
        // SAFETY: the fiber is consumed, so this happens once, and the coroutine is not used after
        // that.
        unsafe { coroutine.drop_in_place() };
        // SAFETY: the fiber is consumed, so each of the two is read out once, and the header is not
        // used after that.
        let slot = unsafe { ptr::from_ref(&header.head.slot).read() };
        // SAFETY: as above.
        let payload = unsafe { ptr::from_ref(&header.payload).read() };
        (slot, payload)
    }
}

/// Makes the resumer the current fiber again, also if the switch itself unwinds.
struct Restore(Option<NonNull<Head>>);

impl Drop for Restore {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// A running fiber with a payload of type `P`, seen by code that runs on it.
pub(crate) struct RunningFiber<'a, P> {
    head: &'a Head,
    payload: &'a P,
}

impl<'a, P: 'static> RunningFiber<'a, P> {
    /// The fiber itself, if its payload is a `P`.
    ///
    /// # Safety
    ///
    /// `running` is [`CURRENT`] or an ancestor of it, and stays so during `'a`.
    #[inline]
    unsafe fn new(running: NonNull<Head>) -> Option<Self> {
        // SAFETY: a running fiber is in the middle of a resume, and so is each that resumed it; the
        // header of neither goes away before that.
        let head: &Head = unsafe { running.as_ref() };
        if head.payload_type != TypeId::of::<P>() {
            return None;
        }
        // SAFETY: the pointer was made from one to a `Header` with that payload, in `resume`.
        let payload = unsafe { &running.cast::<Header<P>>().as_ref().payload };
        Some(Self { head, payload })
    }

    #[inline]
    pub(crate) fn name(&self) -> u64 {
        self.head.name
    }

    #[inline]
    pub(crate) fn payload(&self) -> &'a P {
        self.payload
    }

    /// Whether this code runs on the parent's stack.
    #[inline]
    pub(crate) fn is_detached(&self) -> bool {
        self.head.detached.get()
    }

    /// Switches to the resumer of this fiber, and returns when the fiber is resumed again.
    ///
    /// # Panics
    ///
    /// If the code runs on the parent's stack.
    #[inline]
    pub(crate) fn suspend(&self) {
        assert!(!self.is_detached(), "a fiber is not left from its parent's stack");
        // SAFETY: `new` took the head of a running fiber.
        let yielder = unsafe { self.head.yielder() };
        yielder.suspend(());
    }
}

/// Calls `f` with the innermost fiber that runs on this thread, if there is one and its payload is
/// a `P`.
#[inline]
pub(crate) fn with_running<P: 'static, R>(f: impl FnOnce(RunningFiber<'_, P>) -> R) -> Option<R> {
    // `get` copies the pointer: no borrow of the thread-local is held across a switch.
    let current = CURRENT.get()?;
    // SAFETY: it is the current fiber, and is again whenever `f` runs, which is on it.
    unsafe { RunningFiber::new(current) }.map(f)
}

/// Calls `f` with each fiber that runs on this thread, innermost first, until it returns something.
#[inline]
fn find_map<R>(mut f: impl FnMut(NonNull<Head>, &Head) -> Option<R>) -> Option<R> {
    let mut next = CURRENT.get();
    while let Some(running) = next {
        // SAFETY: as in `RunningFiber::new`.
        let head = unsafe { running.as_ref() };
        let found = f(running, head);
        if found.is_some() {
            return found;
        }
        next = head.parent.get();
    }
    None
}

/// Calls `f` with the payload of the fiber of that name, if it runs on this thread, innermost or
/// not.
pub(crate) fn find_running<P: 'static, R>(name: u64, f: impl FnOnce(&P) -> R) -> Option<R> {
    let running = find_map(|running, head| (head.name == name).then_some(running))?;
    // SAFETY: found on the chain of running fibers just now; `f` does not outlast this call, which
    // runs on the innermost of them.
    unsafe { RunningFiber::new(running) }.map(|fiber| f(fiber.payload))
}

/// Counts the running fibers of this thread whose payload `matches`.
pub(crate) fn count_running<P: 'static>(matches: impl Fn(&P) -> bool) -> usize {
    let mut count = 0;
    find_map(|running, _| {
        // SAFETY: on the chain of running fibers, and dropped at once.
        let fiber = unsafe { RunningFiber::<P>::new(running) };
        count += usize::from(fiber.is_some_and(|fiber| matches(fiber.payload)));
        None::<()>
    });
    count
}

/// The name of the running fiber in whose guard zone `address` lies, and its usable stack in bytes.
///
/// Async-signal-safe: it reads a thread-local pointer and headers of running fibers, and nothing
/// writes to what it reads while they run.
pub(super) fn overflowed(address: usize) -> Option<(u64, usize)> {
    find_map(|_, head| {
        let zone = head.slot.guard_start().get()..head.slot.limit().addr().get();
        zone.contains(&address).then(|| (head.name, head.slot.usable()))
    })
}

/// Runs `f` on the stack from which the current fiber was resumed, or right here if there is none.
pub(crate) fn on_parent_stack<R>(f: impl FnOnce() -> R) -> R {
    match CURRENT.get() {
        Some(current) => {
            // SAFETY: as in `RunningFiber::new`.
            let head = unsafe { current.as_ref() };
            // SAFETY: it is the current fiber, which runs.
            unsafe { head.detach(f) }
        }
        None => f(),
    }
}

/// Calls `f` on the thread's own stack: that from which the outermost running fiber was resumed.
pub(crate) fn on_thread_stack(f: &mut dyn FnMut()) {
    detach_all(CURRENT.get(), f);
}

/// Calls `f` below `fiber` and all that resumed it.
fn detach_all(fiber: Option<NonNull<Head>>, f: &mut dyn FnMut()) {
    let Some(running) = fiber else { return f() };
    // SAFETY: as in `RunningFiber::new`.
    let head = unsafe { running.as_ref() };
    // SAFETY: it runs, as the current fiber or one that resumed it.
    unsafe { head.detach(|| detach_all(head.parent.get(), f)) };
}

impl Head {
    /// # Safety
    ///
    /// The fiber runs: it is [`CURRENT`] or an ancestor of it.
    #[inline]
    unsafe fn yielder(&self) -> &Yielder<(), ()> {
        // SAFETY: a running fiber has set the yielder as its first act, and it lives on that
        // fiber's stack.
        unsafe { &*self.yielder.get() }
    }

    /// Runs `f` on the stack from which this running fiber was resumed. Every running fiber inside
    /// this one is detached already, so the code runs on this fiber's stack or, if it is detached
    /// too, below it.
    ///
    /// # Safety
    ///
    /// As of [`yielder`](Self::yielder).
    unsafe fn detach<R>(&self, f: impl FnOnce() -> R) -> R {
        if self.detached.replace(true) {
            return f();
        }
        let _attach = Attach(&self.detached);
        let f = Detached(f);
        // SAFETY: as the caller asserts.
        let yielder = unsafe { self.yielder() };
        yielder.on_parent_stack(move || f.call())
    }
}

/// Whether this code runs on the stack of a fiber.
pub(crate) fn on_fiber_stack() -> bool {
    find_map(|_, head| (!head.detached.get()).then_some(())).is_some()
}

/// Clears the flag when the code returns to the fiber's own stack.
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
// `detached` is set `RunningFiber::suspend` refuses.
unsafe impl<F> Send for Detached<F> {}

impl<F: FnOnce() -> R, R> Detached<F> {
    fn call(self) -> R {
        (self.0)()
    }
}
