//! The jobs of one thread: start, pause, resume, reclaim.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem::{self, MaybeUninit};

use job_core::{Job, JobPool, Pause, Step};

use crate::complaint::{Complaint, complain};
use crate::load;
use crate::openssl::{self, LibraryContext};
use crate::record::{FREED, Home, JobRecord, WOKEN};
use crate::wait::WaitRecord;

/// What a job runs.
pub(crate) type Function = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

/// How a start or a resume ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished(c_int),
    /// With the handle to resume it by.
    Paused(usize),
    NoJobs,
    /// The handle is of no job: stale, or not of this library.
    NoSuchJob,
    /// The job exists, and stays as it is.
    Refused,
    /// There is no memory for what the library has to remember.
    NoMemory,
    /// The thread has ended, or OpenSSL was cleaned up.
    Over,
}

thread_local! {
    static THREAD: Thread = const { Thread::new() };
}

/// The state of this thread.
struct Thread {
    current: Cell<Current>,
    /// Calls of `ASYNC_block_pause` without their `ASYNC_unblock_pause`. As in OpenSSL, it is the thread's, not the job's.
    blocks: Cell<u32>,
    home: Cell<Option<&'static Home>>,
    pool: RefCell<Option<JobPool>>,
    table: RefCell<Table>,
}

/// The innermost running job.
#[derive(Clone, Copy)]
struct Current {
    /// 0 outside a job.
    handle: usize,
    wait: Option<&'static WaitRecord>,
}

/// The places for jobs, and which of them are free.
struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

/// A place for one job.
struct Entry {
    record: &'static JobRecord,
    wait: Option<&'static WaitRecord>,
    phase: Phase,
    /// The job's default library context, while it is paused.
    library: LibraryContext,
    /// News about the job that came before they could be acted on.
    news: u8,
}

/// Never dropped with a job in it: that would resume the job, to cancel it.
enum Phase {
    Free,
    Running,
    Paused(Job<c_int>),
    /// Paused, and its wait context was freed. What it waits for may still write to its stack.
    Orphan(Job<c_int>),
}

/// A job's function with its arguments.
struct Call {
    function: Function,
    args: Args,
}

/// Arguments up to this size are copied to the job's own stack.
const SMALL: usize = 512;

enum Args {
    /// Of the caller, who waits while they are copied.
    Borrowed(*const u8, usize),
    /// Copied already.
    Large(Box<[u128]>),
}

impl Call {
    /// Copies arguments that are too large for the stack. `None` if there is no memory.
    ///
    /// # Safety
    ///
    /// `args` is null, or points to `size` bytes.
    pub(crate) unsafe fn new(function: Function, args: *const c_void, size: usize) -> Option<Self> {
        let args = args.cast::<u8>();
        if size <= SMALL || args.is_null() {
            return Some(Self { function, args: Args::Borrowed(args, size) });
        }
        let words = size.div_ceil(size_of::<u128>());
        let mut copy = Vec::new();
        copy.try_reserve_exact(words).ok()?;
        copy.resize(words, 0_u128);
        // SAFETY: the caller vouches for the source; the copy has at least as much room.
        unsafe { args.copy_to_nonoverlapping(copy.as_mut_ptr().cast(), size) };
        Some(Self { function, args: Args::Large(copy.into_boxed_slice()) })
    }

    /// Runs the function, as the job.
    fn run(self) -> c_int {
        #[repr(align(16))]
        struct Room(MaybeUninit<[u8; SMALL]>);

        let mut room = Room(MaybeUninit::uninit());
        let mut large;
        let args: *mut c_void = match self.args {
            Args::Borrowed(args, size) if args.is_null() || size == 0 => std::ptr::null_mut(),
            Args::Borrowed(args, size) => {
                let copy = room.0.as_mut_ptr().cast::<u8>();
                // SAFETY: there are at most `SMALL` bytes, and their owner is in the call that started the job: this is
                // before its first pause.
                unsafe { args.copy_to_nonoverlapping(copy, size) };
                copy.cast()
            }
            Args::Large(copy) => {
                large = copy;
                large.as_mut_ptr().cast()
            }
        };
        // SAFETY: the program's function, with the copy of the arguments that the program gave for it.
        unsafe { (self.function)(args) }
    }
}

