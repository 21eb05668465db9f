//! Further attempts of what the device failed (law L14): when, how many, and never past the deadline.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use engine_core::{
    BreakerPolicy, BreakerState, CheckFailed, DeviceError, Engine, EngineError, Fallback, Inline,
    OnFull, Pending, RefusedReason, RequestOptions, Shutdown,
};
use proptest::prelude::*;

use crate::support::{Answer, Bench, HandClock, Mode, Negate, Outputs, Secret, end};

const AFTER: Duration = Duration::from_millis(100);

fn busy() -> DeviceError {
    DeviceError::busy(AFTER, &"throttled")
}

/// The errors that a device has yet to answer with, the next one last.
type Script = Arc<Mutex<Vec<DeviceError>>>;

/// An engine over a device that answers by a script, and its clock. An empty script means the right answer.
fn scripted(
    script: Vec<DeviceError>,
    options: RequestOptions,
) -> (Arc<Engine<Negate>>, Arc<HandClock>, Script) {
    let script = Arc::new(Mutex::new(script));
    let left = Arc::clone(&script);
    let answer = move |work: &Negate| -> Result<Secret, DeviceError> {
        match left.lock().unwrap().pop() {
            Some(error) => Err(error),
            None => Ok(work.right()),
        }
    };
    let clock = Arc::<HandClock>::default();
    let device = Arc::new(Inline::new(answer));
    let engine = Engine::builder(device).clock(clock.clone()).options(options).build();
    (engine, clock, script)
}

#[test]
fn l14_a_busy_device_is_left_alone_for_as_long_as_it_asks() {
    let (engine, clock, script) = scripted(vec![busy()], RequestOptions::new().attempts(2));
    let mut pending = engine.submit(Negate::new(7, &Arc::default())).unwrap();
    let due = engine.poll().expect("another attempt");
    assert!(AFTER <= due && due <= AFTER * 5 / 4, "{due:?}");
    assert!(pending.poll_result().is_pending());
    clock.advance(due);
    assert_eq!(engine.poll(), None);
    assert_eq!(pending.wait().unwrap().value, !7);
    assert!(script.lock().unwrap().is_empty());
    let stats = engine.stats();
    assert_eq!((stats.attempts_again, stats.accepted, stats.requests.now), (1, 2, 0));
}

#[test]
fn l14_a_pause_that_would_outlast_the_deadline_is_not_waited_for() {
    let options = RequestOptions::new().attempts(5).deadline(AFTER);
    let (engine, _, _) = scripted(vec![busy()], options);
    let failed = engine.submit(Negate::new(7, &Arc::default())).unwrap().wait().unwrap_err();
    assert_eq!(failed, EngineError::Device(busy()), "at once, and with the device's words");
}

#[test]
fn l14_what_the_device_refuses_for_good_is_asked_once_and_leaves_the_breaker_closed() {
    let denied = DeviceError::permanent(&"access denied");
    let bench = Bench::with_rings(8, 8);
    let engine = bench
        .builder(RequestOptions::new().attempts(9))
        .breaker(BreakerPolicy::default().failures(1))
        .build();
    let pending = engine.submit(bench.work(1)).unwrap();
    bench.device.find(1).unwrap().complete(Err(denied.clone()));
    assert_eq!(pending.wait().unwrap_err(), EngineError::Device(denied));
    assert_eq!((engine.stats().trips, bench.device.taken().len()), (0, 1));
}

#[test]
fn a_wrong_result_is_not_attempted_again() {
    let bench = Bench::with_rings(8, 8);
    let engine = bench.builder(RequestOptions::new().attempts(9)).build();
    let pending = engine.submit(bench.work(1)).unwrap();
    bench.device.answer_first(Answer::Wrong);
    assert_eq!(pending.wait().unwrap_err(), EngineError::Invalid(CheckFailed("not the negation")));
}

