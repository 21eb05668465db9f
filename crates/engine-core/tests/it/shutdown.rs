//! The end of an engine: it stops its intake, waits, and leaves no caller waiting.

use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::Wake;
use std::thread;
use std::time::Duration;

use engine_core::{
    CheckFailed, Engine, EngineError, Fallback, Inline, Kind, RefusedReason, RequestOptions,
    Shutdown, ThreadPoolBuilder, Work,
};
use job_core::JobPool;
use wait_ctx::{Notifier, Route};

use crate::support::{Answer, KINDS, Manual, Negate, Outputs, PATIENCE, end, wait_for};

#[test]
fn l8_a_shutdown_that_runs_out_of_time_fails_every_request_and_the_ledger_is_zero_after() {
    let (device, outputs) = (Manual::new(2), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let pool = JobPool::new();
    let jobs: Vec<_> = (0..5)
        .map(|n| {
            let (asked, work) = (Arc::clone(&engine), Negate::new(n, &outputs));
            pool.start(move || asked.run(work)).unwrap().paused().unwrap()
        })
        .collect();
    assert_eq!(engine.shutdown_blocking(Duration::ZERO), Shutdown::Stuck { n: 5 });
    for job in jobs {
        assert_eq!(job.resume().finished().unwrap().unwrap_err(), EngineError::Gone);
    }
    let refused = engine.submit(Negate::new(9, &outputs)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Closed);
    assert_eq!((engine.stats().waiters.now, engine.stats().requests.now), (0, 2));
    assert!(!engine.quiesce(Duration::ZERO), "the device still has two");
    while device.answer(KINDS[0], 0, Answer::Right) {}
    assert!(engine.quiesce(Duration::ZERO));
    assert_eq!((outputs.made(), outputs.erased()), (2, 2));
    assert_eq!((engine.stats().shut_down, pool.stats().live), (5, 0));
}

/// Work that shuts its engine down while it is being taken on.
#[derive(Debug)]
struct Last(Arc<OnceLock<Arc<Engine<Self>>>>);

impl Work for Last {
    type Output = ();

    fn kind(&self) -> Kind {
        KINDS[0]
    }

    fn check(&self, (): &()) -> Result<(), CheckFailed> {
        Ok(())
    }

    fn duplicate(&self) -> Option<Self> {
        let end = self.0.get().unwrap().shutdown_blocking(Duration::ZERO);
        assert_eq!(end, Shutdown::Drained);
        None
    }
}

#[test]
fn l8_nothing_begins_after_a_shutdown_has_found_nothing_under_way() {
    let device = || Arc::new(Inline::new(|_: &Last| Ok(())));
    let options = RequestOptions::new().fallback(Fallback::Standby);
    let engine = Engine::builder(device()).standby(device()).options(options).build();
    let own = Arc::<OnceLock<_>>::default();
    own.set(Arc::clone(&engine)).unwrap();
    let refused = engine.submit(Last(own)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Closed);
    assert_eq!((engine.stats().submitted, engine.stats().requests.now), (0, 0));
}

#[test]
fn a_shutdown_waits_for_what_is_under_way_and_for_no_longer() {
    let (device, outputs) = (Manual::new(1), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let pending: Vec<_> =
        (0..20).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    thread::scope(|scope| {
        // A caller that is not woken would wait for ever.
        let shutdown = scope.spawn(|| engine.shutdown_blocking(Duration::MAX));
        while engine.submit(Negate::new(99, &outputs)).is_ok() {
            thread::yield_now();
        }
        let mut answered = 0;
        while answered < 20 {
            match device.take(KINDS[0], 0) {
                Some(request) => {
                    end(request, Answer::Right);
                    answered += 1;
                }
                None => thread::yield_now(),
            }
        }
        assert_eq!(shutdown.join().unwrap(), Shutdown::Drained);
    });
    // Results not yet collected do not hold it up, and are not lost.
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
}

/// The whole of an engine over a pool, driver included, ends in one call: a closure that is gone shows that no thread has it.
#[test]
fn l8_a_shutdown_finishes_what_is_under_way_and_joins_every_thread() {
    let outputs = Arc::<Outputs>::default();
    let (ends, ended) = mpsc::channel::<()>();
    let pool = ThreadPoolBuilder::new().threads(3).build(move |work: &Negate| {
        let _until_the_threads_end = &ends;
        Ok(work.right())
    });
    let engine = Engine::builder(Arc::new(pool)).build();
    let driver = engine.spawn_driver().unwrap();
    let pending: Vec<_> =
        (0..200).map(|n| engine.submit(Negate::new(n, &outputs)).unwrap()).collect();
    assert_eq!(wait_for(engine.shutdown(Duration::MAX)), Shutdown::Drained);
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
    let refused = engine.submit(Negate::new(999, &outputs)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Closed);
    assert_eq!(engine.shutdown_blocking(Duration::ZERO), Shutdown::Drained, "once more");
    drop((driver, engine));
    assert_eq!(ended.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn l8_a_shutdown_with_a_call_that_does_not_return_says_so_at_its_deadline() {
    let outputs = Arc::<Outputs>::default();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let pool = ThreadPoolBuilder::new().threads(2).build(move |work: &Negate| {
        if work.n == 0 {
            let _ = gate.lock().unwrap().recv();
        }
        Ok(work.right())
    });
    let pool = Arc::new(pool);
    let engine = Engine::builder(pool.clone()).build();
    let stalled = engine.submit(Negate::new(0, &outputs)).unwrap();
    assert_eq!(engine.run(Negate::new(1, &outputs)).unwrap().value, !1);
    let end = wait_for(engine.shutdown(Duration::from_millis(1)));
    assert_eq!(end, Shutdown::Stuck { n: 1 });
    assert_eq!(stalled.wait().unwrap_err(), EngineError::Gone);
    // It returns after all, and another look finds everything at an end.
    drop(open);
    assert_eq!(pool.shutdown_blocking(Duration::MAX), Shutdown::Drained);
    assert_eq!(pool.n_threads(), 0);
}

/// A waker that shuts down the engine on whose thread it runs.
struct OnWake(Mutex<Option<Owned>>);

type Owned = (Arc<Engine<Negate>>, mpsc::Sender<Shutdown>);

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        if let Some((engine, told)) = self.0.lock().unwrap().take() {
            told.send(engine.shutdown_blocking(Duration::MAX)).unwrap();
        }
    }
}

#[test]
fn l5_a_callback_that_shuts_down_its_own_thread_does_not_wait_for_itself() {
    let outputs = Arc::<Outputs>::default();
    let pool = ThreadPoolBuilder::new().threads(1).build(|work: &Negate| Ok(work.right()));
    let engine = Engine::builder(Arc::new(pool)).build();
    let notifier = Notifier::new();
    let (told, hears) = mpsc::channel();
    let wake = OnWake(Mutex::new(Some((Arc::clone(&engine), told))));
    notifier.set_route(Route::Waker(Arc::new(wake).into()));
    let mut pending = engine.submit_on(&notifier, Negate::new(1, &outputs)).unwrap();
    if pending.poll_result().is_pending() {
        let end = hears.recv_timeout(PATIENCE).expect("it waits for itself");
        assert_eq!(end, Shutdown::Stuck { n: 1 });
        assert!(pending.poll_result().is_ready());
    }
    assert_eq!(engine.shutdown_blocking(Duration::MAX), Shutdown::Drained);
}

/// Keys that share a pool are shut down one after the other.
#[test]
fn a_pool_of_two_engines_goes_on_until_the_last_is_shut_down() {
    let outputs = Arc::<Outputs>::default();
    let pool = ThreadPoolBuilder::new().threads(1).build(|work: &Negate| Ok(work.right()));
    let pool = Arc::new(pool);
    let [one, other] = [(); 2].map(|()| Engine::builder(pool.clone()).build());
    assert_eq!(one.run(Negate::new(1, &outputs)).unwrap().value, !1);
    assert_eq!(one.shutdown_blocking(Duration::MAX), Shutdown::Drained);
    assert_eq!(other.run(Negate::new(2, &outputs)).unwrap().value, !2);
    assert_eq!(pool.n_threads(), 1);
    assert_eq!(other.shutdown_blocking(Duration::MAX), Shutdown::Drained);
    assert_eq!(pool.n_threads(), 0);
}
