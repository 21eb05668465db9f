//! The functions of `ASYNC_start_job(3)`.

use std::ffi::{c_int, c_void};
use std::ptr;

use crate::boundary::{guard, put};
use crate::call::Function;
use crate::openssl::{self, Reason};
use crate::thread::{self, Outcome};
use crate::wait::WaitRecord;

const ASYNC_ERR: c_int = 0;
const ASYNC_NO_JOBS: c_int = 1;
const ASYNC_PAUSE: c_int = 2;
const ASYNC_FINISH: c_int = 3;

/// An `ASYNC_JOB *`, which points to nothing: see `record`.
type JobHandle = *mut c_void;

/// Whether jobs work in this process.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_is_capable() -> c_int {
    guard(0, || c_int::from(job_core::is_capable()))
}

/// Sets the thread's limit on jobs, 0 for none, and makes stacks in advance.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_init_thread(max_size: usize, init_size: usize) -> c_int {
    guard(0, || {
        if openssl::is_stopped() {
            return 0;
        }
        if init_size > max_size {
            openssl::raise(Reason::InvalidPoolSize, c"ASYNC_init_thread");
            return 0;
        }
        c_int::from(thread::init(max_size, init_size))
    })
}

/// Gives back what the thread's jobs use.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_cleanup_thread() {
    guard((), thread::clean_up);
}

/// Starts or resumes a job.
///
/// # Safety
///
/// `job` and `ret` are null or valid to read and write; `args` is null, or points to `size` bytes; `func` may be called
/// with a copy of them on a stack of its own, on which it stays until it returns. `ctx` and `*job` may be anything: they are
/// looked up, not followed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ASYNC_start_job(
    job: *mut JobHandle,
    ctx: *mut c_void,
    ret: *mut c_int,
    func: Option<Function>,
    args: *mut c_void,
    size: usize,
) -> c_int {
    guard(ASYNC_ERR, || {
        if openssl::is_stopped() {
            return ASYNC_ERR;
        }
        if job.is_null() {
            return fail(Reason::NullParameter);
        }
        // SAFETY: not null, so the caller's variable.
        let handle = unsafe { job.read() };
        let outcome = if handle.is_null() {
            let Some(func) = func else { return fail(Reason::NullParameter) };
            let wait = WaitRecord::find(ctx);
            if wait.is_none() && !ctx.is_null() {
                return fail(Reason::Internal);
            }
            // SAFETY: as the caller asserts.
            unsafe { thread::start(wait, func, args, size) }
        } else {
            thread::resume(handle.addr())
        };
        let (code, left) = match outcome {
            Outcome::Finished(value) => {
                // SAFETY: as the caller asserts.
                unsafe { put(ret, value) };
                (ASYNC_FINISH, 0)
            }
            Outcome::Paused(handle) => (ASYNC_PAUSE, handle),
            Outcome::NoJobs => (ASYNC_NO_JOBS, 0),
            Outcome::NoSuchJob | Outcome::Panicked => (fail(Reason::Internal), 0),
            Outcome::Refused => return fail(Reason::Internal),
            Outcome::NoMemory => (fail(Reason::NoMemory), 0),
        };
        // SAFETY: as above.
        unsafe { job.write(ptr::without_provenance_mut(left)) };
        code
    })
}

#[cold]
fn fail(reason: Reason) -> c_int {
    openssl::raise(reason, c"ASYNC_start_job");
    ASYNC_ERR
}

/// Pauses the running job. Returns when it is resumed; at once outside a job, and where pausing is blocked.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_pause_job() -> c_int {
    guard(0, || {
        thread::pause();
        1
    })
}

/// The running job; null outside a job.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_get_current_job() -> JobHandle {
    ptr::without_provenance_mut(thread::current())
}

/// The wait context of a live job; null for anything else. May be called on any thread.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_get_wait_ctx(job: JobHandle) -> *mut c_void {
    guard(ptr::null_mut(), || {
        thread::wait_of(job.addr()).map_or(ptr::null_mut(), WaitRecord::address)
    })
}

/// From now on the thread's jobs do not pause, until it is called off.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_block_pause() {
    thread::change_blocks(|blocks| blocks.saturating_add(1));
}

/// Calls one `ASYNC_block_pause` off.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_unblock_pause() {
    thread::change_blocks(|blocks| blocks.saturating_sub(1));
}

/// Refuses: stacks come from guarded memory, which no foreign allocator can give.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ASYNC_set_mem_functions(_alloc: *mut c_void, _free: *mut c_void) -> c_int {
    0
}

/// There are no foreign allocators, so both are null.
///
/// # Safety
///
/// Both places are null or valid to write to.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ASYNC_get_mem_functions(
    alloc: *mut *mut c_void,
    free: *mut *mut c_void,
) {
    // SAFETY: as the caller asserts.
    unsafe { put(alloc, ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { put(free, ptr::null_mut()) };
}

/// There is nothing to load: libcrypto has the texts of these errors.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ERR_load_ASYNC_strings() -> c_int {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C-unwind" fn panics(args: *mut c_void) -> c_int {
        // SAFETY: the tests below pass one number.
        if unsafe { args.cast::<c_int>().read() } == 1 {
            ASYNC_pause_job();
        }
        panic!("planted");
    }

    unsafe extern "C-unwind" fn answers(_: *mut c_void) -> c_int {
        42
    }

    fn start(job: &mut JobHandle, ret: &mut c_int, f: Function, mut pauses: c_int) -> c_int {
        let args = (&raw mut pauses).cast();
        // SAFETY: the variables are the test's, and the arguments one number.
        unsafe { ASYNC_start_job(job, ptr::null_mut(), ret, Some(f), args, size_of::<c_int>()) }
    }

    #[test]
    fn a_panic_of_a_job_is_an_error_after_which_the_thread_has_no_job() {
        for pauses in [0, 1] {
            let (mut job, mut ret) = (ptr::null_mut(), 7);
            if pauses == 1 {
                assert_eq!(start(&mut job, &mut ret, panics, pauses), ASYNC_PAUSE);
            }
            assert_eq!(start(&mut job, &mut ret, panics, pauses), ASYNC_ERR);
            assert!(job.is_null() && ASYNC_get_current_job().is_null());
            assert_eq!(ret, 7);
            // Ignored inside a job.
            ASYNC_cleanup_thread();
            assert_eq!(start(&mut job, &mut ret, answers, 0), ASYNC_FINISH);
            assert_eq!(ret, 42);
        }
    }
}
