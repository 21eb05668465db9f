//! A device made of threads: any blocking function as an accelerator.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::accelerator::{Accelerator, Capabilities, DeviceRefused, RoomNotice};
use crate::clock::Wait;
use crate::error::DeviceError;
use crate::event::event;
use crate::inline::carry_out;
use crate::request::Request;
use crate::shares::Shares;
use crate::stuck::{CallCount, Seen, Watch};
use crate::sync::lock;
use crate::thread_pool_builder::ThreadPoolBuilder;
use crate::threads::{OwnedThreads, Shutdown, ShuttingDown};
use crate::work::{Kind, Work};

/// Runs a blocking closure on threads of its own: the way to use a security module, a remote service or a software key
/// that has no asynchronous interface.
///
/// ```text
///   submit -- kind a --> ring of a --+
///        +--- kind b --> ring of b --+--> the next free thread --> closure --> complete
/// ```
///
/// Each kind has a ring of its own; the threads serve all kinds and are started as they are needed. A ring that is full
/// refuses; the engine's queue is before it.
///
/// # Slow kinds and fast ones
///
/// A slow kind never takes all threads from a fast one: while there are at least as many threads as kinds, one is reserved
/// for each kind that no thread works on. Kinds are known from their
/// first request on, or by [`kinds`](ThreadPoolBuilder::kinds) from the start. A kind that was not named, and whose
/// first request comes while all threads are busy, waits until the first of them is free. With fewer threads than kinds,
/// and with a single thread, the kinds alternate: each waits for at most one call of every other. If that may be too long,
/// use [`threads_per_kind`](ThreadPoolBuilder::threads_per_kind).
///
/// # Panics and calls that do not return
///
/// A panic in the closure fails its request and nothing else. A closure that does not return holds its thread for good: the deadline of the
/// [options](crate::RequestOptions) ends the request, and [`stuck_after`](ThreadPoolBuilder::stuck_after) starts another thread in its
/// place.
///
/// # Its end
///
/// [`shutdown`](Self::shutdown) stops the intake, waits for accepted requests until a deadline, ends the threads and joins
/// them; [`Engine::shutdown`](crate::Engine::shutdown) does so for the engine's device. Dropping the pool waits for
/// nothing, on any thread: its threads finish their calls and count in [`threads_ending`](crate::threads_ending) until
/// they have ended, and waiting requests end as lost.
///
/// In a child made by `fork` the pool refuses its work: the threads are in the parent. Make it after the fork.
///
/// The [crate's page](crate#examples) has an example.
pub struct ThreadPool<W: Work> {
    shared: Arc<PoolInner<W>>,
}

struct PoolInner<W: Work> {
    /// Makes the closure of one thread.
    make: Box<dyn Fn() -> Compute<W> + Send + Sync>,
    settings: ThreadPoolBuilder,
    state: Mutex<PoolState<W>>,
    /// Signalled when there may be work for a thread, or it has to end.
    work: Condvar,
    /// Signalled when a thread begins or ends a call while the pool is shut down.
    settled: Condvar,
    threads: OwnedThreads,
    /// Set once: nothing is accepted any more.
    closed: AtomicBool,
    /// One for each engine over this pool.
    rooms: Mutex<Vec<RoomNotice>>,
}

struct PoolState<W: Work> {
    shares: Shares,
    /// Requests that wait for a thread, each kind in order.
    rings: BTreeMap<Kind, VecDeque<Request<W>>>,
    workers: BTreeMap<WorkerId, Worker>,
    next_worker: WorkerId,
    /// Threads that wait for work.
    idle: usize,
    /// A ring was full since a thread last took a request: an engine waits for room.
    has_refused: bool,
    /// Threads end as soon as they have nothing to do.
    ending: bool,
    /// Each logs what happened under the lock.
    events: Vec<Box<dyn FnOnce() + Send>>,
}

/// Releases the lock, and logs what happened under it: a subscriber that blocks must not hold up the pool.
fn unlock<W: Work>(mut state: MutexGuard<'_, PoolState<W>>) {
    let events = core::mem::take(&mut state.events);
    drop(state);
    events.into_iter().for_each(|log| log());
}

impl<W: Work> PoolState<W> {
    /// How many threads are in a call, those included that have been replaced.
    fn n_busy(&self) -> usize {
        self.workers.values().filter(|worker| worker.kind.is_some()).count()
    }
}

type WorkerId = u64;

/// A running thread.
struct Worker {
    calls: Arc<CallCount>,
    watch: Watch,
    /// The kind that it computes.
    kind: Option<Kind>,
}

/// The closure of one thread.
type Compute<W> = Box<dyn FnMut(&W) -> Result<<W as Work>::Output, DeviceError>>;

