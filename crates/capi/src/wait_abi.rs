//! The functions of `ASYNC_WAIT_CTX_new(3)`. A context that is null, freed or foreign is an error everywhere.

use std::ffi::{c_int, c_void};
use std::ptr;

use crate::boundary::{guard, put};
use crate::thread;
use crate::wait::{Callback, Cleanup, Opaque, WaitRecord};

/// Makes a wait context; null if there is no memory.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_new() -> *mut c_void {
    guard(ptr::null_mut(), || WaitRecord::new().map_or(ptr::null_mut(), WaitRecord::address))
}

/// Runs the cleanups of a wait context and frees it. A job of it that is paused can no longer be resumed.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_free(ctx: *mut c_void) {
    guard((), || {
        if !ctx.is_null() {
            WaitRecord::free(ctx);
            thread::settle();
        }
    });
}

/// Registers a descriptor under a key.
///
/// # Safety
///
/// `cleanup` may be called once with the other arguments, at the latest when the context is freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ASYNC_WAIT_CTX_set_wait_fd(
    ctx: *mut c_void,
    key: *const c_void,
    fd: c_int,
    custom_data: *mut c_void,
    cleanup: Option<Cleanup>,
) -> c_int {
    with_for_engine(ctx, |wait| wait.set_wait_fd(key, fd, custom_data, cleanup))
}

/// Finds the newest descriptor of a key.
///
/// # Safety
///
/// Both places are null or valid to write to.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ASYNC_WAIT_CTX_get_fd(
    ctx: *mut c_void,
    key: *const c_void,
    fd: *mut c_int,
    custom_data: *mut *mut c_void,
) -> c_int {
    with_for_engine(ctx, |wait| {
        let Some((number, custom)) = wait.fd(key) else { return false };
        // SAFETY: as the caller asserts.
        unsafe { put(fd, number) };
        // SAFETY: as above.
        unsafe { put(custom_data, custom) };
        true
    })
}

/// Lists all descriptors.
///
/// # Safety
///
/// `numfds` is null or valid to write to; `fd` is null or has room for all.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ASYNC_WAIT_CTX_get_all_fds(
    ctx: *mut c_void,
    fd: *mut c_int,
    numfds: *mut usize,
) -> c_int {
    // SAFETY: as the caller asserts.
    with(ctx, |wait| unsafe { put_list(&wait.all_fds(), fd, numfds) })
}

/// Lists the descriptors that were added and removed since a paused job of the context was last resumed.
///
/// # Safety
///
/// `numaddfds` and `numdelfds` are null or valid to write to; `addfd` and `delfd` are null or have room for all.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ASYNC_WAIT_CTX_get_changed_fds(
    ctx: *mut c_void,
    addfd: *mut c_int,
    numaddfds: *mut usize,
    delfd: *mut c_int,
    numdelfds: *mut usize,
) -> c_int {
    with(ctx, |wait| {
        let (added, removed) = wait.changed_fds();
        // SAFETY: as the caller asserts.
        let has_added = unsafe { put_list(&added, addfd, numaddfds) };
        // SAFETY: as above.
        has_added && unsafe { put_list(&removed, delfd, numdelfds) }
    })
}

/// Removes the newest descriptor of a key. Its cleanup is not called.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_clear_fd(ctx: *mut c_void, key: *const c_void) -> c_int {
    with_for_engine(ctx, |wait| wait.clear_fd(key))
}

/// Stores the application's callback and its argument, for the engine to call.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_set_callback(
    ctx: *mut c_void,
    callback: Option<Callback>,
    callback_arg: *mut c_void,
) -> c_int {
    with(ctx, |wait| {
        wait.set_callback(callback, Opaque(callback_arg));
        true
    })
}

/// The callback and its argument, if one is set.
///
/// # Safety
///
/// Both places are null or valid to write to.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ASYNC_WAIT_CTX_get_callback(
    ctx: *mut c_void,
    callback: *mut Option<Callback>,
    callback_arg: *mut *mut c_void,
) -> c_int {
    with_for_engine(ctx, |wait| {
        let Some((function, arg)) = wait.callback() else { return false };
        // SAFETY: as the caller asserts.
        unsafe { put(callback, Some(function)) };
        // SAFETY: as above.
        unsafe { put(callback_arg, arg.0) };
        true
    })
}

/// Stores the engine's status, for the application to read.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_set_status(ctx: *mut c_void, status: c_int) -> c_int {
    with_for_engine(ctx, |wait| {
        wait.set_status(status);
        true
    })
}

/// The engine's status; `ASYNC_STATUS_UNSUPPORTED` if it has set none.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_get_status(ctx: *mut c_void) -> c_int {
    guard(0, || WaitRecord::find(ctx).map_or(0, WaitRecord::status))
}

/// As [`with`], in the functions that engines call.
#[inline]
fn with_for_engine(ctx: *mut c_void, f: impl FnOnce(&'static WaitRecord) -> bool) -> c_int {
    guard(0, || c_int::from(WaitRecord::find_for_engine(ctx).is_some_and(f)))
}

/// Calls `f` with the context, and returns 1 for success.
#[inline]
fn with(ctx: *mut c_void, f: impl FnOnce(&'static WaitRecord) -> bool) -> c_int {
    guard(0, || c_int::from(WaitRecord::find(ctx).is_some_and(f)))
}

/// Writes a list and its length. Without a place for the length there is no result.
///
/// # Safety
///
/// `length` is null or valid to write to; `list` is null or has room for all of `fds`.
unsafe fn put_list(fds: &[c_int], list: *mut c_int, length: *mut usize) -> bool {
    if length.is_null() {
        return false;
    }
    // SAFETY: as the caller asserts.
    unsafe { put(length, fds.len()) };
    if !list.is_null() {
        // SAFETY: as above.
        unsafe { list.copy_from_nonoverlapping(fds.as_ptr(), fds.len()) };
    }
    true
}
