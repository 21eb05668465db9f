//! Wait contexts as C code holds them: `ASYNC_WAIT_CTX`.
//!
//! ```text
//!   free <---- give_back ---------------------------------+
//!    |                                                    |
//!    +- new -> live -- free: cleanups run -> closing -> freed, while a job of it is alive
//! ```
//!
//! A context that is freed while its job is paused is not used again before the job is gone. So when the engine looks for
//! the context at last, to wake the job, that call is known for what it is.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use wait_ctx::{FdHandle, Key, Teardown, WaitCtx, WaitFd};

use crate::arena::Arena;
use crate::complaint::{Complaint, complain};
use crate::lock::{Held, Locked};
use crate::record::{FREED, JobRecord, News, WOKEN};

static CONTEXTS: Arena<WaitRecord> = Arena::new();

/// `ASYNC_callback_fn`
pub(crate) type Callback = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;
/// The cleanup of `ASYNC_WAIT_CTX_set_wait_fd`.
pub(crate) type Cleanup =
    unsafe extern "C-unwind" fn(*mut c_void, *const c_void, c_int, *mut c_void);

const LIVE: u64 = 0x4c61_7962_7957_4331;
const CLOSING: u64 = LIVE + 1;
const FREED_WITH_JOB: u64 = LIVE + 2;

/// One `ASYNC_WAIT_CTX`.
#[derive(Default)]
#[repr(C)]
pub(crate) struct WaitRecord {
    /// Where OpenSSL's own code, given this context by mistake, would find an empty one of its kind, and write.
    foreign: [AtomicUsize; 6],
    /// One of the constants above, or 0.
    state: AtomicU64,
    status: AtomicI32,
    /// Whether a descriptor was set or cleared since the window was opened.
    has_changes: AtomicBool,
    /// Whether it has had two live jobs at once, which the manual forbids and OpenSSL accepts.
    is_shared: AtomicBool,
    /// The handle of its live job, or 0.
    job: AtomicUsize,
    parts: Locked<Parts>,
}

#[derive(Default)]
struct Parts {
    /// Made with the first descriptor.
    ctx: Option<WaitCtx>,
    callback: Option<(Callback, Opaque)>,
}

/// A pointer of the C program's, which it alone follows.
#[derive(Clone, Copy)]
pub(crate) struct Opaque(pub(crate) *mut c_void);

// SAFETY: of the three parts, the function may be called on any thread, and the pointer is only handed back. A `WaitCtx` is
// not `Send` since what it lends, custom data for instance, shares a count that is not atomic. Here all of that is made, read
// and dropped while the lock is held (`in_numbers`), or by the one thread that has taken the context out to close it, or a
// descriptor to clear it.
unsafe impl Send for Parts {}

/// The custom data of a descriptor.
struct Custom(*mut c_void);

thread_local! {
    /// The innermost cleanup that runs on this thread.
    static CLEANING: Cell<*const Cleaning> = const { Cell::new(ptr::null()) };
}

/// A cleanup that runs, in the frame that calls it.
struct Cleaning {
    of: *const WaitRecord,
    /// The view that it has of its context, a [`Teardown`].
    left: *const c_void,
    /// The cleanup inside which the context was freed.
    outer: *const Self,
}

impl Cleaning {
    fn run(of: *const WaitRecord, left: &Teardown<'_>, cleanup: impl FnOnce()) {
        let left = ptr::from_ref(left).cast();
        let this = Self { of, left, outer: CLEANING.get() };
        CLEANING.set(&raw const this);
        cleanup();
    }

    /// The view that the cleanups of a context have, if one runs on this thread.
    fn view_of(of: &WaitRecord) -> Option<*const c_void> {
        let mut next = CLEANING.get();
        // SAFETY: null, or in a frame of this thread that has not returned: its drop takes it out, however that frame ends.
        while let Some(cleaning) = unsafe { next.as_ref() } {
            if ptr::eq(cleaning.of, of) {
                return Some(cleaning.left);
            }
            next = cleaning.outer;
        }
        None
    }
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        CLEANING.set(self.outer);
    }
}

