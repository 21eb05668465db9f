//! The end of an engine: no more intake, a time to finish, and then nobody is left waiting.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use engine_core::{
    CheckFailed, Engine, EngineError, Fallback, Inline, Kind, RefusedReason, Terms, Work,
};
use job_core::JobPool;

use crate::support::{Answer, KINDS, Manual, Negate, Outputs, end};

#[test]
fn l8_a_shutdown_that_runs_out_of_time_ends_everybody_and_the_ledger_is_zero_after() {
    let (device, outputs) = (Manual::new(2), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let pool = JobPool::new();
    let jobs: Vec<_> = (0..5)
        .map(|n| {
            let (asked, work) = (Arc::clone(&engine), Negate::new(n, &outputs));
            pool.start(move || asked.run(work)).unwrap().paused().unwrap()
        })
        .collect();
    assert_eq!(engine.shutdown(Duration::ZERO), 5);
    for job in jobs {
        assert_eq!(job.resume().finished().unwrap().unwrap_err(), EngineError::Gone);
    }
    let refused = engine.offer(Negate::new(9, &outputs)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Closed);
    assert_eq!((engine.snapshot().waiters.now, engine.snapshot().requests.now), (0, 2));
    assert!(!engine.quiesce(Duration::ZERO), "the device still has two");
    while device.answer(KINDS[0], 0, Answer::Right) {}
    assert!(engine.quiesce(Duration::ZERO));
    assert_eq!((outputs.made(), outputs.erased()), (2, 2));
    assert_eq!((engine.snapshot().shut_down, pool.stats().live), (5, 0));
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
        assert_eq!(self.0.get().unwrap().shutdown(Duration::ZERO), 0);
        None
    }
}

#[test]
fn l8_nothing_begins_after_a_shutdown_has_found_nothing_under_way() {
    let device = || Arc::new(Inline::new(|_: &Last| Ok(())));
    let terms = Terms::new().fallback(Fallback::Standby);
    let engine = Engine::builder(device()).standby(device()).terms(terms).build();
    let own = Arc::<OnceLock<_>>::default();
    own.set(Arc::clone(&engine)).unwrap();
    let refused = engine.offer(Last(own)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Closed);
    assert_eq!((engine.snapshot().submitted, engine.snapshot().requests.now), (0, 0));
}

#[test]
fn a_shutdown_waits_for_what_is_under_way_and_for_no_longer() {
    let (device, outputs) = (Manual::new(1), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let pending: Vec<_> =
        (0..20).map(|n| engine.offer(Negate::new(n, &outputs)).unwrap()).collect();
    thread::scope(|scope| {
        // Who is not told of the end would wait for an hour.
        let shutdown = scope.spawn(|| engine.shutdown(Duration::from_secs(3600)));
        while engine.offer(Negate::new(99, &outputs)).is_ok() {
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
        assert_eq!(shutdown.join().unwrap(), 0);
    });
    // Results not yet collected do not hold it up, and are not lost.
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
}
