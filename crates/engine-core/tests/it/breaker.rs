//! The circuit breaker in the engine: who trips it, who is rescued, and how it comes back (law L14).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use engine_core::{
    BreakerPolicy, BreakerState, DeviceError, Engine, EngineBuilder, EngineError, Fallback, Health,
    RefusedReason, RequestOptions,
};

use crate::support::{Answer, Bench, Mode, Negate, end};

pub(crate) const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn bench() -> Bench {
    Bench::with_rings(8, 64)
}

pub(crate) fn builder(bench: &Bench, fallback: Fallback) -> EngineBuilder<Negate> {
    bench
        .builder(RequestOptions::new().fallback(fallback))
        .breaker(BreakerPolicy::default().failures(3).pause(PAUSE))
}

#[test]
fn l14_a_device_that_fails_in_a_row_is_left_alone_and_comes_back() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Standby).build();
    let mut pending = Vec::new();
    for (n, answer) in [Answer::Fail, Answer::Wrong, Answer::Drop].into_iter().enumerate() {
        pending.push(engine.submit(bench.work(n as u64)).unwrap());
        bench.device.answer_first(answer);
    }
    assert_eq!(engine.breaker(), BreakerState::Open);
    pending.push(engine.submit(bench.work(3)).unwrap());
    assert_eq!(bench.standby.taken(), [0, 1, 2, 3]);

    bench.clock.advance(PAUSE);
    assert_eq!(engine.breaker(), BreakerState::HalfOpen);
    pending.push(engine.submit(bench.work(4)).unwrap());
    pending.push(engine.submit(bench.work(5)).unwrap());
    assert_eq!(bench.device.taken(), [0, 1, 2, 4], "one probe");
    bench.device.answer_first(Answer::Right);
    assert_eq!(engine.breaker(), BreakerState::Closed);
    pending.push(engine.submit(bench.work(6)).unwrap());
    assert_eq!(bench.device.taken(), [0, 1, 2, 4, 6]);
    bench.device.answer_first(Answer::Right);

    while bench.standby.answer(crate::support::KINDS[0], 0, Answer::Right) {}
    for (pending, n) in pending.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
    let snapshot = engine.stats();
    // Three that the device failed, one while it was shut off, and one beside the probe.
    assert_eq!((snapshot.trips, snapshot.fallbacks), (1, 5));
}

#[test]
fn a_device_is_not_asked_how_it_is_while_nothing_is_under_way() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Fail).build();
    assert_eq!(engine.poll(), None);
    let pending = engine.submit(bench.work(0)).unwrap();
    assert!(engine.poll().is_some());
    bench.device.answer_first(Answer::Right);
    assert_eq!((engine.poll(), pending.wait().unwrap().value), (None, !0));
}

/// All three are due at once, and the second of them opens the breaker.
#[test]
fn l14_what_a_trip_moves_to_the_standby_has_its_time_there() {
    let bench = bench();
    let deadline = Duration::from_millis(5);
    let options = RequestOptions::new().deadline(deadline).fallback(Fallback::Standby);
    let breaker = BreakerPolicy::default().failures(2).pause(PAUSE);
    let engine = bench.builder(options).breaker(breaker).build();
    let pending: Vec<_> = (0..3).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    bench.clock.advance(deadline);
    engine.poll();
    assert_eq!(engine.stats().trips, 1);
    for (pending, n) in pending.into_iter().zip(0..) {
        end(bench.standby.find(n).unwrap(), Answer::Right);
        assert_eq!(pending.wait().unwrap().value, !n);
    }
}