impl WaitRecord {
    /// `ASYNC_WAIT_CTX_new`, with a freed record if the caller has one.
    #[inline]
    pub(crate) fn new(freed: Option<&'static Self>) -> Option<&'static Self> {
        let record = freed.or_else(|| CONTEXTS.take())?;
        record.status.store(0, Ordering::Relaxed);
        record.has_changes.store(false, Ordering::Relaxed);
        record.is_shared.store(false, Ordering::Relaxed);
        record.state.store(LIVE, Ordering::Release);
        Some(record)
    }

    /// A freed record, for any thread to use again.
    pub(crate) fn give_back(&'static self) {
        CONTEXTS.give_back(self);
    }

    /// The live context at an address. Anything else that a program passes is reported, and treated as an error.
    #[inline(always)]
    pub(crate) fn find(address: *const c_void) -> Option<&'static Self> {
        match CONTEXTS.find(address.addr()) {
            Some(record) if record.state.load(Ordering::Acquire) == LIVE => {
                record.check_for_foreign_writes();
                Some(record)
            }
            found => Self::find_other(address, found),
        }
    }

    #[cold]
    fn find_other(address: *const c_void, found: Option<&'static Self>) -> Option<&'static Self> {
        let Some(record) = found else {
            if !address.is_null() {
                complain(Complaint::ForeignWaitContext);
            }
            return None;
        };
        record.check_for_foreign_writes();
        if record.is_closing_here() {
            return found;
        }
        complain(Complaint::FreedWaitContext);
        None
    }

    /// As [`find`](Self::find), for the functions that engines call. An engine that looks for the freed context of a paused
    /// job is done with that job.
    #[inline(always)]
    pub(crate) fn find_for_engine(address: *const c_void) -> Option<&'static Self> {
        match CONTEXTS.find(address.addr()) {
            Some(record) if record.state.load(Ordering::Acquire) == LIVE => {
                record.check_for_foreign_writes();
                Some(record)
            }
            found => Self::find_other_for_engine(address, found),
        }
    }

