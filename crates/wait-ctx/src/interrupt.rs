//! Stops a completion right after its wake, for the kit.
//!
//! The stop is an unwinding that no panic hook sees. Only the thread that armed it is stopped, so an engine whose device
//! has a thread of its own completes as usual.

use std::any::Any;
use std::cell::Cell;
use std::panic::resume_unwind;

thread_local!(static ARMED: Cell<bool> = const { Cell::new(false) });

/// The payload of the unwinding.
struct Interrupted;

/// Makes the next [`Claim::wake`](crate::Claim::wake) on this thread unwind after it has published and woken.
pub(crate) fn arm() {
    ARMED.set(true);
}

/// Disarms, and returns whether a completion was stopped since [`arm`].
pub(crate) fn has_struck() -> bool {
    !ARMED.replace(false)
}

/// Whether `payload` is the payload of a stopped completion.
pub(crate) fn is_payload(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Interrupted>()
}

/// Unwinds if this thread is armed. Called at the end of `Claim::wake`.
pub(crate) fn after_wake() {
    if ARMED.replace(false) {
        resume_unwind(Box::new(Interrupted));
    }
}