#[test]
fn l14_when_the_heart_stops_those_in_flight_are_rescued_at_once() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Standby).build();
    let held: Vec<_> = (0..4).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    let stuck = engine.with_options(RequestOptions::new()).submit(bench.work(9)).unwrap();
    bench.device.set_health(Health::Dead);
    let next = engine.poll().expect("the health is to be asked for");
    bench.clock.advance(next);
    engine.poll();
    assert_eq!(engine.breaker(), BreakerState::Open);
    assert_eq!(bench.standby.taken(), [0, 1, 2, 3]);
    assert!(!stuck_ended(&engine), "without a standby in its options it waits on");

    for n in 0..4 {
        end(bench.standby.find(n).unwrap(), Answer::Right);
    }
    for (pending, n) in held.into_iter().zip(0..) {
        assert_eq!(pending.wait().unwrap().value, !n);
    }
    // It stays open while the heart stands still, and no longer.
    bench.clock.advance(PAUSE);
    engine.poll();
    assert_eq!(engine.breaker(), BreakerState::Open);
    bench.device.set_health(Health::Alive);
    bench.clock.advance(PAUSE);
    engine.poll();
    assert_eq!(engine.breaker(), BreakerState::HalfOpen);
    end(bench.device.find(9).unwrap(), Answer::Right);
    assert_eq!(stuck.wait().unwrap().value, !9);
    assert_eq!(engine.breaker(), BreakerState::HalfOpen, "an answer from before is no probe");
    close_with(&bench, &engine, 10);
}

fn stuck_ended(engine: &Engine<Negate>) -> bool {
    engine.stats().completed + engine.stats().failed > 0
}

#[test]
fn l14_without_a_standby_an_open_breaker_refuses_and_gives_the_work_back() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Fail).build();
    fail(&bench, &engine, 0..3);
    let refused = engine.submit(bench.work(3)).unwrap_err();
    assert_eq!((refused.work.n, refused.reason), (3, RefusedReason::Unavailable));
    let error = engine.run(bench.work(4)).unwrap_err();
    assert_eq!(error, EngineError::Refused(RefusedReason::Unavailable));
    assert_eq!(engine.stats().fallbacks, 0);
    bench.clock.advance(PAUSE);
    close_with(&bench, &engine, 5);
}

/// Runs these requests, each of which the device fails.
fn fail(bench: &Bench, engine: &Engine<Negate>, numbers: Range<u64>) {
    for n in numbers {
        let pending = engine.submit(bench.work(n)).unwrap();
        bench.device.answer_first(Answer::Fail);
        assert!(pending.wait().is_err());
    }
}

/// Runs a request that the half-open breaker lets through; its answer closes the breaker.
pub(crate) fn close_with(bench: &Bench, engine: &Engine<Negate>, n: u64) {
    let probe = engine.submit(bench.work(n)).unwrap();
    end(bench.device.find(n).unwrap(), Answer::Right);
    assert_eq!(probe.wait().unwrap().value, !n);
    assert_eq!(engine.breaker(), BreakerState::Closed);
}

/// A breaker whose pause is over.
fn half_open(bench: &Bench) -> Arc<Engine<Negate>> {
    let engine = builder(bench, Fallback::Fail).build();
    for n in 0..3 {
        drop(engine.submit(bench.work(n)).unwrap());
        bench.device.answer_first(Answer::Right); // late
        fail(bench, &engine, n..n + 1);
    }
    bench.clock.advance(PAUSE);
    assert_eq!(engine.breaker(), BreakerState::HalfOpen);
    engine
}

/// The device has its probe: no other request gets to it.
fn assert_one_probe(bench: &Bench, engine: &Engine<Negate>) {
    let beside = engine.submit(bench.work(4)).unwrap_err();
    assert_eq!(beside.reason, RefusedReason::Unavailable, "one probe at a time");
}

fn assert_closes_with_the_next(bench: &Bench, engine: &Engine<Negate>) {
    let next = engine.submit(bench.work(5)).unwrap();
    assert_one_probe(bench, engine);
    end(bench.device.find(5).unwrap(), Answer::Right);
    assert_eq!(next.wait().unwrap().value, !5);
    assert_eq!(engine.breaker(), BreakerState::Closed);
}

/// Its caller hangs up, or its time is over, in the queue: no answer of the device will come.
#[test]
fn l14_a_probe_that_is_over_before_the_device_has_it_is_followed_by_another_at_once() {
    for hangs_up in [false, true] {
        let bench = bench();
        let engine = half_open(&bench);
        bench.device.set_mode(Mode::Stuck);
        let options = RequestOptions::new().deadline(PAUSE / 4);
        let probe = engine.with_options(options).submit(bench.work(3)).unwrap();
        assert_one_probe(&bench, &engine);
        if hangs_up {
            drop(probe);
        } else {
            bench.clock.advance(PAUSE / 4);
            engine.poll();
            assert_eq!(probe.wait().unwrap_err(), EngineError::Deadline);
        }
        bench.device.set_mode(Mode::Take);
        assert_closes_with_the_next(&bench, &engine);
    }
}

