//! The edge to C: no panic crosses it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::complaint::say;

/// Runs the body of a C function. If it panics, which would be a mistake in this library, the caller gets `failed`.
#[inline]
pub(crate) fn guard<R>(failed: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        say("a function of this library has panicked, and returns its code for an error");
        failed
    })
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