impl ThreadPoolBuilder {
    /// Builds the pool. `compute` may block, and runs on several threads at once.
    pub fn build<W, F>(self, compute: F) -> ThreadPool<W>
    where
        W: Work,
        F: Fn(&W) -> Result<W::Output, DeviceError> + Send + Sync + 'static,
    {
        let compute = Arc::new(compute);
        self.build_per_thread(move || {
            let compute = Arc::clone(&compute);
            move |work: &W| compute(work)
        })
    }

    /// Builds a pool whose threads have a closure each, so that it can own what belongs to one thread: a session with a
    /// token, a connection. A thread calls `make` at its first request, and drops its closure when it ends. After a panic
    /// in the closure it drops it, too, and calls `make` again for the next request.
    ///
    /// ```
    /// # use engine_core::{CheckFailed, Engine, Kind, ThreadPoolBuilder, Work};
    /// # struct Double(u32);
    /// # impl Work for Double {
    /// #     type Output = u32;
    /// #     fn kind(&self) -> Kind { Kind::new("double") }
    /// #     fn check(&self, _: &u32) -> Result<(), CheckFailed> { Ok(()) }
    /// # }
    /// let pool = ThreadPoolBuilder::new().threads(2).build_per_thread(|| {
    ///     let mut calls = 0;
    ///     move |work: &Double| {
    ///         calls += 1;
    ///         Ok(2 * work.0)
    ///     }
    /// });
    /// let engine = Engine::builder(std::sync::Arc::new(pool)).build();
    /// assert_eq!(engine.run(Double(21)), Ok(42));
    /// ```
    pub fn build_per_thread<W, M, C>(self, make: M) -> ThreadPool<W>
    where
        W: Work,
        M: Fn() -> C + Send + Sync + 'static,
        C: FnMut(&W) -> Result<W::Output, DeviceError> + 'static,
    {
        let state = PoolState {
            shares: Shares::new(self.limit, self.kinds.iter().copied()),
            rings: BTreeMap::new(),
            workers: BTreeMap::new(),
            next_worker: 0,
            idle: 0,
            has_refused: false,
            ending: false,
            events: Vec::new(),
        };
        let shared = PoolInner {
            make: Box::new(move || Box::new(make())),
            settings: self,
            state: Mutex::new(state),
            work: Condvar::new(),
            settled: Condvar::new(),
            threads: OwnedThreads::new(),
            closed: AtomicBool::new(false),
            rooms: Mutex::default(),
        };
        ThreadPool { shared: Arc::new(shared) }
    }
}

impl<W: Work> ThreadPool<W> {
    /// How many threads the pool has now, stuck ones included. It starts them as they are needed.
    pub fn n_threads(&self) -> usize {
        self.shared.lock().workers.len()
    }

    /// How many of them are stuck, as far as [`stuck_after`](ThreadPoolBuilder::stuck_after) tells.
    pub fn n_stuck(&self) -> usize {
        self.shared.lock().workers.values().filter(|worker| worker.is_stuck()).count()
    }

    /// Stops the intake, waits for accepted requests until `deadline`, ends the threads and joins them. Requests that still
    /// wait for a thread then end as lost. Further shutdowns wait for the same.
    ///
    /// It begins at once, on a thread of its own; the future works with any executor, and may be dropped.
    pub fn shutdown(&self, deadline: Duration) -> ShuttingDown {
        if !self.shared.threads.home().is_here() {
            return ShuttingDown::ready(Shutdown::Drained);
        }
        let shared = Arc::clone(&self.shared);
        shared.closed.store(true, Ordering::Release);
        ShuttingDown::on_own_thread(deadline, move |deadline| shared.shut_down(deadline))
    }

    /// As [`shutdown`](Self::shutdown), and blocks. On a thread of the pool it does not wait for that thread, which counts
    /// as stuck.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        self.shared.shut_down(deadline)
    }
}

impl Worker {
    fn is_stuck(&self) -> bool {
        self.watch.is_stuck(self.calls.now())
    }
}

