//! A thread that keeps an engine's deadlines and polls its device when nobody else does.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

use crate::clock::Wait;
use crate::dispatch::{Core, lock};
use crate::home::{HomeProcess, MADE_ELSEWHERE};
use crate::threads::{OwnedThreads, Shutdown};
use crate::work::Work;

/// The thread of an engine's timers, made by [`Engine::spawn_driver`](crate::Engine::spawn_driver).
///
/// It sleeps until the next deadline, without a system call in between, and is woken when an earlier one is set. A device
/// that panics while it is polled does not end it.
///
/// Dropping it tells the thread to end and does not wait, on whatever thread that is; another driver may follow at once.
/// [`Engine::shutdown`](crate::Engine::shutdown) ends it and joins it. It also ends with the engine.
#[derive(Debug)]
#[must_use = "the thread ends when this is dropped"]
pub struct Driver {
    bell: Arc<BellState>,
    /// Which of the engine's drivers this is.
    turn: u64,
}

/// Why an engine got no driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// It has one.
    #[error("the engine has a driver already: one is enough")]
    Running,
    /// The engine is another process's.
    #[error("no driver for this engine: {MADE_ELSEWHERE}")]
    MadeElsewhere,
    /// The operating system gave no thread.
    #[error("no thread for the engine's driver: {0}")]
    Thread(#[from] io::Error),
}

impl Driver {
    pub(crate) fn spawn<W: Work>(core: &Arc<Core<W>>) -> Result<Self, DriverError> {
        let bell = Arc::clone(&core.bell.state);
        if !bell.home().is_here() {
            return Err(DriverError::MadeElsewhere);
        }
        let turn = {
            let mut post = lock(&bell.post);
            if bell.attached.swap(true, Ordering::AcqRel) {
                return Err(DriverError::Running);
            }
            post.turn += 1;
            post.alarm = Alarm::Awake { rung: false };
            post.polls = true;
            post.turn
        };
        // Made first: if there is no thread, its drop takes the post back.
        let driver = Self { bell: Arc::clone(&bell), turn };
        let (weak, heard) = (Arc::downgrade(core), Arc::clone(&bell));
        bell.threads.spawn(String::from("engine-driver"), move || drive(&weak, &heard, turn))?;
        Ok(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.bell.home().is_here() {
            self.bell.dismiss(Some(self.turn));
        }
    }
}

fn drive<W: Work>(core: &Weak<Core<W>>, bell: &BellState, turn: u64) {
    loop {
        // Held only while polling: the driver keeps no engine alive.
        let Some(engine) = core.upgrade() else { return };
        // A poll that panics has done part of its work. The rest is due when the next timer is.
        let next = wait_ctx::contain("Engine::poll", || engine.poll())
            .unwrap_or_else(|_| Some(engine.retry_at()));
        let now = engine.meter.now();
        // The last owner drops the device, which is foreign code.
        wait_ctx::contain_drop("the drop of an engine", engine);
        if bell.sleep(turn, next, now) == Heard::Close {
            return;
        }
    }
}

/// How a driver is told that there is something to do earlier than it thinks.
#[derive(Debug)]
pub(crate) struct Bell {
    state: Arc<BellState>,
}

#[derive(Debug)]
struct BellState {
    /// There is a driver. Asked first, so that an engine without one pays one load. Written under the lock.
    attached: AtomicBool,
    post: Mutex<Post>,
    rung: Condvar,
    /// The drivers, past ones that have not ended included.
    threads: OwnedThreads,
}

/// The post of the driver, which one thread at a time holds.
#[derive(Debug)]
struct Post {
    /// Counts the drivers. One that finds a later turn has been dismissed.
    turn: u64,
    alarm: Alarm,
    /// The driver of this turn polls, and so may be in a call of the device's.
    polls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// The driver polls; it looks again before it sleeps if it was rung.
    Awake { rung: bool },
    /// It sleeps until then, or until it is rung.
    Asleep { until: Option<Duration> },
    /// It is to end.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Work,
    Close,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(BellState {
                attached: AtomicBool::new(false),
                post: Mutex::new(Post { turn: 0, alarm: Alarm::Closed, polls: false }),
                rung: Condvar::new(),
                threads: OwnedThreads::new(),
            }),
        }
    }

    /// There is something to do at `time`.
    pub(crate) fn want(&self, time: Duration) {
        self.state.ring(Some(time));
    }

    /// There is something to do now.
    pub(crate) fn ring(&self) {
        self.state.ring(None);
    }

    /// Tells the driver to end, if there is one.
    pub(crate) fn close(&self) {
        self.state.dismiss(None);
    }

    /// As [`close`](Self::close), as the engine goes and waits for nothing.
    pub(crate) fn let_go(&self) {
        // In another process the lock may be held by a thread that is not there.
        if self.home().is_here() {
            self.close();
            self.state.threads.let_go();
        }
    }

    /// Whether a driver keeps the deadlines.
    pub(crate) fn is_attached(&self) -> bool {
        self.state.attached.load(Ordering::Relaxed)
    }

    /// The process of the engine and its drivers.
    pub(crate) fn home(&self) -> HomeProcess {
        self.state.home()
    }

    /// Waits until the drivers have ended.
    pub(crate) fn join(&self, deadline: Duration) -> Shutdown {
        let state = &self.state;
        // One that sleeps only has to wake up; one that polls may be in a call that does not return.
        let polls = lock(&state.post).polls || state.threads.n_alive() > 1;
        let grace = if polls { Duration::ZERO } else { OwnedThreads::A_MOMENT };
        state.threads.join(deadline.max(grace))
    }
}

