//! OpenSSL's own jobs and wait contexts, from the system's libcrypto.so.3, and those of the crate `capi`, loaded at run
//! time: nothing links to either.
//!
//! The only unsafe code of the lab. Every function has the type that its manual page gives it.

#![allow(unsafe_code, reason = "a C library can be called in no other way")]

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::marker::PhantomData;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

type Function = extern "C" fn(*mut c_void) -> c_int;
type StartJob = unsafe extern "C" fn(
    *mut *mut c_void,
    *mut c_void,
    *mut c_int,
    Function,
    *mut c_void,
    usize,
) -> c_int;
type SetWaitFd =
    unsafe extern "C" fn(*mut c_void, *const c_void, c_int, *mut c_void, *mut c_void) -> c_int;
type ChangedFds =
    unsafe extern "C" fn(*mut c_void, *mut c_int, *mut usize, *mut c_int, *mut usize) -> c_int;

/// `ASYNC_pause_job` of OpenSSL's and of ours, for the bodies of jobs, which are given no context.
static PAUSE_JOB: [OnceLock<unsafe extern "C" fn() -> c_int>; 2] = [const { OnceLock::new() }; 2];

const OPENSSL: usize = 0;
const OURS: usize = 1;

const ASYNC_PAUSE: c_int = 2;
const ASYNC_FINISH: c_int = 3;

/// What a job of OpenSSL's does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    PauseOnce,
    PauseForEver,
}

/// The functions used. Never unloaded, for its thread-local state outlives any scope of ours.
pub(crate) struct LibCrypto {
    /// `OPENSSL` or `OURS`.
    which: usize,
    start_job: StartJob,
    cleanup_thread: unsafe extern "C" fn(),
    wait_ctx_new: unsafe extern "C" fn() -> *mut c_void,
    wait_ctx_free: unsafe extern "C" fn(*mut c_void),
    set_wait_fd: SetWaitFd,
    all_fds: unsafe extern "C" fn(*mut c_void, *mut c_int, *mut usize) -> c_int,
    changed_fds: ChangedFds,
    clear_fd: unsafe extern "C" fn(*mut c_void, *const c_void) -> c_int,
    /// Every job of a bench shares it: they never register a descriptor.
    shared_wait_ctx: *mut c_void,
}

impl LibCrypto {
    pub(crate) fn load() -> Result<Self, String> {
        Self::open(OPENSSL, "libcrypto.so.3".as_ref())
            .map_err(|why| format!("no libcrypto.so.3: {why}"))
    }

    /// The same functions of the crate `capi`, from the library as it is installed, which `cargo xtask bench` builds.
    pub(crate) fn ours() -> Result<Self, String> {
        let lab = std::env::current_exe().map_err(|why| why.to_string())?;
        let target =
            lab.parent().and_then(Path::parent).ok_or("the lab lies in no target folder")?;
        let path = target.join("c-library").join("liblayby_async.so");
        // A row that is missing goes into pages, which name no folder of one machine.
        if !path.exists() {
            return Err("the C library is not built: `cargo xtask bench capi` builds it".into());
        }
        Self::open(OURS, &path).map_err(|why| format!("the C library cannot be loaded: {why}"))
    }

    fn open(which: usize, path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: the initialisers of both libraries may run at any time in any process.
        let library = unsafe { Library::new(path) }?;
        let library: &'static Library = Box::leak(Box::new(library));
        PAUSE_JOB[which].get_or_init(|| {
            find(library, "ASYNC_pause_job").expect("a libcrypto with jobs can pause them")
        });
        let wait_ctx_new: unsafe extern "C" fn() -> *mut c_void =
            find(library, "ASYNC_WAIT_CTX_new")?;
        Ok(Self {
            which,
            start_job: find(library, "ASYNC_start_job")?,
            cleanup_thread: find(library, "ASYNC_cleanup_thread")?,
            wait_ctx_new,
            wait_ctx_free: find(library, "ASYNC_WAIT_CTX_free")?,
            set_wait_fd: find(library, "ASYNC_WAIT_CTX_set_wait_fd")?,
            all_fds: find(library, "ASYNC_WAIT_CTX_get_all_fds")?,
            changed_fds: find(library, "ASYNC_WAIT_CTX_get_changed_fds")?,
            clear_fd: find(library, "ASYNC_WAIT_CTX_clear_fd")?,
            // SAFETY: takes nothing. Leaked, as the library is.
            shared_wait_ctx: unsafe { wait_ctx_new() },
        })
    }