    #[cold]
    fn find_other_for_engine(
        address: *const c_void,
        found: Option<&'static Self>,
    ) -> Option<&'static Self> {
        match found {
            Some(record) if record.is_closed_to_engines() => {
                record.tell_jobs(WOKEN);
                None
            }
            _ => Self::find_other(address, found),
        }
    }

    /// Whether it has jobs, and was freed, or is being freed by another thread.
    fn is_closed_to_engines(&self) -> bool {
        match self.state.load(Ordering::Acquire) {
            FREED_WITH_JOB => true,
            CLOSING => !self.is_closing_here(),
            _ => false,
        }
    }

    /// The context at an address that a job was started with, if it was not freed. Its cleanups still have it.
    #[inline]
    pub(crate) fn of_job(address: usize) -> Option<&'static Self> {
        let record = CONTEXTS.find(address)?;
        let is_there = record.state.load(Ordering::Acquire) == LIVE || record.is_closing_here();
        is_there.then_some(record)
    }

    #[inline]
    pub(crate) fn address(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// A job of the context begins.
    #[inline]
    pub(crate) fn attach(&self, job: usize) {
        if self.job.load(Ordering::Relaxed) == 0 {
            self.job.store(job, Ordering::Release);
        } else {
            self.is_shared.store(true, Ordering::Release);
        }
    }

    /// A job of the context has ended.
    #[inline]
    pub(crate) fn detach(&'static self, job: usize) {
        self.let_go(job);
        if self.state.load(Ordering::Acquire) == FREED_WITH_JOB {
            self.release();
        }
    }

    /// As [`detach`](Self::detach), for a job whose engine may still look for the context: a freed one is not used again.
    #[inline]
    pub(crate) fn let_go(&self, job: usize) {
        if self.job.load(Ordering::Relaxed) == job {
            self.job.store(0, Ordering::Release);
        }
    }

    /// Gives the record of a freed context back after its last job has ended. One that two jobs have shared is kept.
    #[cold]
    fn release(&'static self) {
        let is_last = !self.is_shared.load(Ordering::Acquire)
            && self
                .state
                .compare_exchange(FREED_WITH_JOB, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if is_last {
            CONTEXTS.give_back(self);
        }
    }

    /// The handles of its live jobs.
    fn jobs(&self) -> Vec<usize> {
        if self.is_shared.load(Ordering::Acquire) {
            return JobRecord::all_with(self.address().addr()).map(JobRecord::handle).collect();
        }
        Some(self.job.load(Ordering::Acquire)).filter(|job| *job != 0).into_iter().collect()
    }

    #[cold]
    fn tell_jobs(&self, news: News) {
        self.jobs().into_iter().for_each(|job| JobRecord::tell(job, news));
    }

    /// `ASYNC_WAIT_CTX_free`. Returns the record if it can be used again at once.
    #[inline]
    pub(crate) fn free(address: *const c_void) -> Option<&'static Self> {
        let record = Self::find(address)?;
        let mut parts = record.parts.hold();
        if record.state.load(Ordering::Acquire) != LIVE {
            return None;
        }
        parts.callback = None;
        let has_no_job =
            record.job.load(Ordering::Acquire) == 0 && !record.is_shared.load(Ordering::Acquire);
        if has_no_job && !parts.ctx.as_ref().is_some_and(|ctx| ctx.openssl_view().has_fds()) {
            // The table is as good as a new one then, and serves the next context.
            record.state.store(0, Ordering::Release);
            if let Some(ctx) = &parts.ctx {
                ctx.openssl_view().open_window();
            }
            return Some(record);
        }
        record.state.store(CLOSING, Ordering::Release);
        let ctx = parts.ctx.take();
        drop(parts);
        record.close(ctx)
    }

    /// Runs the cleanups of a context, and tells its jobs.
    #[cold]
    fn close(&'static self, ctx: Option<WaitCtx>) -> Option<&'static Self> {
        let jobs = self.jobs();
        // An application that follows the manual frees the session of a paused job when the engine's descriptor has become
        // readable. The cleanups below close the descriptor: this is the last chance to see it.
        let is_woken = !jobs.is_empty() && ctx.as_ref().is_some_and(has_readable);
        // Runs the cleanups.
        drop(ctx);
        if jobs.is_empty() {
            self.state.store(0, Ordering::Release);
            return Some(self);
        }
        self.state.store(FREED_WITH_JOB, Ordering::Release);
        let news = if is_woken { FREED | WOKEN } else { FREED };
        jobs.into_iter().for_each(|job| JobRecord::tell(job, news));
        if self.jobs().is_empty() {
            // They have ended while the context was being closed, and have left it to this thread. Both may overlook it if
            // the last job ends in the nanoseconds since the state changed: then this one record stays out of use.
            self.release();
        }
        None
    }

    /// `ASYNC_WAIT_CTX_set_wait_fd`
    pub(crate) fn set_wait_fd(
        &'static self,
        key: *const c_void,
        fd: c_int,
        custom: *mut c_void,
        cleanup: Option<Cleanup>,
    ) -> bool {
        let mut wait_fd = WaitFd::borrowed(&fd);
        if !custom.is_null() {
            wait_fd = wait_fd.with_data(Custom(custom));
        }
        if let Some(cleanup) = cleanup {
            wait_fd = wait_fd.with_cleanup(move |left, _, _| {
                Cleaning::run(self, left, || {
                    // SAFETY: the engine's function, with what the engine registered.
                    unsafe { cleanup(self.address(), key, fd, custom) };
                });
            });
        }
        let mut parts = self.parts();
        if self.state.load(Ordering::Acquire) != LIVE {
            return false;
        }
        parts.ctx.get_or_insert_default().openssl_view().set_wait_fd(key_of(key), wait_fd);
        self.has_changes.store(true, Ordering::Relaxed);
        true
    }

    /// `ASYNC_WAIT_CTX_get_fd`: the descriptor and the custom data.
    pub(crate) fn fd(&self, key: *const c_void) -> Option<(c_int, *mut c_void)> {
        match self.parts().ctx.as_ref() {
            Some(ctx) => ctx.fd(key_of(key)).map(in_numbers),
            None => with_teardown(self, |left| left.fd(key_of(key)).map(in_numbers)).flatten(),
        }
    }

    /// `ASYNC_WAIT_CTX_clear_fd`
    pub(crate) fn clear_fd(&self, key: *const c_void) -> bool {
        let parts = self.parts();
        let cleared = match parts.ctx.as_ref() {
            Some(ctx) => ctx.openssl_view().clear_fd(key_of(key)),
            None => with_teardown(self, |left| left.clear_fd(key_of(key))).flatten(),
        };
        self.has_changes.store(true, Ordering::Relaxed);
        drop(parts);
        cleared.is_some()
    }

    /// `ASYNC_WAIT_CTX_get_all_fds`: calls `each` with every descriptor.
    #[inline]
    pub(crate) fn all_fds(&self, each: impl FnMut(c_int)) {
        if let Some(ctx) = &self.parts().ctx {
            ctx.openssl_view().for_each_fd(each);
        }
    }

    /// `ASYNC_WAIT_CTX_get_changed_fds`: calls one of both with every descriptor that was added or removed.
    #[inline]
    pub(crate) fn changed_fds(&self, added: impl FnMut(c_int), removed: impl FnMut(c_int)) {
        if let Some(ctx) = &self.parts().ctx {
            ctx.openssl_view().for_each_changed_fd(added, removed);
        }
    }

    /// A paused job of the context was resumed: what changed before is old from now on.
    #[inline]
    pub(crate) fn open_window(&self) {
        if self.has_changes.load(Ordering::Relaxed) {
            self.has_changes.store(false, Ordering::Relaxed);
            if let Some(ctx) = self.parts().ctx.as_ref() {
                ctx.openssl_view().open_window();
            }
        }
    }

    /// Whether an engine has signalled one of the descriptors. `false` once the context is freed.
    pub(crate) fn has_readable_fd(&self) -> bool {
        self.parts().ctx.as_ref().is_some_and(has_readable)
    }

    pub(crate) fn set_callback(&self, callback: Option<Callback>, arg: Opaque) {
        self.parts().callback = callback.map(|callback| (callback, arg));
    }

    pub(crate) fn callback(&self) -> Option<(Callback, Opaque)> {
        self.parts().callback
    }

    pub(crate) fn set_status(&self, status: c_int) {
        self.status.store(status, Ordering::Release);
    }

    pub(crate) fn status(&self) -> c_int {
        self.status.load(Ordering::Acquire)
    }

    #[inline]
    fn parts(&self) -> Held<'_, Parts> {
        self.parts.hold()
    }

    /// Whether this thread runs its cleanups.
    fn is_closing_here(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSING && Cleaning::view_of(self).is_some()
    }

    /// OpenSSL's own functions were called on this context if the part that they would write to has changed.
    #[inline]
    fn check_for_foreign_writes(&self) {
        if self.foreign[0].load(Ordering::Relaxed) | self.foreign[3].load(Ordering::Relaxed) != 0 {
            complain(Complaint::ForeignCall);
        }
    }
}