impl BellState {
    fn home(&self) -> HomeProcess {
        self.threads.home()
    }

    fn ring(&self, time: Option<Duration>) {
        if !self.attached.load(Ordering::Acquire) {
            return;
        }
        let mut post = lock(&self.post);
        match post.alarm {
            Alarm::Awake { .. } => post.alarm = Alarm::Awake { rung: true },
            Alarm::Asleep { until: Some(until) } if time.is_some_and(|time| time >= until) => {}
            Alarm::Asleep { .. } => {
                post.alarm = Alarm::Awake { rung: true };
                self.rung.notify_all();
            }
            Alarm::Closed => {}
        }
    }

    /// Takes the post from the driver of that turn, or from whichever has it.
    fn dismiss(&self, turn: Option<u64>) {
        let mut post = lock(&self.post);
        if turn.is_none_or(|turn| turn == post.turn) {
            post.alarm = Alarm::Closed;
            self.attached.store(false, Ordering::Release);
            self.rung.notify_all();
        }
    }

    /// Sleeps until `until`, both by the engine's clock, or until rung.
    fn sleep(&self, turn: u64, until: Option<Duration>, now: Duration) -> Heard {
        let mut post = lock(&self.post);
        if post.turn != turn {
            return Heard::Close;
        }
        post.polls = false;
        match post.alarm {
            Alarm::Closed => return Heard::Close,
            Alarm::Awake { rung: true } => {
                post.alarm = Alarm::Awake { rung: false };
                post.polls = true;
                return Heard::Work;
            }
            Alarm::Awake { rung: false } | Alarm::Asleep { .. } => {}
        }
        post.alarm = Alarm::Asleep { until };
        post = self.wait(post, until.map(|until| until.saturating_sub(now)));
        if post.turn != turn || post.alarm == Alarm::Closed {
            return Heard::Close;
        }
        // A spurious wakeup of the condition variable costs one poll.
        post.alarm = Alarm::Awake { rung: false };
        post.polls = true;
        Heard::Work
    }

