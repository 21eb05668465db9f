//! Threads with an owner: dropping the owner waits for none of them, shutting it down joins them.
//!
//! ```text
//!   spawn --> alive --> ended --> joined      by a reaper, while the owner is shut down
//!               |
//!               +-- the owner is dropped --> counted in threads_ending() until it has ended
//! ```
//!
//! Rules:
//! 1. Only a reaper joins, a thread that runs nothing else. A caller that shuts down waits for the reaper's count, so its
//!    deadline holds even where a thread is stuck in the destructor of a thread-local.
//! 2. Threads do not survive a fork: in the child there is only the one that forked. So a drop in another process than the
//!    owner's touches neither lock nor thread.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use forkguard::Guard;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::clock::Wait;
use crate::error::DeviceError;
use crate::event::event;
use crate::sync::lock;

/// The process that a value was made in, for values that rely on threads.
///
/// In a child made by `fork` those threads do not exist, and a lock may be held by one of them for ever. So a value that
/// relies on threads checks [`is_here`](Self::is_here) before it takes a lock or waits, reports an error when it is used,
/// and leaks its threads instead of joining them when it is dropped.
#[derive(Clone, Debug)]
pub struct HomeProcess(Guard);

impl HomeProcess {
    /// The process that runs this.
    pub fn current() -> Self {
        Self(forkguard::new())
    }

    /// Whether this is still that process. Costs one load: `fork` counts itself in the child. A child that was made by
    /// the bare system call `clone` is not noticed.
    pub fn is_here(&self) -> bool {
        !self.0.clone().detected_fork()
    }
}

/// The error text of a device that is used in another process than its own.
pub const MADE_ELSEWHERE: &str =
    "it was made in another process, and its threads are not in this one: make it after the fork";

/// Starts a thread that takes no signals of the application. The mask of the calling thread is restored.
///
/// A signal sent to a process is delivered to any thread that does not block it. A program that blocks SIGTERM or SIGUSR1
/// in all its threads, to wait for it in one place, would be killed through a thread of this crate that does not. So
/// these threads block all signals, from their first instruction on, but those of the thread itself (faults) and SIGPROF,
/// with which profilers sample every thread.
fn spawn_without_signals(
    name: impl Into<String>,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGSEGV, SIGSYS, SIGTRAP};

    let mut mask = SigSet::all();
    for signal in [SIGPROF, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS] {
        mask.remove(signal);
    }
    // Fails only for invalid arguments.
    let before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let spawned = thread::Builder::new().name(name.into()).spawn(run);
    before.thread_set_mask()?;
    spawned
}

/// Threads whose owner was dropped and that have not ended yet.
static ENDING: AtomicUsize = AtomicUsize::new(0);

/// How many threads of this process have not ended although their owner was dropped: each is in a call that has not
/// returned, or about to end.
pub fn threads_ending() -> usize {
    ENDING.load(Ordering::Acquire)
}

/// How a shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "while a call is stuck the process cannot exit safely"]
pub enum Shutdown {
    /// Every thread has ended and was joined.
    Drained,
    /// The deadline passed before.
    Stuck {
        /// How many calls have not returned: threads that are still in one, or requests that a device without threads of
        /// its own has not answered.
        n: usize,
    },
}

impl Shutdown {
    /// [`Stuck`](Self::Stuck) with `n` calls, or [`Drained`](Self::Drained) if there are none.
    pub const fn of(n: usize) -> Self {
        if n == 0 { Self::Drained } else { Self::Stuck { n } }
    }

    /// How many calls have not returned; 0 if drained.
    pub const fn n_stuck(self) -> usize {
        match self {
            Self::Drained => 0,
            Self::Stuck { n } => n,
        }
    }

    /// The result of two shutdowns together.
    pub const fn and(self, other: Self) -> Self {
        Self::of(self.n_stuck().saturating_add(other.n_stuck()))
    }
}

/// Calls its argument, which blocks, once before it returns. An error means that it was not called.
pub type BlockingScope = fn(&mut dyn FnMut()) -> Result<(), DeviceError>;

/// Threads that one owner has started, for devices that are made of threads.
///
/// Dropping it neither stops nor waits for them: they end when their closures return, and count in [`threads_ending`]
/// until then. [`join`](Self::join) waits.
pub struct OwnedThreads {
    list: Arc<ThreadList>,
    home: HomeProcess,
}

#[derive(Default)]
struct ThreadList {
    threads: Mutex<Threads>,
    changed: Condvar,
}