impl Table {
    /// A place for a job that begins, and its handle.
    #[inline]
    fn admit(
        &mut self,
        home: &'static Home,
        wait: Option<&'static WaitRecord>,
    ) -> Option<(usize, usize)> {
        let place = match self.free.pop() {
            Some(place) => place as usize,
            None => self.grow(home)?,
        };
        let entry = &mut self.entries[place];
        entry.phase = Phase::Running;
        entry.wait = wait;
        let handle = entry.record.begin(wait.map_or(0, |wait| wait.address().addr()));
        if let Some(wait) = wait {
            wait.attach(entry.record);
        }
        Some((place, handle))
    }

    #[cold]
    fn grow(&mut self, home: &'static Home) -> Option<usize> {
        let place = self.entries.len();
        self.entries.try_reserve(1).ok()?;
        let record = JobRecord::take(home, u32::try_from(place).ok()?)?;
        let (phase, library) = (Phase::Free, LibraryContext::NONE);
        self.entries.push(Entry { record, wait: None, phase, library, news: 0 });
        Some(place)
    }

    /// The job at a place has ended.
    #[inline]
    fn release(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        if let Some(wait) = entry.wait.take() {
            wait.detach(entry.record);
        }
        entry.record.end();
        entry.phase = Phase::Free;
        entry.news = 0;
        self.free.push(u32::try_from(place).expect("places are counted so"));
    }

    /// Acts on news about the job at a place. Returns the job if it is to be reclaimed.
    fn orphan_or_reclaim(&mut self, home: &Home, place: usize, news: u8) -> Option<Job<c_int>> {
        let Entry { phase, news: unread, .. } = &mut self.entries[place];
        // An engine may look for the context while another thread closes it: then it has woken the job before the context
        // counts as freed.
        *unread |= news;
        let news = *unread;
        let job = match mem::replace(phase, Phase::Running) {
            Phase::Paused(job) if news & FREED != 0 => {
                home.counts.orphans.add();
                job
            }
            Phase::Orphan(job) => job,
            other => {
                *phase = other;
                return None;
            }
        };
        if news & WOKEN == 0 {
            *phase = Phase::Orphan(job);
            return None;
        }
        Some(job)
    }
}

impl Thread {
    const fn new() -> Self {
        Self {
            current: Cell::new(Current { handle: 0, wait: None }),
            blocks: Cell::new(0),
            home: Cell::new(None),
            pool: RefCell::new(None),
            table: RefCell::new(Table { entries: Vec::new(), free: Vec::new() }),
        }
    }