#[test]
fn l14_after_the_last_attempt_the_standby_takes_over() {
    let bench = Bench::with_rings(8, 8);
    let options = RequestOptions::new().attempts(2).fallback(Fallback::Standby);
    let engine = bench.builder(options).build();
    bench.device.set_mode(Mode::Early(Answer::Fail));
    bench.standby.set_mode(Mode::Early(Answer::Right));
    let pending = engine.submit(bench.work(1)).unwrap();
    assert!(bench.standby.taken().is_empty());
    bench.clock.advance(Duration::from_secs(1));
    engine.poll();
    assert_eq!((bench.device.taken(), bench.standby.taken()), (vec![1, 1], vec![1]));
    assert_eq!(pending.wait().unwrap().value, !1);
}

#[test]
fn l14_the_standby_has_as_many_attempts_and_the_whole_time_again() {
    let bench = Bench::with_rings(8, 8);
    let options = RequestOptions::new().attempts(3).fallback(Fallback::Standby).deadline(AFTER);
    let engine = bench.builder(options).build();
    bench.device.set_mode(Mode::Early(Answer::Fail));
    bench.standby.set_mode(Mode::Early(Answer::Fail));
    let mut pending = engine.submit(bench.work(1)).unwrap();
    let mut next = engine.poll();
    while let Some(due) = next {
        bench.clock.advance(due.saturating_sub(engine.now()));
        if bench.standby.taken().len() == 2 {
            bench.standby.set_mode(Mode::Early(Answer::Right));
        }
        next = engine.poll();
        if let Poll::Ready(result) = pending.poll_result() {
            assert_eq!(result.unwrap().value, !1);
            break;
        }
    }
    assert_eq!((bench.device.taken().len(), bench.standby.taken().len()), (3, 3));
    let stats = engine.stats();
    assert_eq!((stats.attempts_again, stats.fallbacks, stats.requests.now), (4, 1, 0));
}

/// The device answers after all, while the standby waits for its second attempt.
#[test]
fn l14_an_answer_of_the_device_ends_what_waits_for_the_standbys_next_attempt() {
    let bench = Bench::with_rings(8, 8);
    let options = RequestOptions::new().attempts(3).fallback(Fallback::Standby).deadline(AFTER);
    let engine = bench.builder(options).build();
    let pending = engine.submit(bench.work(1)).unwrap();
    bench.clock.advance(AFTER);
    engine.poll();
    end(bench.standby.find(1).unwrap(), Answer::Fail);
    end(bench.device.find(1).unwrap(), Answer::Right);
    assert_eq!(pending.wait().unwrap().value, !1);
    assert_eq!((engine.poll(), engine.stats().requests.now), (None, 0));
    assert_eq!(bench.standby.taken(), [1]);
}

#[test]
fn l5_l8_a_request_dropped_between_two_attempts_is_not_sent_again() {
    let bench = Bench::with_rings(8, 8);
    let engine = bench.builder(RequestOptions::new().attempts(3)).build();
    let pending = engine.submit(bench.work(1)).unwrap();
    bench.device.answer_first(Answer::Fail);
    drop(pending);
    bench.clock.advance(Duration::from_secs(1));
    engine.poll();
    assert_eq!((bench.device.taken().len(), engine.stats().requests.now), (1, 0));
    // And one that waits when the engine is dropped.
    let pending = engine.submit(bench.work(2)).unwrap();
    bench.device.answer_first(Answer::Fail);
    drop(engine);
    assert_eq!(pending.wait().unwrap_err(), EngineError::Gone);
}

/// Fails the requests of these numbers, which wait for their next attempt from then on.
fn fail_each(bench: &Bench, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|n| bench.device.find(n).unwrap().complete(Err(busy())));
}

fn failed_as_shut_off(pending: Pending<Negate>) -> bool {
    matches!(pending.wait(), Err(EngineError::Device(DeviceError::Unavailable(_))))
}

