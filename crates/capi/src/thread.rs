//! The jobs of one thread: start, pause, resume, reclaim.
//!
//! A start and a resume are each one function, inlined into `ASYNC_start_job`: they find the thread's state once, and no
//! frame of ours lies between the program's call and the switch of stacks.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem::{self, ManuallyDrop};
use std::ptr;

use job_core::{Job, JobPool, Pause, Step};

use crate::boundary::contain;
use crate::call::{Call, Function};
use crate::complaint::{Complaint, complain};
use crate::load;
use crate::openssl::{self, LibraryContext};
use crate::record::{Home, JobRecord, WOKEN};
use crate::table::{NotPaused, Table, Taken, Waiting};
use crate::thread_end;
use crate::wait::WaitRecord;

/// How a start or a resume ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished(c_int),
    /// The job's function, written in Rust, has panicked. The job has ended.
    Panicked,
    /// With the handle to resume it by.
    Paused(usize),
    NoJobs,
    /// The handle is of no job: stale, or not of this library.
    NoSuchJob,
    /// The job exists, and stays as it is.
    Refused,
    /// There is no memory for what the library has to remember.
    NoMemory,
}

thread_local! {
    /// Never dropped: [`end`] is called when the thread ends, and not when the process does.
    static THREAD: ManuallyDrop<Thread> = const { ManuallyDrop::new(Thread::new()) };
}

/// The state of this thread. The reference is good as long as the thread runs.
#[inline]
fn this() -> &'static Thread {
    // SAFETY: it is never dropped, and its memory is the thread's own until that has ended. A reference cannot leave the
    // thread: a `Thread` is not `Sync`.
    THREAD.with(|thread| unsafe { &*ptr::from_ref::<Thread>(thread) })
}

struct Thread {
    current: Cell<Current>,
    /// Calls of `ASYNC_block_pause` without their `ASYNC_unblock_pause`. As in OpenSSL, it is the thread's, not the job's.
    blocks: Cell<u32>,
    home: Cell<Option<&'static Home>>,
    pool: RefCell<Option<JobPool>>,
    table: RefCell<Table>,
    /// The wait context that this thread has freed last, for the next one: without an atomic exchange with others.
    freed_wait: Cell<Option<&'static WaitRecord>>,
}

/// The innermost running job.
#[derive(Clone, Copy)]
struct Current {
    /// 0 outside a job.
    handle: usize,
    wait: Option<&'static WaitRecord>,
}

impl Thread {
    const fn new() -> Self {
        Self {
            current: Cell::new(Current { handle: 0, wait: None }),
            blocks: Cell::new(0),
            home: Cell::new(None),
            pool: RefCell::new(None),
            table: RefCell::new(Table::new()),
            freed_wait: Cell::new(None),
        }
    }