#[derive(Default)]
struct Threads {
    /// The threads that are not joined yet.
    handles: Vec<Owned>,
    alive: usize,
    /// Being joined by a reaper, which has taken them out of `threads`.
    joining: usize,
    /// A reaper runs. It ends when there is nothing left to join.
    reaping: bool,
    owner_dropped: bool,
}

struct Owned {
    handle: JoinHandle<()>,
    ended: Arc<AtomicBool>,
}

impl OwnedThreads {
    /// Long enough for a thread that is in no call to end, even on a busy machine.
    pub const A_MOMENT: Duration = Duration::from_secs(1);

    /// No threads yet.
    pub fn new() -> Self {
        Self { list: Arc::default(), home: HomeProcess::current() }
    }

    /// Starts a thread. A panic in `run` is logged and ends that thread only.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let ended = Arc::<AtomicBool>::default();
        {
            let mut threads = lock(&self.list.threads);
            threads.alive += 1;
            if threads.owner_dropped {
                ENDING.fetch_add(1, Ordering::AcqRel);
            }
        }
        // Dropped with the closure if the thread cannot be started.
        let end = End { list: Arc::clone(&self.list), ended: Arc::clone(&ended) };
        let handle = spawn_without_signals(name, move || {
            let _end = end;
            let _contained = wait_ctx::contain("a thread", run);
        })?;
        let mut threads = lock(&self.list.threads);
        // Threads that have ended by themselves need no join: drops their handles, so that the list does not grow.
        threads.handles.retain(|owned| !owned.handle.is_finished());
        threads.handles.push(Owned { handle, ended });
        drop(threads);
        self.list.changed.notify_all();
        Ok(())
    }

    /// Whether the caller runs on one of these threads.
    pub fn contains_current(&self) -> bool {
        let me = thread::current().id();
        lock(&self.list.threads).handles.iter().any(|owned| owned.is(me))
    }

    /// How many of the threads have not ended.
    pub fn n_alive(&self) -> usize {
        lock(&self.list.threads).alive
    }

    /// Counts the threads in [`threads_ending`] from now on, as a drop does: for an owner that shares this with its threads.
    pub fn let_go(&self) {
        let mut threads = lock(&self.list.threads);
        if !mem::replace(&mut threads.owner_dropped, true) {
            ENDING.fetch_add(threads.alive, Ordering::AcqRel);
        }
    }

    /// The process that the threads are in.
    pub fn home(&self) -> &HomeProcess {
        &self.home
    }

    /// Waits, at most `deadline`, until all threads have ended, and joins them. Returns how many were not joined by then. It
    /// does not end them: tell them to end first.
    ///
    /// Allow at least [`A_MOMENT`](Self::A_MOMENT): a thread that is in no call needs time to end, too. Called on one of
    /// these threads it does not wait for that one, which counts as not joined. In another process it waits for nothing.
    pub fn join(&self, deadline: Duration) -> Shutdown {
        if !self.home.is_here() {
            return Shutdown::Drained;
        }
        let (wait, list) = (Wait::at_most(deadline), &self.list);
        let me = thread::current().id();
        let mut threads = lock(&list.threads);
        if threads.handles.is_empty() && threads.joining == 0 {
            return Shutdown::Drained;
        }
        if !threads.reaping {
            threads.reaping = true;
            let reaper = Arc::clone(list);
            if let Err(error) = spawn_without_signals("reaper", move || reaper.reap()) {
                threads.reaping = false;
                event!(ERROR, %error, "threads.no_reaper");
                return Shutdown::of(threads.handles.len() + threads.joining);
            }
        }
        loop {
            let left = threads.handles.len() + threads.joining;
            let own = usize::from(threads.handles.iter().any(|owned| owned.is(me)));
            if left <= own {
                return Shutdown::of(left);
            }
            let late;
            (threads, late) = wait.on(&list.changed, threads);
            if late && threads.handles.len() + threads.joining > own {
                // The reaper goes on, and ends with the last of them.
                return Shutdown::of(threads.handles.len() + threads.joining);
            }
        }
    }
}

impl Owned {
    fn is(&self, id: ThreadId) -> bool {
        self.handle.thread().id() == id
    }
}

