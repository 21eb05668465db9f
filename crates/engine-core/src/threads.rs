//! Threads with an owner: dropping the owner waits for none of them, shutting it down joins them.
//!
//! ```text
//!   spawn --> alive --> ended --> joined      by a reaper, while somebody shuts the owner down
//!               |
//!               +-- the owner is dropped --> counted in threads_ending() until it has ended
//! ```
//!
//! Rules:
//! 1. Only a reaper joins, and a reaper is a thread that runs nothing else. A caller that shuts down waits for its count, so a
//!    deadline holds even where a thread is stuck in the destructor of a thread-local.
//! 2. A drop in another process than the owner's touches neither lock nor thread: both may belong to threads that do not
//!    exist there.

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

use crate::clock::Wait;
use crate::error::DeviceError;
use crate::home::HomeProcess;
use crate::signals::spawn_without_signals;
use crate::sync::lock;

/// Threads whose owner was dropped and that have not ended yet.
static ENDING: AtomicUsize = AtomicUsize::new(0);

/// How many threads of this process have lost their owner to a drop and have not ended yet: each is in a call that has
/// not returned, or on its way out.
pub fn threads_ending() -> usize {
    ENDING.load(Ordering::Acquire)
}

/// How a shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "if something is stuck the process is not safe to exit normally"]
pub enum Shutdown {
    /// Nothing runs any more, and every thread has been joined.
    Drained,
    /// The deadline passed before.
    Stuck {
        /// How many calls have not returned: threads that are still in one, or, for a device without threads of ours,
        /// requests that it has not answered.
        n: usize,
    },
}

impl Shutdown {
    /// The outcome for `n` calls that have not returned.
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

    /// The outcome of two shutdowns together.
    pub const fn and(self, other: Self) -> Self {
        Self::of(self.n_stuck().saturating_add(other.n_stuck()))
    }
}

/// Calls its argument, which blocks, once and before it returns. An error says that it was not called.
pub type BlockingScope = fn(&mut dyn FnMut()) -> Result<(), DeviceError>;

/// Threads that one owner has started, for devices that are made of threads.
///
/// Dropping it waits for none of them: they are told nothing, end when their closures return, and count in
/// [`threads_ending`] until then. [`join`](Self::join) waits.
pub struct OwnedThreads {
    shared: Arc<Shared>,
    home: HomeProcess,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Those not yet joined.
    threads: Vec<Owned>,
    alive: usize,
    /// Being joined by a reaper, which has taken them out of `threads`.
    joining: usize,
    /// A reaper is at work. It ends when there is nothing left to join.
    reaping: bool,
    owner_dropped: bool,
}

struct Owned {
    handle: JoinHandle<()>,
    ended: Arc<AtomicBool>,
}

impl OwnedThreads {
    /// What a thread that is in no call needs to end, on a machine that is short of processors.
    pub const A_MOMENT: Duration = Duration::from_secs(1);

    /// No threads yet.
    pub fn new() -> Self {
        Self { shared: Arc::default(), home: HomeProcess::current() }
    }

    /// Starts a thread. A panic in `run` is logged and ends that thread only.
    ///
    /// # Errors
    ///
    /// Those of the system that gives no thread.
    pub fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let ended = Arc::<AtomicBool>::default();
        {
            let mut state = lock(&self.shared.state);
            state.alive += 1;
            if state.owner_dropped {
                ENDING.fetch_add(1, Ordering::AcqRel);
            }
        }
        // Dropped with the closure if the thread cannot be started.
        let end = End { shared: Arc::clone(&self.shared), ended: Arc::clone(&ended) };
        let handle = spawn_without_signals(thread::Builder::new().name(name), move || {
            let _end = end;
            let _contained = wait_ctx::contain("a thread", run);
        })?;
        let mut state = lock(&self.shared.state);
        // Those that have ended by themselves need no join; their handles are let go here, not kept for ever.
        state.threads.retain(|owned| !owned.handle.is_finished());
        state.threads.push(Owned { handle, ended });
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Whether the caller runs on one of these threads.
    pub fn contains_current(&self) -> bool {
        let me = thread::current().id();
        lock(&self.shared.state).threads.iter().any(|owned| owned.is(me))
    }

    /// How many of the threads have not ended.
    pub fn n_alive(&self) -> usize {
        lock(&self.shared.state).alive
    }

    /// Counts the threads in [`threads_ending`] from now on, as a drop does: for an owner that shares this with its threads.
    pub fn let_go(&self) {
        let mut state = lock(&self.shared.state);
        if !mem::replace(&mut state.owner_dropped, true) {
            ENDING.fetch_add(state.alive, Ordering::AcqRel);
        }
    }

    /// The process that the threads are in.
    pub fn home(&self) -> HomeProcess {
        self.home
    }