#[test]
fn l14_no_attempt_goes_to_a_device_that_the_breaker_shuts_off() {
    let bench = Bench::with_rings(8, 8);
    let engine = bench
        .builder(RequestOptions::new().attempts(3))
        .breaker(BreakerPolicy::default().failures(6).pause(AFTER * 100))
        .build();
    let pending: Vec<_> = (0..6).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    fail_each(&bench, 0..6);
    assert_eq!(engine.breaker(), BreakerState::Open);
    bench.clock.advance(AFTER * 2);
    engine.poll();
    assert_eq!(bench.device.taken(), [0, 1, 2, 3, 4, 5], "the first attempts alone");
    let (last, waited): (Vec<_>, Vec<_>) =
        pending.into_iter().partition(|one| one.id().as_u64() == 5);
    assert!(waited.into_iter().all(failed_as_shut_off));
    assert!(last.into_iter().all(|one| one.wait().unwrap_err() == EngineError::Device(busy())));
}

#[test]
fn l14_of_the_attempts_that_are_due_half_open_one_is_the_probe() {
    let bench = Bench::with_rings(8, 8);
    let engine = bench
        .builder(RequestOptions::new().attempts(3))
        .breaker(BreakerPolicy::default().failures(4).pause(AFTER))
        .build();
    let mut pending: Vec<_> = (0..3).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    let last = engine.with_options(RequestOptions::new()).submit(bench.work(3)).unwrap();
    fail_each(&bench, 0..4);
    assert!(last.wait().is_err());
    bench.clock.advance(AFTER * 2);
    engine.poll();
    let taken = bench.device.taken();
    assert_eq!(taken.len(), 5, "{taken:?}");
    bench.device.answer_first(Answer::Right);
    assert_eq!(engine.breaker(), BreakerState::Closed);
    let probe = pending.remove(taken[4] as usize);
    assert_eq!(probe.wait().unwrap().value, !taken[4]);
    assert!(pending.into_iter().all(failed_as_shut_off));
}

/// Between two attempts the engine has the work itself, so it needs no copy.
#[test]
fn l14_what_waits_for_its_next_attempt_moves_to_the_standby_when_the_breaker_opens() {
    let bench = Bench::with_rings(8, 8);
    let engine = bench
        .builder(RequestOptions::new().attempts(3).fallback(Fallback::Standby))
        .breaker(BreakerPolicy::default().failures(2).pause(AFTER * 100))
        .build();
    let pending = [0, 1].map(|n| engine.submit(Negate { copies: false, ..bench.work(n) }).unwrap());
    fail_each(&bench, 0..2);
    assert_eq!(bench.standby.taken(), [0, 1]);
    assert_eq!(engine.stats().fallbacks, 2);
    drop(pending);
    drop(bench.standby.find(0).into_iter().chain(bench.standby.find(1)));
    assert_eq!(engine.stats().requests.now, 0);
}

/// An engine over a ring of one and a queue of one, both taken when the next attempt of the request comes.
fn attempt_before_a_full_queue(
    fallback: Fallback,
) -> (Bench, Arc<Engine<Negate>>, Pending<Negate>) {
    let bench = Bench::with_rings(1, 1);
    let engine =
        bench.builder(RequestOptions::new().attempts(2).fallback(fallback)).queue_bound(1).build();
    let pending = engine.submit(bench.work(0)).unwrap();
    fail_each(&bench, [0]);
    let others = [1, 2].map(|n| engine.submit(bench.work(n)).unwrap());
    bench.clock.advance(AFTER * 2);
    engine.poll();
    drop(others);
    (bench, engine, pending)
}

#[test]
fn l14_an_attempt_that_finds_the_queue_full_falls_back_or_fails() {
    let (bench, _engine, pending) = attempt_before_a_full_queue(Fallback::Standby);
    assert_eq!(bench.standby.taken(), [0]);
    bench.standby.answer_first(Answer::Right);
    assert_eq!(pending.wait().unwrap().value, !0);
    let (_bench, _engine, pending) = attempt_before_a_full_queue(Fallback::Fail);
    let full = RefusedReason::QueueFull { bound: 1 };
    assert_eq!(pending.wait().unwrap_err(), EngineError::Refused(full));
}