    fn wait<'a>(
        &self,
        post: MutexGuard<'a, Post>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Post> {
        Wait::at_most(timeout.unwrap_or(Duration::MAX)).on(&self.rung, post).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::{Accelerator, DeviceRefused};
    use crate::request::Request;
    use crate::work::{CheckFailed, Kind};
    use crate::{Engine, OnFull, RequestOptions};

    struct Nothing;

    impl Work for Nothing {
        type Output = ();

        fn kind(&self) -> Kind {
            Kind::new("nothing")
        }

        fn check(&self, (): &()) -> Result<(), CheckFailed> {
            Ok(())
        }
    }

    /// Keeps whatever it gets.
    #[derive(Debug, Default)]
    struct Drawer(Mutex<Vec<Request<Nothing>>>);

    impl Accelerator<Nothing> for Drawer {
        fn submit(&self, request: Request<Nothing>) -> Result<(), DeviceRefused<Nothing>> {
            lock(&self.0).push(request);
            Ok(())
        }
    }

    fn comes_to(happened: impl Fn() -> bool) {
        let mut looks = 0..10_000_000;
        assert!(looks.any(|_| {
            std::thread::yield_now();
            happened()
        }));
    }

    #[test]
    fn l14_a_driver_sleeps_until_the_next_deadline_and_no_longer_than_its_engine_lives() {
        let engine = Engine::builder(Arc::new(Drawer::default())).build();
        let driver = engine.spawn_driver().unwrap();
        let sleeps = |wanted: &dyn Fn(Option<Duration>) -> bool| {
            comes_to(
                || matches!(lock(&driver.bell.post).alarm, Alarm::Asleep { until } if wanted(until)),
            );
        };
        sleeps(&|until| until.is_none());
        let hour = Duration::from_secs(3600);
        let within = |hours| engine.with_options(RequestOptions::new().deadline(hours * hour));
        let _late = within(9).submit(Nothing).unwrap();
        sleeps(&|until| until.is_some());
        let _early = within(1).submit(Nothing).unwrap();
        let between = engine.now() + 5 * hour;
        sleeps(&|until| until.is_some_and(|until| until < between));

        // As it sleeps, nobody but the engine's end wakes it.
        drop(engine);
        comes_to(|| driver.bell.threads.n_alive() == 0);
    }

    /// Has one entry, and says so.
    #[derive(Debug, Default)]
    struct OneEntry(Mutex<Option<Request<Nothing>>>);

    impl Accelerator<Nothing> for OneEntry {
        fn submit(&self, request: Request<Nothing>) -> Result<(), DeviceRefused<Nothing>> {
            let mut entry = lock(&self.0);
            if entry.is_some() {
                return Err(DeviceRefused::Full(request));
            }
            *entry = Some(request);
            Ok(())
        }

        fn credits(&self, _: Kind) -> Option<usize> {
            Some(usize::from(lock(&self.0).is_none()))
        }
    }

    #[test]
    fn l3_a_driver_that_sleeps_hears_of_a_request_that_waits_for_an_unused_permit() {
        let device = Arc::new(OneEntry::default());
        let engine = Engine::builder(device.clone()).on_full(OnFull::Notify).build();
        let driver = engine.spawn_driver().unwrap();
        let _first = engine.submit(Nothing).unwrap();
        // In a job, which looks for its turn before it pauses.
        let (pool, ctx, inside) =
            (job_core::JobPool::new(), wait_ctx::WaitCtx::new(), engine.clone());
        let told = pool
            .start_with(&ctx, move || inside.run(Nothing))
            .ok()
            .and_then(job_core::Step::paused);
        let held = lock(&device.0).take().expect("the first");
        held.complete(Ok(()));
        // The second has its permit now. No request waits for that, so the driver needs no timer.
        comes_to(|| matches!(lock(&driver.bell.post).alarm, Alarm::Asleep { until: None }));
        assert!(told.is_some());
        core::mem::forget(told);
        let _last = engine.submit(Nothing).unwrap();
        comes_to(|| engine.stats().permits_expired == 1);
    }
}