    /// A whole life of a wait context: new, set, all, changed, clear, free.
    pub(crate) fn wait_ctx_life(&self) {
        let key: *const c_void = ptr::from_ref(self).cast();
        let (mut fds, mut removed) = ([0; 4], [0; 4]);
        let (mut n_fds, mut n_removed) = (0, 0);
        // SAFETY: takes nothing.
        let ctx = unsafe { (self.wait_ctx_new)() };
        // SAFETY: a live context; no data and no cleanup.
        unsafe { (self.set_wait_fd)(ctx, key, 5, ptr::null_mut(), ptr::null_mut()) };
        // SAFETY: one descriptor, room for four.
        unsafe { (self.all_fds)(ctx, fds.as_mut_ptr(), &raw mut n_fds) };
        let (added, deleted) = (fds.as_mut_ptr(), removed.as_mut_ptr());
        // SAFETY: at most one in each list, room for four.
        unsafe { (self.changed_fds)(ctx, added, &raw mut n_fds, deleted, &raw mut n_removed) };
        // SAFETY: a live context.
        unsafe { (self.clear_fd)(ctx, key) };
        // SAFETY: freed once, never used again.
        unsafe { (self.wait_ctx_free)(ctx) };
        black_box((fds, removed, n_fds, n_removed));
    }

    /// A job that returns at once.
    pub(crate) fn run_job(&self) {
        let mut job = ptr::null_mut();
        assert_eq!(self.call(&mut job, return_at_once), ASYNC_FINISH);
    }

    /// The same with as many bytes of arguments as libssl gives to its jobs.
    pub(crate) fn run_job_of_libssl(&self) {
        let (mut job, mut args) = (ptr::null_mut(), [0_u64; 6]);
        assert_eq!(self.call_with(&mut job, return_at_once, &mut args), ASYNC_FINISH);
    }

    /// A job that pauses; `None` if there is none to be had.
    pub(crate) fn start_job(&self, body: Body) -> Option<OpenSslJob<'_>> {
        let function: Function = match (body, self.which) {
            (Body::PauseOnce, OPENSSL) => pause_once::<OPENSSL>,
            (Body::PauseOnce, _) => pause_once::<OURS>,
            (Body::PauseForEver, OPENSSL) => pause_for_ever::<OPENSSL>,
            (Body::PauseForEver, _) => pause_for_ever::<OURS>,
        };
        let mut handle = ptr::null_mut();
        let paused = self.call(&mut handle, function) == ASYNC_PAUSE;
        paused.then_some(OpenSslJob { libcrypto: self, handle, _thread: PhantomData })
    }

    /// Frees the jobs that are idle, with their stacks.
    pub(crate) fn forget_idle_jobs(&self) {
        // SAFETY: no job is paused or running on this thread where the benches call it.
        unsafe { (self.cleanup_thread)() };
    }

    fn call(&self, job: &mut *mut c_void, function: Function) -> c_int {
        self.call_with(job, function, &mut [])
    }

    #[inline(never)]
    fn call_with(&self, job: &mut *mut c_void, function: Function, args: &mut [u64]) -> c_int {
        let (mut result, size) = (0, size_of_val(args));
        let args = args.as_mut_ptr().cast();
        // SAFETY: `job` is null or a paused job of this thread; the context lives for ever; the arguments are as long as it
        // says.
        unsafe {
            (self.start_job)(job, self.shared_wait_ctx, &raw mut result, function, args, size)
        }
    }
}

/// A paused job of OpenSSL's. It stays on its thread. Dropping it abandons it, as there is no way to cancel one.
pub(crate) struct OpenSslJob<'a> {
    libcrypto: &'a LibCrypto,
    handle: *mut c_void,
    _thread: PhantomData<*mut ()>,
}

impl OpenSslJob<'_> {
    /// Resumes it to its next pause.
    pub(crate) fn resume(&mut self) {
        assert_eq!(self.libcrypto.call(&mut self.handle, return_at_once), ASYNC_PAUSE);
    }

    /// Resumes it to its end.
    pub(crate) fn finish(mut self) {
        assert_eq!(self.libcrypto.call(&mut self.handle, return_at_once), ASYNC_FINISH);
    }
}

extern "C" fn return_at_once(_args: *mut c_void) -> c_int {
    1
}

extern "C" fn pause_once<const WHICH: usize>(_args: *mut c_void) -> c_int {
    pause::<WHICH>()
}

extern "C" fn pause_for_ever<const WHICH: usize>(_args: *mut c_void) -> c_int {
    loop {
        pause::<WHICH>();
    }
}

fn pause<const WHICH: usize>() -> c_int {
    let pause_job = PAUSE_JOB[WHICH].get().expect("loaded before any job was started");
    // SAFETY: called inside a job.
    unsafe { pause_job() }
}

fn find<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: the callers name types as the manual pages give them.
    let symbol: Symbol<'_, T> = unsafe { library.get(name.as_bytes()) }?;
    Ok(*symbol)
}