    /// The public half, made by the first call that needs it.
    fn home(&self) -> Option<&'static Home> {
        if self.home.get().is_none() {
            self.home.set(Home::take());
        }
        self.home.get()
    }

    /// The pool, made without a limit if there is none yet.
    fn pool(&self) -> JobPool {
        self.pool.borrow_mut().get_or_insert_with(|| make_pool(0)).clone()
    }

    /// Takes a paused job out, to resume it.
    fn take_paused(
        &self,
        handle: usize,
    ) -> Result<(usize, Job<c_int>, LibraryContext, Current), Outcome> {
        let Some(record) = JobRecord::find(handle) else {
            let is_ours = JobRecord::is_ours(handle);
            complain(if is_ours { Complaint::StaleJob } else { Complaint::ForeignJob });
            return Err(Outcome::NoSuchJob);
        };
        if !self.home.get().is_some_and(|home| record.is_at(home)) {
            complain(Complaint::OtherThread);
            return Err(Outcome::Refused);
        }
        let place = record.place();
        let mut table = self.table.borrow_mut();
        let entry = &mut table.entries[place];
        match mem::replace(&mut entry.phase, Phase::Running) {
            Phase::Paused(job) => {
                let running = Current { handle, wait: entry.wait };
                Ok((place, job, entry.library, self.current.replace(running)))
            }
            phase => {
                let is_orphan = matches!(phase, Phase::Orphan(_));
                entry.phase = phase;
                complain(if is_orphan { Complaint::OrphanedJob } else { Complaint::RunningJob });
                Err(if is_orphan { Outcome::NoSuchJob } else { Outcome::Refused })
            }
        }
    }

    /// A switch to a job has ended.
    fn settle_step(&self, place: usize, step: Step<c_int>, library: LibraryContext) -> Outcome {
        let home = self.home.get().expect("a thread with a job has a home");
        match step {
            Step::Finished(value) => {
                home.counts.finished.add();
                home.counts.live.subtract();
                self.table.borrow_mut().release(place);
                Outcome::Finished(value)
            }
            Step::Paused(job) => {
                home.counts.pauses.add();
                let mut table = self.table.borrow_mut();
                let entry = &mut table.entries[place];
                entry.library = library;
                entry.phase = Phase::Paused(job);
                let outcome = Outcome::Paused(entry.record.handle());
                if entry.news != 0 {
                    // The context was freed while the job ran.
                    let reclaimed = table.orphan_or_reclaim(home, place, 0);
                    drop(table);
                    self.reclaim(home, place, reclaimed);
                }
                outcome
            }
        }
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
        home.take_news(|record, news| {
            if !record.is_at(home) || record.handle() == 0 {
                return;
            }
            let place = record.place();
            let reclaimed = self.table.borrow_mut().orphan_or_reclaim(home, place, news);
            self.reclaim(home, place, reclaimed);
        });
    }

    fn reclaim(&self, home: &'static Home, place: usize, job: Option<Job<c_int>>) {
        if let Some(job) = job {
            forget(job);
            home.counts.reclaimed.add();
            home.counts.live.subtract();
            self.table.borrow_mut().release(place);
        }
    }

    /// Ends the thread's jobs and drops its pool.
    fn clean_up(&self) {
        self.read_news();
        let Some(home) = self.home.get() else { return };
        let places = self.table.borrow().entries.len();
        for place in 0..places {
            let phase =
                mem::replace(&mut self.table.borrow_mut().entries[place].phase, Phase::Free);
            match phase {
                Phase::Free => {}
                Phase::Running => self.table.borrow_mut().entries[place].phase = phase,
                Phase::Paused(job) | Phase::Orphan(job) => {
                    forget(job);
                    home.counts.dropped.add();
                    home.counts.live.subtract();
                    self.table.borrow_mut().release(place);
                }
            }
        }
        self.blocks.set(0);
        let pool = self.pool.take();
        drop(pool);
    }
}

impl Drop for Thread {
    /// The thread ends.
    fn drop(&mut self) {
        let Some(home) = self.home.get() else { return };
        // SAFETY: it takes nothing.
        let thread = unsafe { libc::gettid() };
        let is_main = u32::try_from(thread) == Ok(std::process::id());
        let has_job = |entry: &Entry| !matches!(entry.phase, Phase::Free);
        if is_main && self.table.borrow().entries.iter().any(has_job) {
            // The process ends, and devices may still write to the stacks of paused jobs.
            mem::forget(self.pool.take());
            mem::forget(mem::take(&mut self.table.borrow_mut().entries));
            return;
        }
        self.clean_up();
        for entry in mem::take(&mut self.table.borrow_mut().entries) {
            entry.record.give_back();
        }
        home.give_back();
    }
}

/// Ends a job that is never to be resumed again.
fn forget(job: Job<c_int>) {
    // SAFETY: the job is paused in `pause`. On its stack are a few frames of job-core and of this module, which own nothing
    // but the copy of the arguments, which may leak; and frames of C, which have no destructors. No device writes to buffers
    // on the stack any more as far as its engine keeps to the manual page, on which a job that was woken has its results:
    // the engine has woken this one. Or the thread cleans up, before which the manual page wants every job done. An engine
    // that wakes a job of several operations at the first of them breaks this, and would break a job that is resumed as well.
    unsafe { job.forget_frames() };
}

fn make_pool(max_jobs: usize) -> JobPool {
    load::link();
    openssl::look_for();
    let builder = JobPool::builder().stack_size(stack_size());
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
    let replaced = THREAD.try_with(|thread| {
        thread.home()?;
        thread.pool.replace(Some(pool));
        Some(())
    });
    matches!(replaced, Ok(Some(())))
}