/// Whether one of the descriptors can be read, which is how an engine wakes a session.
fn has_readable(ctx: &WaitCtx) -> bool {
    let mut is_readable = false;
    ctx.openssl_view().for_each_fd(|fd| {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which is ours. The number may be of no open descriptor.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        is_readable |= ready == 1 && poll.revents & libc::POLLIN != 0;
    });
    is_readable
}

/// A descriptor and its custom data as C sees them. Drops what shares a count with the table, under whose lock it is called.
fn in_numbers((fd, data): (FdHandle, Option<Rc<dyn Any>>)) -> (c_int, *mut c_void) {
    let custom = data.and_then(|data| data.downcast_ref::<Custom>().map(|custom| custom.0));
    (fd.as_raw_fd(), custom.unwrap_or(ptr::null_mut()))
}

fn key_of(key: *const c_void) -> Key {
    Key::from_address(key.addr())
}

/// Calls `f` with the view that a cleanup has of its context, while one runs on this thread.
fn with_teardown<R>(record: &WaitRecord, f: impl FnOnce(&Teardown<'_>) -> R) -> Option<R> {
    let left = Cleaning::view_of(record)?.cast::<Teardown<'_>>();
    // SAFETY: `Cleaning::run` stores the pointer while the cleanup that has the reference runs, and this is below it.
    Some(f(unsafe { &*left }))
}
