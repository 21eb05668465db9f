//! Calls a function when a thread ends.
//!
//! Not by the `Drop` of a `thread_local!`: `exit` drops those of the thread that calls it, too, while other threads run on
//! and devices write to the stacks of paused jobs. The destructor of a `pthread_key_t` is called only when its thread has
//! ended, and after those drops. OpenSSL does it so, too.

use std::ffi::c_void;
use std::mem::transmute;
use std::sync::OnceLock;

use crate::boundary::guard;
use crate::load;

/// Calls `f` when this thread ends, however often this was called. Where the process has no key left, the thread leaks what
/// `f` would free.
#[cold]
pub(crate) fn call_at_end(f: fn()) {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();

    if let Some(key) = KEY.get_or_init(make_key) {
        // SAFETY: a key that is never deleted. If there is no memory, the function is not called.
        let _ = unsafe { libc::pthread_setspecific(*key, f as *const c_void) };
    }
}

fn make_key() -> Option<libc::pthread_key_t> {
    load::stay_loaded();
    let mut key = 0;
    // SAFETY: the place is ours, and the function is not unloaded from now on.
    let failed = unsafe { libc::pthread_key_create(&raw mut key, Some(ended)) };
    (failed == 0).then_some(key)
}

/// Called with what was stored, unless it is null.
unsafe extern "C" fn ended(stored: *mut c_void) {
    // SAFETY: `call_at_end` stores such functions under this key, and nothing else does.
    let f = unsafe { transmute::<*mut c_void, fn()>(stored) };
    guard((), f);
}