impl<W: Work> PoolInner<W> {
    fn lock(&self) -> MutexGuard<'_, PoolState<W>> {
        lock(&self.state)
    }

    /// Wakes or starts a thread if a request may be computed. Fails if there is no thread and the system gives none.
    fn provide_thread(self: &Arc<Self>, state: &mut PoolState<W>) -> io::Result<()> {
        let Some(kind) = state.shares.next() else { return Ok(()) };
        if state.idle > 0 {
            self.work.notify_one();
            return Ok(());
        }
        let working = state.workers.values().filter(|worker| !worker.calls.is_retired()).count();
        if working >= state.shares.n_threads() {
            return Ok(());
        }
        match self.start_worker(state) {
            // Fewer threads than allowed are slower, not wrong.
            Err(error) if working > 0 => {
                state.events.push(Box::new(
                    move || event!(WARN, kind = kind.name(), %error, "pool.fewer_threads"),
                ));
                Ok(())
            }
            started => started,
        }
    }

    fn start_worker(self: &Arc<Self>, state: &mut PoolState<W>) -> io::Result<()> {
        let (shared, id) = (Arc::clone(self), state.next_worker);
        let calls = Arc::<CallCount>::default();
        let own = Arc::clone(&calls);
        self.threads.spawn(self.settings.name.clone(), move || {
            // Its drop removes the thread from the list, however the thread ends.
            let listed = Listed { shared, id };
            listed.shared.work(id, &own);
        })?;
        state.next_worker += 1;
        state.workers.insert(id, Worker { calls, watch: Watch::default(), kind: None });
        Ok(())
    }

    /// Runs a thread of the pool. No panic of foreign code ends it.
    fn work(self: &Arc<Self>, id: WorkerId, calls: &CallCount) {
        let mut own: Option<Compute<W>> = None;
        while let Some((kind, request)) = self.next_request(id, calls) {
            calls.begin();
            let mut unfinished = false;
            let mut compute = |work: &W| {
                unfinished = true;
                let answer = own.get_or_insert_with(&self.make)(work);
                unfinished = false;
                answer
            };
            let _contained = wait_ctx::contain("a request", || carry_out(&mut compute, request));
            if unfinished {
                wait_ctx::contain_drop("the drop of a thread's closure", own.take());
            }
            calls.end();
            let mut state = self.lock();
            if let Some(worker) = state.workers.get_mut(&id)
                && worker.kind.take().is_some()
                && !calls.is_retired()
            {
                state.shares.end(kind);
            }
            drop(state);
            if self.closed.load(Ordering::Acquire) {
                self.settled.notify_all();
            }
        }
        wait_ctx::contain_drop("the drop of a thread's closure", own);
    }

    /// Waits for the next request of this thread; `None` if it has to end.
    fn next_request(
        self: &Arc<Self>,
        id: WorkerId,
        calls: &CallCount,
    ) -> Option<(Kind, Request<W>)> {
        let mut state = self.lock();
        loop {
            if calls.is_retired() || state.ending {
                return None;
            }
            if let Some(kind) = state.shares.next()
                && let Some(request) = state.rings.get_mut(&kind).and_then(VecDeque::pop_front)
            {
                state.shares.begin(kind);
                if let Some(worker) = state.workers.get_mut(&id) {
                    worker.kind = Some(kind);
                }
                // There may be more for other threads. If none can be started, this one continues with it.
                let _ = self.provide_thread(&mut state);
                let has_refused = core::mem::take(&mut state.has_refused);
                unlock(state);
                if has_refused {
                    self.announce();
                }
                return Some((kind, request));
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Tells all engines that a ring has room: a thread frees it when it takes a request, not when it completes one, and a
    /// completion reaches only its own engine.
    fn announce(&self) {
        let rooms = lock(&self.rooms).clone();
        rooms.iter().for_each(RoomNotice::announce);
    }

    /// Checks for stuck threads. Returns when the next thread will have computed for `limit`.
    fn look_after(self: &Arc<Self>, limit: Duration, now: Duration) -> Option<Duration> {
        let mut state = self.lock();
        let mut next = None::<Duration>;
        let mut stuck = Vec::new();
        for (id, worker) in &mut state.workers {
            match worker.watch.check(worker.calls.now(), limit, now) {
                Seen::Idle | Seen::StillStuck => {}
                Seen::Busy { until } => next = Some(next.map_or(until, |next| next.min(until))),
                Seen::Stuck => stuck.push(*id),
            }
        }
        for id in stuck {
            self.replace(&mut state, id);
        }
        unlock(state);
        next
    }

    /// Puts another thread in the place of one that is stuck, up to the cap.
    fn replace(self: &Arc<Self>, state: &mut PoolState<W>, id: WorkerId) {
        let n_replaced = state.workers.values().filter(|worker| worker.calls.is_retired()).count();
        let Some(kind) = state.workers.get(&id).and_then(|worker| worker.kind) else { return };
        let mut replaced = n_replaced < self.settings.replacements;
        if replaced && let Err(error) = self.start_worker(state) {
            state.events.push(Box::new(move || no_thread(kind, &error)));
            replaced = false;
        }
        if replaced && let Some(worker) = state.workers.get(&id) {
            worker.calls.retire();
            state.shares.end(kind);
        }
        state
            .events
            .push(Box::new(move || event!(WARN, kind = kind.name(), replaced, "pool.stuck")));
    }

    /// Lets what was accepted finish until `deadline`, and ends and joins the threads.
    fn shut_down(&self, deadline: Duration) -> Shutdown {
        if !self.threads.home().is_here() {
            return Shutdown::Drained;
        }
        self.closed.store(true, Ordering::Release);
        let wait = Wait::at_most(deadline);
        self.wait_for(wait, |state| state.rings.values().all(VecDeque::is_empty));
        self.end();
        let me = self.threads.contains_current();
        let n_busy = self.wait_for(wait, |state| state.n_busy() <= usize::from(me));
        if n_busy > usize::from(me) {
            // Those that are in no call end, and are joined behind this.
            let _others = self.threads.join(Duration::ZERO);
            return Shutdown::of(n_busy);
        }
        self.threads.join(wait.left().max(OwnedThreads::A_MOMENT))
    }

    /// Waits, while the pool is closed, until `holds` is true or the time is over. Returns how many threads are in a call.
    fn wait_for(&self, wait: Wait, holds: impl Fn(&PoolState<W>) -> bool) -> usize {
        let mut state = self.lock();
        while !holds(&state) {
            let late;
            (state, late) = wait.on(&self.settled, state);
            if late {
                break;
            }
        }
        state.n_busy()
    }

    /// Makes the threads end, and drops waiting requests.
    fn end(&self) {
        self.closed.store(true, Ordering::Release);
        let rings = {
            let mut state = self.lock();
            state.ending = true;
            state.shares.clear();
            core::mem::take(&mut state.rings)
        };
        self.work.notify_all();
        wait_ctx::contain_drop("the drop of a request", rings);
    }
}

fn no_thread(kind: Kind, error: &io::Error) {
    event!(ERROR, kind = kind.name(), %error, "pool.no_thread");
}

/// Removes a thread from the list of workers.
struct Listed<W: Work> {
    shared: Arc<PoolInner<W>>,
    id: WorkerId,
}

impl<W: Work> Drop for Listed<W> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(Worker { calls, kind: Some(kind), .. }) = state.workers.remove(&self.id)
            && !calls.is_retired()
        {
            state.shares.end(kind);
        }
    }
}

