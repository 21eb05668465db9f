//! The functions of `ASYNC_WAIT_CTX_new(3)`. A context that is null, freed or foreign is an error everywhere.

use std::ffi::{c_int, c_void};
use std::ptr;

use crate::boundary::{guard, put};
use crate::thread;
use crate::wait::{Callback, Cleanup, Opaque, WaitRecord};

/// Makes a wait context; null if there is no memory.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_new() -> *mut c_void {
    guard(ptr::null_mut(), || thread::new_wait().map_or(ptr::null_mut(), WaitRecord::address))
}

/// Runs the cleanups of a wait context and frees it. A job of it that is paused can no longer be resumed.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_WAIT_CTX_free(ctx: *mut c_void) {
    guard((), || {
        if !ctx.is_null() {
            thread::free_wait(ctx);
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
    with(ctx, |wait| {
        let mut list = List::new(fd, numfds);
        // SAFETY: as the caller asserts.
        wait.all_fds(|fd| unsafe { list.push(fd) });
        // SAFETY: as above.
        unsafe { list.end() }
    })
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
        if numaddfds.is_null() || numdelfds.is_null() {
            return false;
        }
        let (mut added, mut removed) = (List::new(addfd, numaddfds), List::new(delfd, numdelfds));
        // SAFETY: as the caller asserts.
        wait.changed_fds(|fd| unsafe { added.push(fd) }, |fd| unsafe { removed.push(fd) });
        // SAFETY: as above.
        let has_added = unsafe { added.end() };
        // SAFETY: as above.
        has_added && unsafe { removed.end() }
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

/// A list of the caller's that is filled, and where its length is wanted. Without a place for the length there is no result.
struct List {
    next: *mut c_int,
    pushed: usize,
    length: *mut usize,
}

impl List {
    #[inline]
    fn new(next: *mut c_int, length: *mut usize) -> Self {
        // A list without a length is not written to.
        let next = if length.is_null() { ptr::null_mut() } else { next };
        Self { next, pushed: 0, length }
    }

    /// # Safety
    ///
    /// The list is null, or has room for one more.
    #[inline]
    unsafe fn push(&mut self, fd: c_int) {
        self.pushed += 1;
        if !self.next.is_null() {
            // SAFETY: as the caller asserts.
            unsafe { self.next.write(fd) };
            // SAFETY: at most one past the end of the caller's list.
            self.next = unsafe { self.next.add(1) };
        }
    }

    /// # Safety
    ///
    /// The place for the length is null or valid to write to.
    #[inline]
    unsafe fn end(self) -> bool {
        // SAFETY: as the caller asserts.
        unsafe { put(self.length, self.pushed) };
        !self.length.is_null()
    }
}
