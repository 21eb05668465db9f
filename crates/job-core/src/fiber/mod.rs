//! Everything unsafe: stacks, and switching between them.
//!
//! The rest of the crate is safe code on top of five things: a [`Slab`] that makes and keeps
//! [`Slot`]s (stacks without a fiber), a [`Fiber`] that is a closure on a slot, [`here`] and
//! [`find`] for code that runs on one, [`on_parent_stack`], and [`report_overflows`].
//!
//! # Why it is sound
//!
//! 1. **A stack belongs to one fiber.** A [`Slot`] is neither `Clone` nor `Copy`; making a fiber
//!    consumes it, and only [`Fiber::retire`] leads back to it, after asserting that the closure
//!    has ended. A slot holds its reservation alive, so no stack is unmapped under a fiber, not
//!    even under one that was leaked.
//! 2. **A suspended fiber is never freed.** `Fiber` has no destructor that could: dropping one
//!    leaks it. So the frames on it never lose their memory, and corosensei's own `Drop`, which
//!    unwinds a suspended coroutine and aborts the process if that panics, never sees one. What is
//!    captured and returned is `'static`, so leaking breaks no borrow.
//! 3. **A fiber stays on its thread.** `Fiber` contains a `Coroutine`, which is `!Send`, and the
//!    pointers of `CURRENT` are thread-local. So whatever `!Send` values live on the stack never
//!    change threads.
//! 4. **`CURRENT` names the fiber whose code is running.** `Fiber::resume` sets it and restores it
//!    on every way out. So a reference made from it is used below a frame of that very fiber, and
//!    the header outlives the use.
//! 5. **A fiber is only left from its own stack.** While code runs on the parent's stack the header
//!    says `detached`, and `suspend` refuses.
//! 6. **No unwinding crosses a switch.** The closure runs under `catch_unwind`; what it caught is
//!    handed over as a value.
//! 7. **A fiber that is done owns nothing on its stack.** Its body has written the value where the
//!    resumer wanted it, or left the payload of its panic in the header, and has returned: its
//!    frames are gone. [`Fiber::retire`] drops corosensei's coroutine, after asserting that it is
//!    done, and [`Remains`](switch::Remains) moves out of the header what is left, each
//!    part once.
//! 8. **Below every stack is a guard zone**, and no slot is handed out without one: guard markers
//!    that were seen to fault in this process, or closed memory. What that is worth is said at
//!    [`GUARD_ZONE`](slot::GUARD_ZONE).
//! 9. **Old frames are read as bytes with values only behind an opaque write**, see
//!    [`settled`](slot::settled): they hold padding.
//!
//! # What safe code can still get wrong
//!
//! Fibers break an assumption that some other crates' unsafe code makes: that the frames of a
//! thread end in the reverse of the order in which they began. Code that keeps a pointer to its
//! stack in a thread-local variable while it calls back (scoped thread-locals, some parking and
//! tracing guards), and is entered by two jobs that pause inside it, restores the wrong pointer.
//! Likewise a reference got from `LocalKey::with` must not be held across a pause by a job that may
//! be ended during thread exit, when the variable may be gone. Neither can be seen from here; the
//! crate page tells users.

mod capability;
mod map;
mod overflow;
mod slab;
mod slot;
mod switch;
mod thread_exit;

pub(crate) use capability::is_capable;
pub(crate) use map::{GuardKind, StackError};
pub(crate) use overflow::report_overflows;
pub(crate) use slab::Slab;
pub(crate) use slot::Slot;
pub(crate) use switch::{
    Fiber, Here, Switch, count_running, find, here, on_fiber_stack, on_parent_stack,
    on_thread_stack,
};
pub(crate) use thread_exit::{Kind, epoch, mark_if_due, mark_in_exit, next_mark};