impl ThreadList {
    /// Joins threads in the order in which they end, until there are none.
    fn reap(&self) {
        let mut threads = lock(&self.threads);
        loop {
            let ended = |owned: &mut Owned| owned.ended.load(Ordering::Acquire);
            let ready: Vec<_> = threads.handles.extract_if(.., ended).collect();
            if ready.is_empty() {
                if threads.handles.is_empty() {
                    threads.reaping = false;
                    return;
                }
                threads = self.changed.wait(threads).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            threads.joining += ready.len();
            drop(threads);
            for owned in ready {
                // The thread has run its last statement, and contained a panic before that.
                let _ = owned.handle.join();
                lock(&self.threads).joining -= 1;
                self.changed.notify_all();
            }
            threads = lock(&self.threads);
        }
    }
}

/// Counts a thread until it has ended, however it ends.
struct End {
    list: Arc<ThreadList>,
    ended: Arc<AtomicBool>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut threads = lock(&self.list.threads);
        threads.alive -= 1;
        self.ended.store(true, Ordering::Release);
        if threads.owner_dropped {
            ENDING.fetch_sub(1, Ordering::AcqRel);
        }
        drop(threads);
        self.list.changed.notify_all();
    }
}

impl Drop for OwnedThreads {
    fn drop(&mut self) {
        if !self.home.is_here() {
            // The handles name threads of another process, whose numbers may be in use here: leaked.
            mem::forget(Arc::clone(&self.list));
            return;
        }
        self.let_go();
        let mut threads = lock(&self.list.threads);
        if !threads.reaping {
            let handles = mem::take(&mut threads.handles);
            drop(threads);
            drop(handles);
        }
    }
}

impl Default for OwnedThreads {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OwnedThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedThreads").field("alive", &self.n_alive()).finish_non_exhaustive()
    }
}

/// A shutdown under way, as a future of any executor. It goes on if this is dropped.
pub struct ShuttingDown {
    result: Arc<Mutex<ShutdownResult>>,
}

#[derive(Default)]
struct ShutdownResult {
    outcome: Option<Shutdown>,
    waker: Option<Waker>,
}

impl ShuttingDown {
    /// Runs `shut_down`, which may block for the deadline that it is passed, on a thread of its own. If the system gives no
    /// thread, runs it here with a deadline of zero.
    pub fn on_own_thread(
        deadline: Duration,
        shut_down: impl FnOnce(Duration) -> Shutdown + Send + 'static,
    ) -> Self {
        let slot = Arc::<Mutex<ShutdownResult>>::default();
        // Shared: if the thread cannot be started, the closure passed to it is dropped.
        let job = Arc::new(Mutex::new(Some(shut_down)));
        let (theirs, done) = (Arc::clone(&job), Arc::clone(&slot));
        let spawned = spawn_without_signals("shutdown", move || {
            let job = lock(&theirs).take();
            if let Some(shut_down) = job {
                finish(&done, wait_ctx::contain("a shutdown", || shut_down(deadline)));
            }
        });
        if let Err(error) = spawned {
            event!(ERROR, %error, "shutdown.no_thread");
            let job = lock(&job).take();
            if let Some(shut_down) = job {
                finish(&slot, wait_ctx::contain("a shutdown", || shut_down(Duration::ZERO)));
            }
        }
        Self { result: slot }
    }

    /// A shutdown that has ended.
    pub fn ready(outcome: Shutdown) -> Self {
        Self {
            result: Arc::new(Mutex::new(ShutdownResult { outcome: Some(outcome), waker: None })),
        }
    }
}

/// Stores the outcome of a shutdown, after all that it owned was dropped.
fn finish(slot: &Mutex<ShutdownResult>, outcome: Result<Shutdown, wait_ctx::Panicked>) {
    let waker = {
        let mut slot = lock(slot);
        slot.outcome = Some(outcome.unwrap_or(Shutdown::Stuck { n: 1 }));
        slot.waker.take()
    };
    if let Some(waker) = waker {
        let _contained = wait_ctx::contain("a waker", || waker.wake());
    }
}

impl Future for ShuttingDown {
    type Output = Shutdown;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Shutdown> {
        // Wakers are foreign code, and are cloned and dropped without the lock.
        let waker = cx.waker().clone();
        let mut slot = lock(&self.result);
        if let Some(outcome) = slot.outcome {
            return Poll::Ready(outcome);
        }
        let old = slot.waker.replace(waker);
        drop(slot);
        drop(old);
        Poll::Pending
    }
}

impl fmt::Debug for ShuttingDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShuttingDown").finish_non_exhaustive()
    }
}
