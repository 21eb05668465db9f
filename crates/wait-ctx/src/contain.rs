//! Runs foreign code on the thread's own stack and stops its panics.
//!
//! Foreign code is what users of these crates write: callbacks, wakers, devices, checks, computations, and the `Drop` of
//! their values, the payload of a panic included. Three rules hold wherever it is called:
//! 1. No lock of this crate is held.
//! 2. It does not run on a job's stack, which is small and may belong to another session.
//! 3. A panic in it is logged once, with its message, and changes nothing for the caller.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::plant::{self, Bug};

/// Runs its argument on the thread's own stack, once, before it returns.
type StackSwitch = fn(&mut dyn FnMut());

static SWITCH: OnceLock<StackSwitch> = OnceLock::new();

/// A panic of foreign code that was [contained](contain).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} panicked: {cause}")]
#[non_exhaustive]
pub struct Panicked {
    /// The code that panicked, for example `Work::check`.
    pub what: &'static str,
    /// The message of the panic.
    pub cause: String,
}

/// Runs foreign code on the thread's own stack, and catches a panic in it. `what` names the code in the log.
///
/// A panic is logged as the event `foreign.panic`, at level error, with its message. Its payload is dropped; if that
/// panics too, the second payload is leaked. For engines and devices; `job-core` provides the switch of stacks.
///
/// # Errors
/// [`Panicked`], if the code panicked. Values that it was changing stay as the panic left them.
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

/// Drops a foreign value under the rules of [`contain`].
#[inline]
pub fn contain_drop<T>(what: &'static str, value: T) {
    if mem::needs_drop::<T>() {
        let _ = contain(what, || drop(value));
    }
}

/// Registers the switch from small stacks to the thread's own, for libraries that run code on small stacks. From then on
/// [`contain`] uses it, on every thread of the process. `switch` must call its argument once before it returns. Only the
/// first call has an effect; `job-core` makes it with its first pool.
pub fn set_stack_switch(switch: fn(&mut dyn FnMut())) {
    let _ = SWITCH.set(switch);
}

#[cold]
fn log(what: &'static str, payload: Box<dyn Any + Send>) -> Panicked {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let cause = text
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "its payload is not text".to_owned());
    quietly(|| drop(payload));
    // A tracing subscriber is foreign code, too.
    quietly(|| tracing::error!(what, cause, "foreign.panic"));
    Panicked { what, cause }
}

/// Calls `f`. The payload of a panic is leaked: its drop could panic again.
fn quietly(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        mem::forget(payload);
    }
}