    /// The public half, made by the first call that needs it. `None` if there is no memory.
    #[inline]
    fn home(&self) -> Option<&'static Home> {
        self.home.get().or_else(|| self.move_in())
    }

    #[cold]
    fn move_in(&self) -> Option<&'static Home> {
        thread_end::call_at_end(end);
        self.home.set(Home::take());
        self.home.get()
    }

    /// The pool, made without a limit if there is none yet.
    #[inline]
    fn pool(&self) -> JobPool {
        if let Some(pool) = self.pool.borrow().as_ref() {
            return pool.clone();
        }
        self.make_pool()
    }

    #[cold]
    fn make_pool(&self) -> JobPool {
        self.pool.borrow_mut().insert(make_pool(0)).clone()
    }

    /// Takes a paused job out, to resume it.
    #[inline]
    fn take_paused(&self, home: &'static Home, handle: usize) -> Result<Taken, Outcome> {
        let Some(record) = JobRecord::find(handle) else { return Err(refuse_handle(handle)) };
        if !record.is_at(home) {
            complain(Complaint::OtherThread);
            return Err(Outcome::Refused);
        }
        self.table.borrow_mut().take_paused(record).map_err(|why| match why {
            NotPaused::Orphaned => Outcome::NoSuchJob,
            NotPaused::Running => Outcome::Refused,
        })
    }

    /// A switch to a job has ended.
    #[inline(always)]
    fn settle_step(
        &self,
        home: &'static Home,
        place: usize,
        step: Step<c_int>,
        library: LibraryContext,
    ) -> Outcome {
        match step {
            Step::Finished(value) => {
                home.counts.finished.add();
                self.table.borrow_mut().release(place);
                Outcome::Finished(value)
            }
            Step::Paused(job) => {
                home.counts.pauses.add();
                let (handle, has_news) = self.table.borrow_mut().park(place, job, library);
                if has_news {
                    // The context was freed while the job ran.
                    self.act_on(home, place, 0);
                }
                Outcome::Paused(handle)
            }
        }
    }

    /// A job has ended by a panic of its function.
    #[cold]
    fn settle_panic(&self, home: &'static Home, place: usize) -> Outcome {
        home.counts.finished.add();
        self.table.borrow_mut().release(place);
        Outcome::Panicked
    }

    /// A job that was admitted could not be started.
    #[cold]
    fn refuse_start(&self, home: &'static Home, place: usize) -> Outcome {
        home.counts.no_jobs.add();
        self.table.borrow_mut().withdraw(place);
        Outcome::NoJobs
    }

    /// Acts on what other threads, or this one, have said about paused jobs.
    #[inline]
    fn read_news(&self) {
        if let Some(home) = self.home.get().filter(|home| home.has_news()) {
            self.read_news_of(home);
        }
    }

    #[cold]
    fn read_news_of(&self, home: &'static Home) {
        home.take_news(|record, news| self.act_on(home, record.place(), news));
    }

    #[cold]
    fn act_on(&self, home: &'static Home, place: usize, news: u32) {
        let reclaimed = self.table.borrow_mut().orphan_or_reclaim(home, place, news);
        if let Some(job) = reclaimed {
            forget(job);
            home.counts.reclaimed.add();
            self.table.borrow_mut().release(place);
        }
    }

    #[inline]
    fn keep(&self, freed: &'static WaitRecord) {
        // A thread without a home does not tell when it ends.
        let other =
            if self.home().is_some() { self.freed_wait.replace(Some(freed)) } else { Some(freed) };
        if let Some(other) = other {
            other.give_back();
        }
    }

    /// Ends the thread's jobs and drops its pool. The stack of a job that no engine has woken leaks, as in OpenSSL: a device
    /// may still write to it.
    fn clean_up(&self) {
        self.read_news();
        let Some(home) = self.home.get() else { return };
        let places = self.table.borrow().len();
        let mut has_leaked = false;
        for place in 0..places {
            let waiting = self.table.borrow_mut().take_waiting(place);
            let Some(Waiting { job, is_woken }) = waiting else { continue };
            if is_woken {
                forget(job);
                home.counts.dropped.add();
                self.table.borrow_mut().release(place);
            } else {
                mem::forget(job);
                has_leaked = true;
                home.counts.leaked.add();
                self.table.borrow_mut().give_up(place);
            }
        }
        self.blocks.set(0);
        let pool = self.pool.take();
        // A job that leaks holds on to its pool, which keeps the idle stacks.
        if has_leaked && let Some(pool) = &pool {
            pool.shrink();
        }
        drop(pool);
    }
}

/// The thread ends: nothing of it runs any more, and no job.
fn end() {
    let thread = this();
    thread.clean_up();
    thread.table.borrow_mut().give_back_records();
    if let Some(freed) = thread.freed_wait.take() {
        freed.give_back();
    }
    if let Some(home) = thread.home.take() {
        home.give_back();
    }
}

#[cold]
fn refuse_handle(handle: usize) -> Outcome {
    let is_ours = JobRecord::is_ours(handle);
    complain(if is_ours { Complaint::StaleJob } else { Complaint::ForeignJob });
    Outcome::NoSuchJob
}

/// Ends a job that is never to be resumed again, and that its engine has woken.
fn forget(job: Job<c_int>) {
    // SAFETY: the job is paused in `pause`. On its stack are a few frames of job-core and of this library, which own nothing
    // but the copy of the arguments, which may leak; and frames of C, which have no destructors. No device writes to buffers
    // on the stack any more as far as its engine keeps to the manual page, on which a job that was woken has its results:
    // the engine has woken this one. An engine that wakes a job of several operations at the first of them breaks this, and
    // would break a job that is resumed as well.
    unsafe { job.forget_frames() };
}

fn make_pool(max_jobs: usize) -> JobPool {
    load::link();
    openssl::look_for();
    let builder = JobPool::builder().stack_size(stack_size());
    // OpenSSL finishes jobs in the handlers of `atexit` and in the destructors of `pthread_key_create`, too.
    // SAFETY: of the frames on a job's stack, those of this library and of job-core use thread-local variables without
    // destructors only: `THREAD` is never dropped. For those of C code the language has no such variables; code in other
    // languages meets the same on OpenSSL's jobs.
    let builder = unsafe { builder.resume_at_thread_exit() };
    // As OpenSSL, which erases in its own code what must not stay on a stack.
    let builder = builder.wipe_stacks(false);
    let builder = if max_jobs == 0 { builder } else { builder.max_jobs(max_jobs) };
    builder.build().unwrap_or_default()
}

/// In bytes, from `LAYBY_STACK_KIB`. OpenSSL's own is 32 KiB.
fn stack_size() -> usize {
    const DEFAULT_KIB: usize = 256;
    let kib = std::env::var("LAYBY_STACK_KIB").ok().and_then(|kib| kib.parse::<usize>().ok());
    kib.unwrap_or(DEFAULT_KIB).clamp(32, 1 << 20) * 1024
}