/// Its caller hangs up, and the device has it: a device that hangs is not given one more for each caller that does.
#[test]
fn l14_a_probe_that_the_device_holds_is_followed_by_another_after_its_answer_or_the_pause() {
    for answers in [true, false] {
        let bench = bench();
        let engine = half_open(&bench);
        drop(engine.submit(bench.work(3)).unwrap());
        assert_one_probe(&bench, &engine);
        if answers {
            end(bench.device.find(3).unwrap(), Answer::Right); // late
        } else {
            bench.clock.advance(PAUSE / 2);
            assert_one_probe(&bench, &engine);
            bench.clock.advance(PAUSE / 2);
        }
        assert_closes_with_the_next(&bench, &engine);
    }
}

/// Its time is over while the device is offered it. One that took it, and hangs, is not given another for each such request;
/// one that did not may have the next at once.
#[test]
fn l14_a_probe_that_is_over_while_the_device_takes_it_stays_the_probe() {
    for takes in [true, false] {
        let bench = bench();
        let engine = half_open(&bench);
        bench.device.set_mode(if takes { Mode::Take } else { Mode::Stuck });
        let (clock, polled) = (Arc::clone(&bench.clock), Arc::clone(&engine));
        bench.device.during_offer(move || {
            clock.advance(PAUSE / 4);
            polled.poll();
        });
        let options = RequestOptions::new().deadline(PAUSE / 4);
        let probe = engine.with_options(options).submit(bench.work(3)).unwrap();
        assert_eq!(probe.wait().unwrap_err(), EngineError::Deadline);
        bench.device.set_mode(Mode::Take);
        if takes {
            assert_one_probe(&bench, &engine);
            end(bench.device.find(3).unwrap(), Answer::Right); // late
        }
        assert_closes_with_the_next(&bench, &engine);
    }
}

#[test]
fn a_breaker_by_health_alone_stays_closed_however_many_requests_fail() {
    let bench = bench();
    let policy = BreakerPolicy::default().health_only().pause(PAUSE);
    let engine = bench.builder(RequestOptions::new()).breaker(policy).build();
    fail(&bench, &engine, 0..100);
    assert_eq!(engine.breaker(), BreakerState::Closed);
    let held = engine.submit(bench.work(100)).unwrap();
    bench.device.set_health(Health::Dead);
    bench.clock.advance(PAUSE);
    engine.poll();
    assert_eq!((engine.breaker(), engine.stats().trips), (BreakerState::Open, 1));
    bench.device.set_health(Health::Alive);
    bench.clock.advance(PAUSE);
    close_with(&bench, &engine, 101);
    drop(held);
}

#[test]
fn what_waits_before_a_device_that_is_shut_off_goes_elsewhere_or_fails() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Fail).build();
    let held: Vec<_> = (0..8).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    let waiting = engine.submit(bench.work(8)).unwrap();
    let saved = engine.with_options(RequestOptions::new().fallback(Fallback::Standby));
    let saved = saved.submit(bench.work(9)).unwrap();
    bench.device.set_mode(Mode::Stuck);
    for _ in 0..3 {
        bench.device.answer_first(Answer::Fail);
    }
    let error = waiting.wait().unwrap_err();
    assert!(matches!(error, EngineError::Device(DeviceError::Unavailable(_))), "{error}");
    bench.standby.answer_first(Answer::Right);
    assert_eq!(saved.wait().unwrap().value, !9);
    assert_eq!(engine.stats().waiters.now, 0);
    drop(held);
}

/// The work lies in the queue, so it needs no copy.
#[test]
fn l14_what_waits_is_rescued_at_its_deadline_even_without_a_copy() {
    let bench = Bench::with_rings(1, 1);
    let options = RequestOptions::new().deadline(PAUSE).fallback(Fallback::Standby);
    let engine = bench.builder(options).build();
    let work = |n| Negate { copies: false, ..bench.work(n) };
    let on_ring = engine.submit(work(0)).unwrap();
    let waiting = engine.submit(work(1)).unwrap();
    bench.clock.advance(PAUSE);
    engine.poll();
    assert_eq!(bench.standby.taken(), [1]);
    bench.standby.answer_first(Answer::Right);
    assert_eq!(waiting.wait().unwrap().value, !1);
    assert_eq!(on_ring.wait().unwrap_err(), EngineError::Deadline);
    assert_eq!((engine.stats().waiters.now, engine.now()), (0, PAUSE));
}

