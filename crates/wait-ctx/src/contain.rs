//! Foreign code, contained: it runs on the thread's own stack, and a panic in it ends there.
//!
//! Foreign is what a user of these crates has written: callbacks, wakers, devices, checks, computations, and the `Drop`
//! of every value of theirs, the payload of a panic included. Three rules hold wherever one of them is called:
//! 1. No lock of ours is held.
//! 2. It does not run on a job's stack, which is small and belongs to a session that may be another one (law L4).
//! 3. A panic in it is logged once, with its message, and changes nothing for the caller.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::plant::{self, Bug};

/// How to run something on the thread's own stack. It calls its argument once, before it returns.
pub type StackSwitch = fn(&mut dyn FnMut());

static SWITCH: OnceLock<StackSwitch> = OnceLock::new();

/// A panic of foreign code that was [contained](contain).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} panicked: {cause}")]
#[non_exhaustive]
pub struct Panicked {
    /// Which code, for example `Work::check`.
    pub what: &'static str,
    /// The message of the panic.
    pub cause: String,
}

/// Runs foreign code on the thread's own stack, and lets no panic out of it. `what` names the code in the log.
///
/// A panic is logged as the event `foreign.panic`, at level error, with its message. Its payload is dropped; if that
/// panics too, what it panicked with is leaked. For engines and devices; `job-core` provides the switch of stacks.
///
/// # Errors
///
/// [`Panicked`], if the code panicked. Whatever it was in the middle of changing is as the panic has left it.
///
/// # Example
/// ```
/// let answer = wait_ctx::contain("the computation", || 6 * 7);
/// assert_eq!(answer, Ok(42));
/// let panicked = wait_ctx::contain("the computation", || panic!("no such key")).unwrap_err();
/// assert_eq!(panicked.to_string(), "the computation panicked: no such key");
/// ```
#[inline]
pub fn contain<R>(what: &'static str, foreign: impl FnOnce() -> R) -> Result<R, Panicked> {
    let mut foreign = Some(foreign);
    let mut outcome = None;
    let mut run = || {
        if let Some(foreign) = foreign.take() {
            let caught = catch_unwind(AssertUnwindSafe(foreign));
            outcome = Some(caught.map_err(|payload| log(what, payload)));
        }
    };
    match SWITCH.get() {
        Some(switch) if !plant::armed(Bug::CallbackOnFiber) => switch(&mut run),
        _ => run(),
    }
    outcome.expect("a stack switch runs what it is given")
}

/// Drops a foreign value as [`contain`] runs foreign code.
#[inline]
pub fn contain_drop<T>(what: &'static str, value: T) {
    if mem::needs_drop::<T>() {
        let _ = contain(what, || drop(value));
    }
}

/// Names the way off small stacks, for a library that runs code on such: from then on [`contain`] takes it, on every
/// thread of the process. The first one named stays; `job-core` does this with its first pool.
pub fn set_stack_switch(switch: StackSwitch) {
    let _ = SWITCH.set(switch);
}

#[cold]
fn log(what: &'static str, payload: Box<dyn Any + Send>) -> Panicked {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let cause = text
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "its payload is not text".to_owned());
    quietly(|| drop(payload));
    // A subscriber is foreign code, too.
    quietly(|| tracing::error!(what, cause, "foreign.panic"));
    Panicked { what, cause }
}

/// Calls `f`. What it panics with may panic when it is dropped, and so on: it is not dropped.
fn quietly(f: impl FnOnce()) {
    if let Err(endless) = catch_unwind(AssertUnwindSafe(f)) {
        mem::forget(endless);
    }
}