/// `ASYNC_init_thread`, with sizes that fit: replaces the pool. Jobs of the old one end in it.
pub(crate) fn init(max_jobs: usize, at_once: usize) -> bool {
    let pool = make_pool(max_jobs);
    pool.preallocate(at_once);
    let thread = this();
    let has_home = thread.home().is_some();
    if has_home {
        thread.pool.replace(Some(pool));
    }
    has_home
}

/// `ASYNC_cleanup_thread`
pub(crate) fn clean_up() {
    let thread = this();
    if thread.current.get().handle != 0 {
        complain(Complaint::InsideJob);
        return;
    }
    thread.clean_up();
}

/// Starts a job.
///
/// # Safety
///
/// `args` is null, or points to `size` bytes that stay as they are during the call.
#[inline(always)]
pub(crate) unsafe fn start(
    wait: Option<&'static WaitRecord>,
    function: Function,
    args: *const c_void,
    size: usize,
) -> Outcome {
    let mut call = Call::new(function, args, size);
    let thread = this();
    thread.read_news();
    let Some(home) = thread.home() else { return Outcome::NoMemory };
    let pool = thread.pool();
    let admitted = thread.table.borrow_mut().admit(home, wait);
    let Some((place, handle)) = admitted else { return Outcome::NoMemory };
    let outer = thread.current.replace(Current { handle, wait });
    let present = LibraryContext::current();
    let to_run = &raw mut call;
    // SAFETY: the call stays where it is until this function returns, and the caller vouches for the arguments.
    let started = contain(|| pool.start(move || unsafe { Call::run(to_run) }));
    let left = LibraryContext::current();
    present.install(left);
    thread.current.set(outer);
    if matches!(started, Some(Err(_))) {
        return thread.refuse_start(home, place);
    }
    home.counts.started.add();
    // A place is made when all others are taken.
    home.counts.note_live(place as u64 + 1);
    let Some(Ok(step)) = started else { return thread.settle_panic(home, place) };
    let outcome = thread.settle_step(home, place, step, left);
    if call.has_no_memory() { Outcome::NoMemory } else { outcome }
}

/// Resumes the paused job of a handle.
#[inline(always)]
pub(crate) fn resume(handle: usize) -> Outcome {
    let thread = this();
    thread.read_news();
    let Some(home) = thread.home() else { return Outcome::NoMemory };
    let Taken { place, job, library, wait } = match thread.take_paused(home, handle) {
        Ok(taken) => taken,
        Err(refused) => return refused,
    };
    let outer = thread.current.replace(Current { handle, wait });
    let present = LibraryContext::current();
    library.install(present);
    let step = contain(|| job.resume());
    let left = LibraryContext::current();
    present.install(left);
    thread.current.set(outer);
    let Some(step) = step else { return thread.settle_panic(home, place) };
    thread.settle_step(home, place, step, left)
}

/// `ASYNC_pause_job`. Nothing happens outside a job, and where pausing is blocked.
#[inline(always)]
pub(crate) fn pause() {
    let thread = this();
    let Current { handle, wait } = thread.current.get();
    if handle != 0
        && thread.blocks.get() == 0
        && job_core::pause() == Pause::Resumed
        && let Some(wait) = wait
    {
        wait.open_window();
    }
}

/// The handle of the running job, or 0.
#[inline]
pub(crate) fn current() -> usize {
    this().current.get().handle
}

/// `ASYNC_block_pause` and `ASYNC_unblock_pause`
pub(crate) fn change_blocks(change: impl FnOnce(u32) -> u32) {
    let thread = this();
    if thread.current.get().handle != 0 {
        thread.blocks.set(change(thread.blocks.get()));
    }
}

/// `ASYNC_WAIT_CTX_new`
#[inline]
pub(crate) fn new_wait() -> Option<&'static WaitRecord> {
    WaitRecord::new(this().freed_wait.take())
}

/// `ASYNC_WAIT_CTX_free`, and reclaims what can be reclaimed now.
#[inline]
pub(crate) fn free_wait(address: *const c_void) {
    let freed = WaitRecord::free(address);
    let thread = this();
    if let Some(freed) = freed {
        thread.keep(freed);
    }
    thread.read_news();
}

/// The wait context of a live job, of any thread. A job whose context was freed has none, and its engine is done with it.
pub(crate) fn wait_of(handle: usize) -> Option<&'static WaitRecord> {
    let address = JobRecord::wait_of(handle)?;
    let wait = WaitRecord::of_job(address);
    if wait.is_none() && address != 0 {
        JobRecord::tell(handle, WOKEN);
    }
    wait
}