#[test]
fn l14_a_deadline_counts_against_a_device_that_sat_on_the_request() {
    let bench = Bench::with_rings(1, 1);
    let breaker = BreakerPolicy::default().failures(2).pause(PAUSE);
    let engine = bench.builder(RequestOptions::new()).breaker(breaker).build();
    let short = RequestOptions::new().deadline(PAUSE / 4);
    let pass = || {
        bench.clock.advance(PAUSE / 4);
        engine.poll();
    };
    // Once by the device, and not again by the standby that took over.
    let saved =
        engine.with_options(short.fallback(Fallback::Standby)).submit(bench.work(0)).unwrap();
    pass();
    assert_eq!(bench.standby.taken(), [0]);
    pass();
    assert_eq!(saved.wait().unwrap_err(), EngineError::Deadline);
    // The ring is still taken, so this one waits before it.
    let waiting = engine.with_options(short).submit(bench.work(1)).unwrap();
    pass();
    assert_eq!(waiting.wait().unwrap_err(), EngineError::Deadline);
    assert_eq!(engine.breaker(), BreakerState::Closed);

    end(bench.device.find(0).unwrap(), Answer::Drop);
    let sat_on = engine.with_options(short).submit(bench.work(2)).unwrap();
    pass();
    assert_eq!(sat_on.wait().unwrap_err(), EngineError::Deadline);
    assert_eq!(engine.breaker(), BreakerState::Open);
}

#[test]
fn what_waits_before_a_device_that_is_well_goes_to_it() {
    let bench = Bench::with_rings(1, 1);
    let engine = builder(&bench, Fallback::Standby).build();
    let pending: Vec<_> = (0..2).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    bench.device.answer_first(Answer::Right);
    assert_eq!((bench.device.taken(), bench.standby.taken()), (vec![0, 1], vec![]));
    drop(pending);
}

#[test]
fn what_a_device_does_not_support_says_nothing_about_its_health() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Fail).build();
    bench.device.set_mode(Mode::Unsupported);
    for n in 0..10 {
        assert!(engine.run(bench.work(n)).is_err());
    }
    assert_eq!(engine.breaker(), BreakerState::Closed);
}

#[test]
fn l14_a_probe_that_the_device_refuses_for_good_was_answered_and_closes_the_breaker() {
    for refusal in [DeviceError::permanent(&"denied"), DeviceError::Unsupported("told to")] {
        let bench = bench();
        let engine = builder(&bench, Fallback::Fail).build();
        fail(&bench, &engine, 0..3);
        bench.clock.advance(PAUSE);
        let probe = engine.submit(bench.work(3)).unwrap();
        bench.device.find(3).unwrap().complete(Err(refusal.clone()));
        assert_eq!(probe.wait().unwrap_err(), EngineError::Device(refusal));
        assert_eq!(engine.breaker(), BreakerState::Closed);
    }
}

/// The requests that a device must not get are collected first, and moved afterwards.
#[test]
fn l14_a_request_cancelled_while_others_move_to_the_standby_is_not_moved() {
    let bench = Bench::with_rings(1, 64);
    let breaker = BreakerPolicy::default().failures(1).pause(PAUSE);
    let options = RequestOptions::new().fallback(Fallback::Standby);
    let engine = bench.builder(RequestOptions::new()).breaker(breaker).build();
    let held = engine.submit(bench.work(0)).unwrap();
    // Work without a copy: the trip of the breaker moves only what it finds in the queue.
    let waiting = [1, 2].map(|n| {
        engine.with_options(options).submit(Negate { copies: false, ..bench.work(n) }).unwrap()
    });
    let [first, second] = waiting;
    bench.standby.during_offer(move || drop(second));
    bench.device.answer_first(Answer::Fail);
    assert_eq!(bench.standby.taken(), [1]);
    assert_eq!(engine.stats().fallbacks, 1);
    bench.standby.answer_first(Answer::Right);
    assert_eq!(first.wait().unwrap().value, !1);
    assert!(held.wait().is_err());
    assert_eq!(engine.stats().requests.now, 0);
}

