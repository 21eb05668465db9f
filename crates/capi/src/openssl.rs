//! The few functions of OpenSSL that are called, found at run time: the library links to nothing of OpenSSL's, and runs
//! beside any version, or none.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::load;

/// The reason of an error, as `openssl/asyncerr.h` and `openssl/err.h` number them.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Reason {
    /// `ASYNC_R_INVALID_POOL_SIZE`
    InvalidPoolSize = 103,
    /// `ERR_R_MALLOC_FAILURE`
    NoMemory = 256 | FATAL,
    /// `ERR_R_PASSED_NULL_PARAMETER`
    NullParameter = 258 | FATAL,
    /// `ERR_R_INTERNAL_ERROR`
    Internal = 259 | FATAL,
}

/// `ERR_R_FATAL`
const FATAL: i32 = 3 << 18;
/// `ERR_LIB_ASYNC`
const LIBRARY: c_int = 51;

/// `OPENSSL_INIT_ASYNC`
const INIT_ASYNC: u64 = 0x100;

/// `OSSL_LIB_CTX_set0_default`, once it was found.
static SET0_DEFAULT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// Looks for OpenSSL, if it was not found before. Called when a thread makes its pool.
pub(crate) fn look_for() {
    static WATCHES_CLEANUP: AtomicBool = AtomicBool::new(false);
    if !SET0_DEFAULT.load(Ordering::Relaxed).is_null() || is_stopped() {
        return;
    }
    let init = find(c"OPENSSL_init_crypto");
    if init.is_null() {
        return;
    }
    type Init = unsafe extern "C" fn(u64, *const c_void) -> c_int;
    // SAFETY: this is its type in every version of OpenSSL.
    let init = unsafe { transmute::<*mut c_void, Init>(init) };
    // SAFETY: it may be called at any time. OpenSSL's own `ASYNC_start_job` calls it, too.
    if unsafe { init(INIT_ASYNC, ptr::null()) } == 0 {
        return stop();
    }
    SET0_DEFAULT.store(find(c"OSSL_LIB_CTX_set0_default"), Ordering::Relaxed);
    let at_exit = find(c"OPENSSL_atexit");
    if !at_exit.is_null() && !WATCHES_CLEANUP.swap(true, Ordering::Relaxed) {
        type AtExit = unsafe extern "C" fn(extern "C" fn()) -> c_int;
        // SAFETY: this is its type in every version of OpenSSL.
        let at_exit = unsafe { transmute::<*mut c_void, AtExit>(at_exit) };
        load::stay_loaded();
        // SAFETY: the handler only stores two flags, and is not unloaded from now on.
        unsafe { at_exit(stop) };
    }
}

/// `OPENSSL_cleanup` runs: no function of OpenSSL may be called from now on.
extern "C" fn stop() {
    IS_STOPPED.store(true, Ordering::Relaxed);
    SET0_DEFAULT.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Whether `OPENSSL_cleanup` has run.
#[inline]
pub(crate) fn is_stopped() -> bool {
    IS_STOPPED.load(Ordering::Relaxed)
}

/// The thread's default library context, an `OSSL_LIB_CTX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LibraryContext(*mut c_void);

impl LibraryContext {
    pub(crate) const NONE: Self = Self(ptr::null_mut());

    /// That of this thread; a null one if OpenSSL has none, or was not found.
    #[inline]
    pub(crate) fn current() -> Self {
        Self(set0_default(ptr::null_mut()))
    }

    /// Makes it the thread's, given the present one.
    #[inline]
    pub(crate) fn install(self, present: Self) {
        if self != present && !self.0.is_null() {
            set0_default(self.0);
        }
    }
}

#[inline]
fn set0_default(context: *mut c_void) -> *mut c_void {
    let found = SET0_DEFAULT.load(Ordering::Relaxed);
    if found.is_null() {
        return ptr::null_mut();
    }
    type Set0Default = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
    // SAFETY: this is its type in every version that has it.
    let set0_default = unsafe { transmute::<*mut c_void, Set0Default>(found) };
    // SAFETY: null only reads; any other context was the default of this thread, and the manual forbids freeing one that
    // a paused job has as its default.
    unsafe { set0_default(context) }
}

/// Puts an error on the thread's queue, as OpenSSL's macro `ERR_raise` does. Nothing happens where OpenSSL is absent.
#[cold]
pub(crate) fn raise(reason: Reason, function: &CStr) {
    type New = unsafe extern "C" fn();
    type SetDebug = unsafe extern "C" fn(*const c_char, c_int, *const c_char);
    type SetError = unsafe extern "C" fn(c_int, c_int, *const c_char, ...);
    if is_stopped() {
        return;
    }
    let names = [c"ERR_new", c"ERR_set_debug", c"ERR_set_error"];
    let [new, set_debug, set_error] = names.map(find);
    if new.is_null() || set_debug.is_null() || set_error.is_null() {
        return;
    }
    // SAFETY: this is its type.
    let new = unsafe { transmute::<*mut c_void, New>(new) };
    // SAFETY: as above.
    let set_debug = unsafe { transmute::<*mut c_void, SetDebug>(set_debug) };
    // SAFETY: as above.
    let set_error = unsafe { transmute::<*mut c_void, SetError>(set_error) };
    // SAFETY: it takes nothing.
    unsafe { new() };
    // SAFETY: two texts, of which OpenSSL makes copies.
    unsafe { set_debug(c"layby_async".as_ptr(), 0, function.as_ptr()) };
    // SAFETY: no format, so no further argument is read.
    unsafe { set_error(LIBRARY, reason as c_int, ptr::null()) };
}

/// The address of a function of libcrypto: of the program's, or of one that only some module has loaded.
fn find(name: &CStr) -> *mut c_void {
    // SAFETY: a search by name.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if !found.is_null() {
        return found;
    }
    for library in [c"libcrypto.so.4", c"libcrypto.so.3"] {
        // SAFETY: it loads nothing: `RTLD_NOLOAD` gives libraries that are there already.
        let library = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_NOW) };
        if !library.is_null() {
            // SAFETY: an open library, which is not closed again.
            return unsafe { libc::dlsym(library, name.as_ptr()) };
        }
    }
    ptr::null_mut()
}
