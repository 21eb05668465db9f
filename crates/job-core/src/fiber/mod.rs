//! Everything unsafe: stacks, and switching between them.
//!
//! The rest of the crate is safe code on top of a [`Slab`], which makes and keeps [`Slot`]s (stacks
//! without a fiber), a [`Fiber`], which is a closure on a slot with a payload of any type beside it,
//! [`with_running`] and [`find_running`] for code that runs on one, [`on_parent_stack`], and
//! [`report_overflows`]. Nothing in here knows what the payload is.
//!
//! # Why it is sound
//!
//! 1. **A stack belongs to one fiber.** A [`Slot`] is neither `Clone` nor `Copy`; making a fiber
//!    consumes it, and only [`Fiber::retire`] returns it, after asserting that the closure has
//!    ended. A slot holds its reservation alive, so no stack is unmapped under a fiber, not
//!    even under one that was leaked.
//! 2. **A suspended fiber is never freed.** `Fiber` has no destructor that could: dropping one
//!    leaks it. So the frames on it never lose their memory, and corosensei's own `Drop`, which
//!    unwinds a suspended coroutine and aborts the process if that panics, never sees one. What is
//!    captured and returned is `'static`, so leaking breaks no borrow.
//! 3. **A fiber stays on its thread.** `Fiber` is a pointer, so it is `!Send`, and the pointers of
//!    `CURRENT` are thread-local. So `!Send` values on the stack never change threads.
//! 4. **`CURRENT` points to the fiber whose code is running.** `Fiber::resume` sets it and restores
//!    it on every way out. So a reference made from it is used below a frame of that very fiber, and
//!    the header outlives the use. A payload is only reached as the type it was made with: the
//!    header has its `TypeId`.
//! 5. **A fiber is only left from its own stack.** While code runs on the parent's stack the header
//!    says `detached`, and `suspend` refuses.
//! 6. **No unwinding crosses a switch.** The closure runs under `catch_unwind`, and a panic is
//!    passed on as a value.
//! 7. **A fiber that is done owns nothing on its stack.** Its body has written the value to memory
//!    of the resumer, or the payload of its panic to the header, and has returned: its frames are
//!    gone. [`Fiber::retire`] drops corosensei's coroutine, after asserting that it is done, and
//!    moves the slot and the payload out of the header, each once.
//! 8. **Below every stack is a guard zone**, and no slot is made without one: guard markers that
//!    were seen to fault in this process, or closed memory. [`GUARD_ZONE`](slot::GUARD_ZONE) says
//!    which overflows it catches.
//! 9. **Old frames are read as integers only behind an opaque write**, see `frozen` in
//!    `slot.rs`: they hold padding.
//!
//! Other crates' unsafe code may assume that the frames of a thread end in the reverse of the order
//! in which they began. Fibers break that, which this module cannot detect: the crate page says
//! where not to pause.

mod capability;
mod map;
mod overflow;
mod slab;
mod slot;
mod switch;
mod thread_exit;

pub use capability::is_capable;
pub(crate) use map::StackError;
pub use map::StackGuard;
pub use overflow::report_overflows;
pub(crate) use slab::Slab;
pub(crate) use slot::Slot;
pub(crate) use switch::{
    Fiber, RunningFiber, Switch, count_running, find_running, on_fiber_stack, on_parent_stack,
    on_thread_stack, with_running,
};
pub(crate) use thread_exit::{
    ClosureType, epoch, next_sentinel, register_sentinel, sentinel_if_due,
};
