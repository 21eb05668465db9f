//! A job's function with a copy of its arguments.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// What a job runs.
pub(crate) type Function = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

/// Arguments up to this size are copied to the job's own stack.
const SMALL: usize = 512;

/// What a job is to run. It stays with the starter, who waits until the job has copied what it needs: so a start has one
/// pointer to put on the job's stack.
pub(crate) struct Call {
    function: Function,
    args: *const u8,
    size: usize,
    has_no_memory: bool,
}

impl Call {
    #[inline]
    pub(crate) fn new(function: Function, args: *const c_void, size: usize) -> Self {
        let size = if args.is_null() { 0 } else { size };
        Self { function, args: args.cast(), size, has_no_memory: false }
    }

    /// Whether the function was not called, because there is no memory for its arguments.
    #[inline]
    pub(crate) fn has_no_memory(&self) -> bool {
        self.has_no_memory
    }

    /// Copies the arguments and runs the function, as the job.
    ///
    /// # Safety
    ///
    /// `call`, and as many bytes at its arguments as it says, stay as they are until the function is called.
    #[inline]
    pub(crate) unsafe fn run(call: *mut Self) -> c_int {
        #[repr(align(16))]
        struct Room(MaybeUninit<[u8; SMALL]>);

        // SAFETY: as the caller asserts.
        let Self { function, args, size, .. } = unsafe { &*call };
        let (function, size) = (*function, *size);
        if size > SMALL {
            // SAFETY: as the caller asserts.
            return unsafe { Self::run_large(call) };
        }
        let mut room = Room(MaybeUninit::uninit());
        let copy = if size == 0 { ptr::null_mut() } else { room.0.as_mut_ptr().cast::<u8>() };
        // SAFETY: at most `SMALL` bytes, and their owner is in the call that started the job: this is before its first pause.
        unsafe { args.copy_to_nonoverlapping(copy, size) };
        // SAFETY: the program's function, with the copy of the arguments that the program gave for it.
        unsafe { function(copy.cast()) }
    }

    /// As [`run`](Self::run), with the copy on the heap.
    ///
    /// # Safety
    ///
    /// As of `run`.
    #[cold]
    unsafe fn run_large(call: *mut Self) -> c_int {
        // SAFETY: as the caller asserts; this is the only reference.
        let Self { function, args, size, has_no_memory } = unsafe { &mut *call };
        let (function, words) = (*function, size.div_ceil(size_of::<u128>()));
        let mut copy = Vec::new();
        if copy.try_reserve_exact(words).is_err() {
            *has_no_memory = true;
            return 0;
        }
        copy.resize(words, 0_u128);
        // SAFETY: the caller vouches for the source; the copy has at least as much room.
        unsafe { args.copy_to_nonoverlapping(copy.as_mut_ptr().cast(), *size) };
        // SAFETY: as in `run`.
        unsafe { function(copy.as_mut_ptr().cast()) }
    }
}