/// What all threads of a token do when its cable is touched.
#[test]
fn one_hiccup_of_all_that_the_device_holds_leaves_the_breaker_closed() {
    let bench = Bench::with_rings(64, 64);
    let policy = BreakerPolicy::default().failed_share(50, 16).pause(PAUSE);
    let engine = bench.builder(RequestOptions::new()).breaker(policy).build();
    let round = |from: u64, answer: fn(u64) -> Answer| {
        let pending: Vec<_> =
            (from..from + 64).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
        (from..from + 64).for_each(|n| end(bench.device.find(n).unwrap(), answer(n)));
        drop(pending);
    };
    round(0, |_| Answer::Fail);
    round(64, |_| Answer::Right);
    round(128, |n| if n % 3 == 0 { Answer::Fail } else { Answer::Right });
    assert_eq!((engine.breaker(), engine.stats().trips), (BreakerState::Closed, 0));
    round(192, |_| Answer::Fail);
    assert_eq!(engine.breaker(), BreakerState::Open, "a second time");
}

/// The device answers with an error after its time was over, and while the standby works on the request.
#[test]
fn a_request_that_was_out_of_time_counts_once_against_its_device() {
    let bench = bench();
    let options = RequestOptions::new().deadline(2 * PAUSE).fallback(Fallback::Standby);
    let breaker = BreakerPolicy::default().failures(2).pause(PAUSE);
    let engine = bench.builder(options).breaker(breaker).build();
    let pending = [0, 1].map(|n| {
        let pending = engine.submit(bench.work(n)).unwrap();
        bench.clock.advance(2 * PAUSE);
        engine.poll();
        if n == 0 {
            end(bench.device.find(n).unwrap(), Answer::Fail);
            assert_eq!(engine.breaker(), BreakerState::Closed, "one failure so far");
        }
        pending
    });
    assert_eq!(engine.breaker(), BreakerState::Open, "two failures");
    bench.clock.advance(PAUSE);
    let probe = engine.submit(bench.work(2)).unwrap();
    assert_eq!(bench.device.taken(), [0, 1, 2]);
    end(bench.device.find(1).unwrap(), Answer::Fail);
    assert_eq!(engine.breaker(), BreakerState::HalfOpen, "only the probe decides");
    end(bench.device.find(2).unwrap(), Answer::Right);
    assert_eq!((probe.wait().unwrap().value, engine.breaker()), (!2, BreakerState::Closed));
    let stats = engine.stats();
    // The deadline of request 0 has passed on the standby as well.
    assert_eq!((stats.trips, stats.fallbacks, stats.late), (1, 2, 2));
    drop(pending);
}

#[test]
fn a_request_for_which_the_device_has_no_room_is_not_its_probe() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Fail).queue_bound(0).build();
    fail(&bench, &engine, 0..3);
    bench.clock.advance(PAUSE);
    bench.device.set_mode(Mode::Stuck);
    let refused = engine.submit(bench.work(3)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::QueueFull { bound: 0 });
    bench.device.set_mode(Mode::Take);
    close_with(&bench, &engine, 4);
}

/// A device that says how long it wants to be left alone is there.
#[test]
fn a_probe_for_which_the_device_is_busy_was_answered_and_closes_the_breaker() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Fail).build();
    let busy = DeviceError::busy(PAUSE, &"throttled");
    let run = |n| {
        let pending = engine.submit(bench.work(n)).unwrap();
        bench.device.find(n).unwrap().complete(Err(busy.clone()));
        assert_eq!(pending.wait().unwrap_err(), EngineError::Device(busy.clone()));
    };
    (0..3).for_each(run);
    assert_eq!(engine.breaker(), BreakerState::Open, "closed, three in a row open it");
    bench.clock.advance(PAUSE);
    run(3);
    assert_eq!(engine.breaker(), BreakerState::Closed);
    (4..6).for_each(run);
    assert_eq!(engine.breaker(), BreakerState::Closed, "the probe is no failure");
    run(6);
    assert_eq!(engine.breaker(), BreakerState::Open);
}
