//! The system's own libcrypto.so.3, loaded at run time. Nothing links to it.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

type New = unsafe extern "C" fn() -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type Cleanup = unsafe extern "C" fn(*mut c_void, *const c_void, c_int, *mut c_void);
type SetWaitFd =
    unsafe extern "C" fn(*mut c_void, *const c_void, c_int, *mut c_void, Option<Cleanup>) -> c_int;
type GetFd =
    unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_int, *mut *mut c_void) -> c_int;
type GetAllFds = unsafe extern "C" fn(*mut c_void, *mut c_int, *mut usize) -> c_int;
type GetChangedFds =
    unsafe extern "C" fn(*mut c_void, *mut c_int, *mut usize, *mut c_int, *mut usize) -> c_int;
type ClearFd = unsafe extern "C" fn(*mut c_void, *const c_void) -> c_int;
type StartJob = unsafe extern "C" fn(
    *mut *mut c_void,
    *mut c_void,
    *mut c_int,
    Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    *mut c_void,
    usize,
) -> c_int;
type Plain = unsafe extern "C" fn() -> c_int;
type PlainVoid = unsafe extern "C" fn();

const PAUSE: c_int = 2;
const FINISH: c_int = 3;

struct Functions {
    new: New,
    free: Free,
    set_wait_fd: SetWaitFd,
    get_fd: GetFd,
    get_all_fds: GetAllFds,
    get_changed_fds: GetChangedFds,
    clear_fd: ClearFd,
    start_job: StartJob,
    pause_job: Plain,
    block_pause: PlainVoid,
    unblock_pause: PlainVoid,
    /// Never unloaded: the functions above live in it.
    _library: Library,
}

/// The library's functions, or the reason why there are none.
fn functions() -> Result<&'static Functions, String> {
    static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| load().map_err(|e| e.to_string())).as_ref().map_err(Clone::clone)
}

fn load() -> Result<Functions, libloading::Error> {
    // SAFETY: libcrypto's initialisers may run at any time in any process.
    let library = unsafe { Library::new("libcrypto.so.3") }?;
    Ok(Functions {
        new: find(&library, "ASYNC_WAIT_CTX_new")?,
        free: find(&library, "ASYNC_WAIT_CTX_free")?,
        set_wait_fd: find(&library, "ASYNC_WAIT_CTX_set_wait_fd")?,
        get_fd: find(&library, "ASYNC_WAIT_CTX_get_fd")?,
        get_all_fds: find(&library, "ASYNC_WAIT_CTX_get_all_fds")?,
        get_changed_fds: find(&library, "ASYNC_WAIT_CTX_get_changed_fds")?,
        clear_fd: find(&library, "ASYNC_WAIT_CTX_clear_fd")?,
        start_job: find(&library, "ASYNC_start_job")?,
        pause_job: find(&library, "ASYNC_pause_job")?,
        block_pause: find(&library, "ASYNC_block_pause")?,
        unblock_pause: find(&library, "ASYNC_unblock_pause")?,
        _library: library,
    })
}

fn find<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: each caller asks for a type written down from the manual page of the function it names.
    let symbol: Symbol<'_, T> = unsafe { library.get(name) }?;
    Ok(*symbol)
}

/// Whether the library is there. Where it is not, the test is skipped, and says so; `LAYBY_REQUIRE=libcrypto` (a list
/// separated by commas) turns that into a failure.
pub(crate) fn available(test: &str) -> bool {
    let Err(reason) = functions() else { return true };
    let required = std::env::var("LAYBY_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == "libcrypto"),
        "LAYBY_REQUIRE names libcrypto, but it cannot be loaded: {reason}"
    );
    eprintln!("skipped {test}: no libcrypto.so.3 ({reason})");
    false
}

fn loaded() -> &'static Functions {
    functions().expect("asked for `available` first")
}

/// An `ASYNC_WAIT_CTX` with at most one job on it, which pauses once. Keys and cleanups are small numbers.
pub(crate) struct Original {
    ctx: *mut c_void,
    job: *mut c_void,
    /// What the cleanups saw, in order.
    cleaned: Rc<RefCell<Vec<usize>>>,
}

/// The owner data of one entry on the C side.
struct Custom {
    cleaned: Rc<RefCell<Vec<usize>>>,
    id: usize,
}

impl Original {
    pub(crate) fn new() -> Self {
        // SAFETY: takes nothing.
        let ctx = unsafe { (loaded().new)() };
        assert!(!ctx.is_null());
        Self { ctx, job: ptr::null_mut(), cleaned: Rc::default() }
    }

    pub(crate) fn set_wait_fd(&mut self, key: usize, fd: c_int, id: usize) {
        let custom = Box::into_raw(Box::new(Custom { cleaned: Rc::clone(&self.cleaned), id }));
        // SAFETY: the context is live; the key is only compared; `clean` frees the custom data, or `clear_fd` does.
        let set = unsafe {
            (loaded().set_wait_fd)(self.ctx, key as *const c_void, fd, custom.cast(), Some(clean))
        };
        assert_eq!(set, 1);
    }