    /// Waits, at most `deadline`, until all threads have ended, and joins them. Returns how many have not been joined by
    /// then. Tell them to end before.
    ///
    /// A thread that is in no call still needs a moment to end: [`A_MOMENT`](Self::A_MOMENT) is long enough. On one of these
    /// threads it does not wait for that one, which counts as not joined. In another process than the one they were started
    /// in there is nothing to wait for.
    pub fn join(&self, deadline: Duration) -> Shutdown {
        if !self.home.is_here() {
            return Shutdown::Drained;
        }
        let (wait, shared) = (Wait::at_most(deadline), &self.shared);
        let me = thread::current().id();
        let mut state = lock(&shared.state);
        if state.threads.is_empty() && state.joining == 0 {
            return Shutdown::Drained;
        }
        if !state.reaping {
            state.reaping = true;
            let reaper = Arc::clone(shared);
            let started = spawn_without_signals(
                thread::Builder::new().name(String::from("reaper")),
                move || reaper.reap(),
            );
            if let Err(error) = started {
                state.reaping = false;
                tracing::error!(%error, "threads.no_reaper");
                return Shutdown::of(state.threads.len() + state.joining);
            }
        }
        loop {
            let left = state.threads.len() + state.joining;
            let own = usize::from(state.threads.iter().any(|owned| owned.is(me)));
            if left <= own {
                return Shutdown::of(left);
            }
            let late;
            (state, late) = wait.on(&shared.changed, state);
            if late && state.threads.len() + state.joining > own {
                // The reaper goes on by itself, and ends with the last of them.
                return Shutdown::of(state.threads.len() + state.joining);
            }
        }
    }
}

impl Owned {
    fn is(&self, id: ThreadId) -> bool {
        self.handle.thread().id() == id
    }
}

impl Shared {
    /// Joins threads in the order in which they end, until there are none.
    fn reap(&self) {
        let mut state = lock(&self.state);
        loop {
            let ended = |owned: &mut Owned| owned.ended.load(Ordering::Acquire);
            let ready: Vec<_> = state.threads.extract_if(.., ended).collect();
            if ready.is_empty() {
                if state.threads.is_empty() {
                    state.reaping = false;
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.joining += ready.len();
            drop(state);
            for owned in ready {
                // It has left its last statement, and a panic was contained there.
                let _ = owned.handle.join();
                lock(&self.state).joining -= 1;
                self.changed.notify_all();
            }
            state = lock(&self.state);
        }
    }
}

/// Counts a thread until it has ended, however it ends.
struct End {
    shared: Arc<Shared>,
    ended: Arc<AtomicBool>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.alive -= 1;
        self.ended.store(true, Ordering::Release);
        if state.owner_dropped {
            ENDING.fetch_sub(1, Ordering::AcqRel);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for OwnedThreads {
    fn drop(&mut self) {
        if !self.home.is_here() {
            // The handles name threads of another process, and their numbers may be in use here: never let go of.
            mem::forget(Arc::clone(&self.shared));
            return;
        }
        self.let_go();
        let mut state = lock(&self.shared.state);
        if !state.reaping {
            let handles = mem::take(&mut state.threads);
            drop(state);
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
        f.debug_struct("OwnedThreads").finish_non_exhaustive()
    }
}

/// A shutdown under way, as a future of any executor. It goes on if this is dropped.
pub struct ShuttingDown {
    slot: Arc<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    outcome: Option<Shutdown>,
    waker: Option<Waker>,
}

impl ShuttingDown {
    /// Runs `shut_down`, which may block for as long as the deadline it is given, on a thread of its own. If the system
    /// gives no thread it is called here, with no time to wait.
    pub fn on_own_thread(
        deadline: Duration,
        shut_down: impl FnOnce(Duration) -> Shutdown + Send + 'static,
    ) -> Self {
        let slot = Arc::<Mutex<Slot>>::default();
        // Shared, so that it is not lost with a thread that was not to be had.
        let job = Arc::new(Mutex::new(Some(shut_down)));
        let (theirs, done) = (Arc::clone(&job), Arc::clone(&slot));
        let spawned = spawn_without_signals(
            thread::Builder::new().name(String::from("shutdown")),
            move || {
                let job = lock(&theirs).take();
                if let Some(shut_down) = job {
                    finish(&done, wait_ctx::contain("a shutdown", || shut_down(deadline)));
                }
            },
        );
        if let Err(error) = spawned {
            tracing::error!(%error, "shutdown.no_thread");
            let job = lock(&job).take();
            if let Some(shut_down) = job {
                finish(&slot, wait_ctx::contain("a shutdown", || shut_down(Duration::ZERO)));
            }
        }
        Self { slot }
    }

    /// One that has ended.
    pub fn ready(outcome: Shutdown) -> Self {
        Self { slot: Arc::new(Mutex::new(Slot { outcome: Some(outcome), waker: None })) }
    }
}

/// Everything that the shutdown owned has been dropped by now.
fn finish(slot: &Mutex<Slot>, outcome: Result<Shutdown, wait_ctx::Panicked>) {
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
        let mut slot = lock(&self.slot);
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