impl<W: Work> Accelerator<W> for ThreadPool<W> {
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        let kind = request.kind();
        let mut state = self.shared.lock();
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(DeviceRefused::Unavailable(request, "the pool of threads was shut down"));
        }
        if state.shares.n_waiting(kind) >= self.shared.settings.ring {
            state.has_refused = true;
            return Err(DeviceRefused::Full(request));
        }
        state.shares.arrive(kind);
        state.rings.entry(kind).or_default().push_back(request);
        let Err(error) = self.shared.provide_thread(&mut state) else {
            unlock(state);
            return Ok(());
        };
        // There is no thread at all: nothing that waits will be done.
        state.shares.clear();
        let rings = core::mem::take(&mut state.rings);
        drop(state);
        no_thread(kind, &error);
        rings.into_values().flatten().for_each(|request| {
            request.complete(Err(DeviceError::Unavailable("no thread for this kind of work")));
        });
        Ok(())
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        let used = self.shared.lock().shares.n_waiting(kind);
        Some(self.shared.settings.ring.saturating_sub(used))
    }

    fn attach(&self, room: RoomNotice) {
        lock(&self.shared.rooms).push(room);
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        self.shared.look_after(self.shared.settings.stuck_after?, now)
    }

    fn capabilities(&self) -> Capabilities {
        let needs_poll = self.shared.settings.stuck_after.is_some();
        Capabilities { completion_thread: true, needs_poll }
    }

    /// Unless another engine still uses the pool: the last one ends it.
    fn end(&self, deadline: Duration) -> Option<Shutdown> {
        // A copy: the answer may drop the last handle of an engine, and with it foreign values.
        let rooms = lock(&self.shared.rooms).clone();
        let in_use = rooms.iter().any(RoomNotice::is_open);
        (!in_use).then(|| self.shared.shut_down(deadline))
    }
}

impl<W: Work> Drop for ThreadPool<W> {
    /// Waits for nothing: the last completion may have dropped it, on one of these very threads.
    fn drop(&mut self) {
        if self.shared.threads.home().is_here() {
            self.shared.end();
            self.shared.threads.let_go();
        } else {
            // Its locks may be held by threads that are not in this process.
            core::mem::forget(Arc::clone(&self.shared));
        }
    }
}

impl<W: Work> fmt::Debug for ThreadPool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.shared.settings.name)
            .field("threads", &self.shared.settings.limit)
            .finish_non_exhaustive()
    }
}