/// The device failed both once, and has neither when they end.
#[test]
fn l5_l14_an_attempt_that_ends_in_the_queue_leaves_its_room_there_and_the_breaker_alone() {
    for on_full in [OnFull::Queue, OnFull::Notify] {
        let bench = Bench::with_rings(2, 1);
        let options = RequestOptions::new().attempts(3);
        let engine = bench
            .builder(options.deadline(AFTER * 3))
            .breaker(BreakerPolicy::default().failures(3))
            .on_full(on_full)
            .build();
        let [dropped, expired] = [0, 1].map(|n| engine.submit(bench.work(n)).unwrap());
        fail_each(&bench, [0, 1]);
        let patient = engine.with_options(RequestOptions::new());
        let held = [2, 3].map(|n| patient.submit(bench.work(n)).unwrap());
        bench.clock.advance(AFTER * 2);
        engine.poll();
        assert_eq!(engine.stats().waiters.now, 2, "both wait for room on the ring");
        drop(dropped);
        assert_eq!((engine.stats().waiters.now, engine.stats().requests.now), (1, 3));
        bench.clock.advance(AFTER);
        engine.poll();
        assert_eq!(engine.stats().waiters.now, 0);
        assert_eq!(expired.wait().unwrap_err(), EngineError::Deadline);
        assert_eq!((engine.stats().requests.now, engine.breaker()), (2, BreakerState::Closed));
        drop(held);
    }
}

#[test]
fn l5_l8_a_request_cancelled_between_two_attempts_is_freed_at_once() {
    let bench = Bench::with_rings(8, 8);
    let engine = bench.builder(RequestOptions::new().attempts(3)).build();
    let pending = engine.submit(bench.work(1)).unwrap();
    fail_each(&bench, [1]);
    drop(pending);
    assert_eq!(engine.stats().requests.now, 0);
    assert_eq!(engine.shutdown_blocking(Duration::ZERO), Shutdown::Drained);
}

proptest! {
    /// Whatever a device answers, a request gets as many attempts as its options allow, at its times, and ends.
    #[test]
    fn l14_every_request_ends_after_at_most_its_attempts(
        errors in prop::collection::vec(0u8..4, 0..8), attempts in 0u32..6, deadline in prop::option::of(1u64..400),
    ) {
        let error = |number: &u8| match number {
            0 => busy(),
            1 => DeviceError::reported(&"lost"),
            2 => DeviceError::permanent(&"denied"),
            _ => DeviceError::Reset,
        };
        let mut options = RequestOptions::new().attempts(attempts);
        if let Some(millis) = deadline {
            options = options.deadline(Duration::from_millis(millis));
        }
        let outputs = Arc::<Outputs>::default();
        let (engine, clock, script) = scripted(errors.iter().map(error).collect(), options);
        let mut pending = engine.submit(Negate::new(3, &outputs)).unwrap();
        let mut outcome = None;
        for _ in 0..20 {
            if let Poll::Ready(result) = pending.poll_result() {
                outcome = Some(result);
                break;
            }
            let next = engine.poll().expect("something is to be done");
            clock.advance(next.saturating_sub(engine_core::Clock::now(&*clock)));
            engine.poll();
        }
        let calls = errors.len() - script.lock().unwrap().len();
        let outcome = outcome.expect("it has ended");
        match outcome {
            Ok(right) => prop_assert_eq!(right.value, !3),
            Err(EngineError::Deadline) => prop_assert!(deadline.is_some()),
            Err(error) => prop_assert!(matches!(error, EngineError::Device(_))),
        }
        prop_assert!(calls <= attempts.max(1) as usize);
        prop_assert_eq!(engine.stats().requests.now, 0);
        if let Some(millis) = deadline {
            prop_assert!(engine_core::Clock::now(&*clock) <= Duration::from_millis(millis));
        }
    }
}
