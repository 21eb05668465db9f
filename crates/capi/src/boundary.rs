//! The edge to C: no panic crosses it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::complaint::say;

/// Runs the body of a C function. If it panics, which would be a mistake in this library, the caller gets `failed`.
#[inline]
pub(crate) fn guard<R>(failed: R, body: impl FnOnce() -> R) -> R {
    contain(body).unwrap_or_else(|| {
        say("a function of this library has panicked, and returns its code for an error");
        failed
    })
}

/// Runs code that may panic: `None` if it has. What it has changed by then, the caller puts right.
#[inline(always)]
pub(crate) fn contain<R>(body: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => Some(result),
        Err(payload) => {
            // Its destructor is foreign code, too.
            std::mem::forget(payload);
            None
        }
    }
}

/// Writes a result where the caller wants it, if anywhere.
///
/// # Safety
///
/// `place` is null, or valid to write a `T` to.
#[inline]
pub(crate) unsafe fn put<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: as the caller asserts.
        unsafe { place.write(value) };
    }
}