/// `ASYNC_cleanup_thread`
pub(crate) fn clean_up() {
    let _ = THREAD.try_with(|thread| {
        if thread.current.get().handle != 0 {
            complain(Complaint::InsideJob);
            return;
        }
        thread.clean_up();
    });
}

/// Starts a job.
///
/// # Safety
///
/// `args` is null, or points to `size` bytes that stay as they are during the call.
pub(crate) unsafe fn start(
    wait: Option<&'static WaitRecord>,
    function: Function,
    args: *const c_void,
    size: usize,
) -> Outcome {
    // SAFETY: as the caller asserts.
    let Some(call) = (unsafe { Call::new(function, args, size) }) else { return Outcome::NoMemory };
    let admitted = THREAD.try_with(|thread| {
        thread.read_news();
        let (pool, home) = (thread.pool(), thread.home()?);
        let (place, handle) = thread.table.borrow_mut().admit(home, wait)?;
        Some((pool, home, place, thread.current.replace(Current { handle, wait })))
    });
    let (pool, home, place, outer) = match admitted {
        Ok(Some(admitted)) => admitted,
        Ok(None) => return Outcome::NoMemory,
        Err(_) => return Outcome::Over,
    };
    let present = LibraryContext::current();
    let step = pool.start(move || call.run());
    let left = LibraryContext::current();
    present.install(left);
    let settled = THREAD.try_with(|thread| {
        thread.current.set(outer);
        match step {
            Ok(step) => {
                home.counts.count_start();
                thread.settle_step(place, step, left)
            }
            Err(_) => {
                home.counts.no_jobs.add();
                thread.table.borrow_mut().release(place);
                Outcome::NoJobs
            }
        }
    });
    settled.unwrap_or(Outcome::Over)
}

/// Resumes the paused job of a handle.
pub(crate) fn resume(handle: usize) -> Outcome {
    let taken = THREAD.try_with(|thread| {
        thread.read_news();
        thread.take_paused(handle)
    });
    let (place, job, library, outer) = match taken {
        Ok(Ok(taken)) => taken,
        Ok(Err(refused)) => return refused,
        Err(_) => return Outcome::Over,
    };
    let present = LibraryContext::current();
    library.install(present);
    let step = job.resume();
    let left = LibraryContext::current();
    present.install(left);
    let settled = THREAD.try_with(|thread| {
        thread.current.set(outer);
        thread.settle_step(place, step, left)
    });
    settled.unwrap_or(Outcome::Over)
}

/// `ASYNC_pause_job`. Nothing happens outside a job, and where pausing is blocked.
pub(crate) fn pause() {
    let running = THREAD.try_with(|thread| (thread.current.get(), thread.blocks.get()));
    let Ok((Current { handle, wait }, 0)) = running else { return };
    if handle != 0
        && job_core::pause() == Pause::Resumed
        && let Some(wait) = wait
    {
        wait.open_window();
    }
}

/// The handle of the running job, or 0.
#[inline]
pub(crate) fn current() -> usize {
    THREAD.try_with(|thread| thread.current.get().handle).unwrap_or(0)
}

/// `ASYNC_block_pause` and `ASYNC_unblock_pause`
pub(crate) fn change_blocks(change: impl FnOnce(u32) -> u32) {
    let _ = THREAD.try_with(|thread| {
        if thread.current.get().handle != 0 {
            thread.blocks.set(change(thread.blocks.get()));
        }
    });
}

/// Reclaims what can be reclaimed now.
pub(crate) fn settle() {
    let _ = THREAD.try_with(Thread::read_news);
}

/// The wait context of a live job, of any thread. A job whose context was freed has none, and its engine is done with it.
pub(crate) fn wait_of(handle: usize) -> Option<&'static WaitRecord> {
    let record = JobRecord::find(handle)?;
    let wait = WaitRecord::of(record);
    if wait.is_none() && record.wait() != 0 {
        record.tell(WOKEN);
    }
    wait
}