    fn lookup(&self, key: usize) -> Option<(c_int, *mut c_void)> {
        let (mut fd, mut custom) = (0, ptr::null_mut());
        // SAFETY: the context is live and both places are writable.
        let found = unsafe {
            (loaded().get_fd)(self.ctx, key as *const c_void, &raw mut fd, &raw mut custom)
        };
        (found == 1).then_some((fd, custom))
    }

    pub(crate) fn fd(&self, key: usize) -> Option<c_int> {
        self.lookup(key).map(|(fd, _)| fd)
    }

    pub(crate) fn all_fds(&self) -> Vec<c_int> {
        let mut n_fds = 0;
        // SAFETY: a null array asks for the count alone.
        let counted = unsafe { (loaded().get_all_fds)(self.ctx, ptr::null_mut(), &raw mut n_fds) };
        assert_eq!(counted, 1);
        let mut fds = vec![0; n_fds];
        // SAFETY: the array has room for the count, which cannot have changed.
        let listed = unsafe { (loaded().get_all_fds)(self.ctx, fds.as_mut_ptr(), &raw mut n_fds) };
        assert_eq!((listed, n_fds), (1, fds.len()));
        fds
    }

    pub(crate) fn changed_fds(&self) -> (Vec<c_int>, Vec<c_int>) {
        let (mut n_added, mut n_removed) = (0, 0);
        let none = ptr::null_mut();
        // SAFETY: null arrays ask for the counts alone.
        let counted = unsafe {
            (loaded().get_changed_fds)(self.ctx, none, &raw mut n_added, none, &raw mut n_removed)
        };
        assert_eq!(counted, 1);
        let (mut added, mut removed) = (vec![0; n_added], vec![0; n_removed]);
        // SAFETY: the arrays have room for the counts, which cannot have changed.
        let listed = unsafe {
            (loaded().get_changed_fds)(
                self.ctx,
                added.as_mut_ptr(),
                &raw mut n_added,
                removed.as_mut_ptr(),
                &raw mut n_removed,
            )
        };
        assert_eq!((listed, n_added, n_removed), (1, added.len(), removed.len()));
        (added, removed)
    }

    pub(crate) fn clear_fd(&mut self, key: usize) -> bool {
        let Some((_, custom)) = self.lookup(key) else {
            // SAFETY: the context is live.
            let cleared = unsafe { (loaded().clear_fd)(self.ctx, key as *const c_void) };
            assert_eq!(cleared, 0);
            return false;
        };
        // SAFETY: the context is live.
        let cleared = unsafe { (loaded().clear_fd)(self.ctx, key as *const c_void) };
        assert_eq!(cleared, 1);
        // SAFETY: made by `set_wait_fd`; with the entry cleared, the C side never touches it again.
        drop(unsafe { Box::from_raw(custom.cast::<Custom>()) });
        true
    }

    /// Starts a job that pauses at once, if none is paused.
    pub(crate) fn start(&mut self) {
        if self.job.is_null() {
            assert_eq!(self.switch(pausing), PAUSE);
        }
    }

    /// Resumes the paused job, which then ends.
    pub(crate) fn resume(&mut self) -> bool {
        let paused = !self.job.is_null();
        if paused {
            assert_eq!(self.switch(pausing), FINISH);
        }
        paused
    }

    /// Runs a whole job whose pause is blocked, or that never asks for one.
    pub(crate) fn run(&mut self, blocked_pause: bool) {
        if self.job.is_null() {
            assert_eq!(self.switch(if blocked_pause { blocked } else { returning }), FINISH);
        }
    }

    fn switch(&mut self, function: unsafe extern "C" fn(*mut c_void) -> c_int) -> c_int {
        let mut result = 0;
        // SAFETY: the job, if any, was started on this thread; the function takes no argument and does not unwind.
        let step = unsafe {
            (loaded().start_job)(
                &raw mut self.job,
                self.ctx,
                &raw mut result,
                Some(function),
                ptr::null_mut(),
                0,
            )
        };
        if step == FINISH {
            assert_eq!(result, 1);
        }
        step
    }

    /// Frees the context and returns which cleanups ran, in order.
    pub(crate) fn free(mut self) -> Vec<usize> {
        self.resume();
        // SAFETY: no job is on the context; it is freed once, here, and never used again.
        unsafe { (loaded().free)(self.ctx) };
        self.cleaned.take()
    }
}

unsafe extern "C" fn pausing(_: *mut c_void) -> c_int {
    // SAFETY: inside a job.
    unsafe { (loaded().pause_job)() }
}

unsafe extern "C" fn blocked(_: *mut c_void) -> c_int {
    let functions = loaded();
    // SAFETY: inside a job.
    unsafe { (functions.block_pause)() };
    // SAFETY: inside a job; returns at once.
    let paused = unsafe { (functions.pause_job)() };
    // SAFETY: inside a job; undoes the block.
    unsafe { (functions.unblock_pause)() };
    paused
}

unsafe extern "C" fn returning(_: *mut c_void) -> c_int {
    1
}

unsafe extern "C" fn clean(_: *mut c_void, _: *const c_void, _: c_int, custom: *mut c_void) {
    // SAFETY: made by `set_wait_fd`, and its entry was live until now.
    let custom = unsafe { Box::from_raw(custom.cast::<Custom>()) };
    custom.cleaned.borrow_mut().push(custom.id);
}
