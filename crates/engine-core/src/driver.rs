//! A thread that keeps an engine's deadlines and polls its device, for programs in which no other thread does.

use std::io;
use std::sync::{Arc, Weak};

use wait_ctx::{contain, contain_drop};

use crate::home::MADE_ELSEWHERE;
use crate::inner::EngineInner;
use crate::waker::{DriverWaker, Woken};
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
    waker: DriverWaker,
    generation: u64,
}

/// Why an engine got no driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// It has one.
    #[error("the engine has a driver already: one is enough")]
    Running,
    /// The engine was made in another process.
    #[error("no driver for this engine: {MADE_ELSEWHERE}")]
    MadeElsewhere,
    /// The operating system gave no thread.
    #[error("no thread for the engine's driver: {0}")]
    Thread(#[from] io::Error),
}

impl Driver {
    pub(crate) fn spawn<W: Work>(engine: &Arc<EngineInner<W>>) -> Result<Self, DriverError> {
        let waker = engine.waker.clone();
        if !waker.home().is_here() {
            return Err(DriverError::MadeElsewhere);
        }
        let generation = waker.attach().ok_or(DriverError::Running)?;
        // Before the thread: if there is none to be had, the drop detaches.
        let driver = Self { waker: waker.clone(), generation };
        let engine = Arc::downgrade(engine);
        driver.waker.spawn(move || drive(&engine, &waker, generation))?;
        Ok(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.waker.home().is_here() {
            self.waker.dismiss(Some(self.generation));
        }
    }
}

fn drive<W: Work>(engine: &Weak<EngineInner<W>>, waker: &DriverWaker, generation: u64) {
    loop {
        // Held only while polling: the driver keeps no engine alive.
        let Some(engine) = engine.upgrade() else { return };
        // A poll that panics has done part of its work. The rest is due when the next timer is.
        let next =
            contain("Engine::poll", || engine.poll()).unwrap_or_else(|_| Some(engine.retry_at()));
        let now = engine.meter.now();
        // The last owner drops the device, which is foreign code.
        contain_drop("the drop of an engine", engine);
        if waker.sleep(generation, next, now) == Woken::End {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::sync::Mutex;

    use super::*;
    use crate::accelerator::{Accelerator, DeviceRefused};
    use crate::request::Request;
    use crate::sync::lock;
    use crate::waker::Alarm;
    use crate::work::{CheckFailed, Kind};
    use crate::{Engine, RequestOptions};

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

    /// Keeps each request.
    #[derive(Debug, Default)]
    struct Drawer(Mutex<Vec<Request<Nothing>>>);

    impl Accelerator<Nothing> for Drawer {
        fn submit(&self, request: Request<Nothing>) -> Result<(), DeviceRefused<Nothing>> {
            lock(&self.0).push(request);
            Ok(())
        }
    }

    fn eventually(happened: impl Fn() -> bool) {
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
            eventually(|| matches!(driver.waker.alarm(), Alarm::Asleep { until } if wanted(until)));
        };
        sleeps(&|until| until.is_none());
        let hour = Duration::from_secs(3600);
        let within = |hours| engine.with_options(RequestOptions::new().deadline(hours * hour));
        let _late = within(9).submit(Nothing).unwrap();
        sleeps(&|until| until.is_some());
        let _early = within(1).submit(Nothing).unwrap();
        let between = engine.now() + 5 * hour;
        sleeps(&|until| until.is_some_and(|until| until < between));

        // It sleeps; only the end of the engine wakes it.
        drop(engine);
        eventually(|| driver.waker.n_alive() == 0);
    }

    /// Has one entry, and reports it as credits.
    #[cfg(feature = "jobs")]
    #[derive(Debug, Default)]
    struct OneEntry(Mutex<Option<Request<Nothing>>>);

    #[cfg(feature = "jobs")]
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
    #[cfg(feature = "jobs")]
    fn l3_a_driver_that_sleeps_hears_of_a_request_that_waits_for_an_unused_permit() {
        let device = Arc::new(OneEntry::default());
        let engine = Engine::builder(device.clone()).on_full(crate::OnFull::Notify).build();
        let driver = engine.spawn_driver().unwrap();
        let _first = engine.submit(Nothing).unwrap();
        // In a job, which looks for its permit before it pauses.
        let (pool, ctx, inside) =
            (job_core::JobPool::new(), wait_ctx::WaitCtx::new(), engine.clone());
        let paused = pool
            .start_with(&ctx, move || inside.run(Nothing))
            .ok()
            .and_then(job_core::Step::paused);
        let held = lock(&device.0).take().expect("the first");
        held.complete(Ok(()));
        // The second has its permit now. No request waits for that, so the driver needs no timer.
        eventually(|| matches!(driver.waker.alarm(), Alarm::Asleep { until: None }));
        assert!(paused.is_some());
        core::mem::forget(paused);
        let _last = engine.submit(Nothing).unwrap();
        eventually(|| engine.stats().permits_expired == 1);
    }
}
