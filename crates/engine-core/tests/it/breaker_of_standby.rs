//! The breaker of the standby: what would fall back to it while it is away, and how it comes back (law L14).

use std::sync::Arc;
use std::time::Duration;

use engine_core::{
    BreakerPolicy, BreakerState, DeviceError, Engine, EngineBuilder, EngineError, Fallback,
    RefusedReason, RequestOptions,
};

use crate::breaker::{PAUSE, bench, builder, close_with};
use crate::support::{Answer, Bench, Mode, Negate, end};

/// Fails `n` and those before it on both devices, which opens both breakers.
fn fail_on_both(bench: &Bench, engine: &Engine<Negate>, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let pending = engine.submit(bench.work(n)).unwrap();
        for device in [&bench.device, &bench.standby] {
            end(device.find(n).unwrap(), Answer::Fail);
        }
        assert!(pending.wait().is_err());
    }
}

#[track_caller]
fn assert_breakers(engine: &Engine<Negate>, device: BreakerState, standby: BreakerState) {
    assert_eq!((engine.breaker(), engine.standby_breaker()), (device, standby));
}

#[test]
fn l14_a_standby_that_fails_is_left_alone_too_and_comes_back() {
    let bench = bench();
    let engine = builder(&bench, Fallback::Standby).build();
    fail_on_both(&bench, &engine, 0..3);
    assert_breakers(&engine, BreakerState::Open, BreakerState::Open);
    let refused = engine.submit(bench.work(3)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Unavailable);

    bench.clock.advance(PAUSE);
    // One probe each: the second operation finds the device's under way.
    let probes = [4, 5].map(|n| engine.submit(bench.work(n)).unwrap());
    assert_eq!(engine.submit(bench.work(6)).unwrap_err().reason, RefusedReason::Unavailable);
    end(bench.device.find(4).unwrap(), Answer::Right);
    end(bench.standby.find(5).unwrap(), Answer::Right);
    for (probe, n) in probes.into_iter().zip(4..) {
        assert_eq!(probe.wait().unwrap().value, !n);
    }
    assert_breakers(&engine, BreakerState::Closed, BreakerState::Closed);
    let stats = engine.stats();
    assert_eq!((stats.trips, stats.refused, stats.requests.now), (2, 2, 0));
}

/// Four operations whose time on the device is over, while the standby does not answer.
#[test]
fn l14_an_operation_does_not_wait_for_a_standby_that_is_known_to_be_away() {
    let bench = bench();
    let time = Duration::from_millis(100);
    let options = RequestOptions::new().deadline(time).fallback(Fallback::Standby);
    let breaker = BreakerPolicy::default().failures(3).pause(PAUSE);
    let engine = builder(&bench, Fallback::Standby).options(options).breaker(breaker).build();
    for n in 0..3 {
        // The device does the next one each time, so that only the standby fails in a row.
        let slow = engine.submit(bench.work(2 * n)).unwrap();
        bench.clock.advance(time);
        engine.poll();
        bench.clock.advance(time);
        engine.poll();
        assert_eq!(slow.wait().unwrap_err(), EngineError::Deadline);
        let quick = engine.submit(bench.work(2 * n + 1)).unwrap();
        end(bench.device.find(2 * n + 1).unwrap(), Answer::Right);
        assert!(quick.wait().is_ok());
    }
    assert_breakers(&engine, BreakerState::Closed, BreakerState::Open);
    let mut last = engine.submit(bench.work(8)).unwrap();
    bench.clock.advance(time);
    engine.poll();
    let std::task::Poll::Ready(ended) = last.poll_result() else {
        panic!("it waits for the standby")
    };
    assert_eq!(ended.unwrap_err(), EngineError::Deadline);
    assert_eq!(bench.standby.taken(), [0, 2, 4]);
}

#[test]
fn l14_what_waits_before_a_standby_that_is_shut_off_fails_at_once() {
    let bench = Bench::with_rings(8, 1);
    let engine = builder(&bench, Fallback::Standby).build();
    bench.device.set_mode(Mode::Away);
    let pending: Vec<_> = (0..5).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
    assert_eq!(bench.standby.taken(), [0]);
    for n in 0..3 {
        end(bench.standby.find(n).unwrap(), Answer::Fail);
    }
    // The third failure opens it, before the two that are left go onto its ring.
    assert_eq!(engine.standby_breaker(), BreakerState::Open);
    let ended = pending.into_iter().filter_map(|mut one| match one.poll_result() {
        std::task::Poll::Ready(result) => Some(result.unwrap_err()),
        std::task::Poll::Pending => None,
    });
    let ended: Vec<_> = ended.collect();
    let shut_off =
        |error: &&EngineError| matches!(error, EngineError::Device(DeviceError::Unavailable(_)));
    assert_eq!((ended.len(), ended.iter().filter(shut_off).count()), (5, 2), "{ended:?}");
    assert_eq!(engine.stats().requests.now, 0);
}

/// An engine whose device is well, and whose standby may be tried again after it has failed request 0.
fn with_a_half_open_standby(bench: &Bench, builder: EngineBuilder<Negate>) -> Arc<Engine<Negate>> {
    let breaker = BreakerPolicy::default().failures(1).pause(PAUSE);
    let engine = builder.breaker(breaker).build();
    fail_on_both(bench, &engine, 0..1);
    bench.clock.advance(PAUSE);
    close_with(bench, &engine, 1);
    assert_eq!(engine.standby_breaker(), BreakerState::HalfOpen);
    engine
}

#[test]
fn a_request_that_cannot_move_to_the_standby_is_not_its_probe() {
    let bench = bench();
    let options = RequestOptions::new().fallback(Fallback::Standby);
    let engine = with_a_half_open_standby(&bench, bench.builder(options));
    // The device has the only copy of these: before and after the one that can move.
    let stays = |n| engine.submit(Negate { copies: false, ..bench.work(n) }).unwrap();
    let before = stays(2);
    let moves = engine.submit(bench.work(3)).unwrap();
    let after = stays(4);
    let trips = engine.with_options(RequestOptions::new()).submit(bench.work(5)).unwrap();
    end(bench.device.find(5).unwrap(), Answer::Fail);
    assert_eq!(engine.breaker(), BreakerState::Open);
    assert_eq!(bench.standby.taken(), [0, 3]);
    end(bench.standby.find(3).unwrap(), Answer::Right);
    assert_eq!((moves.wait().unwrap().value, engine.standby_breaker()), (!3, BreakerState::Closed));
    drop((before, after, trips));
}

#[test]
fn a_request_for_which_the_standby_has_no_room_is_not_its_probe() {
    let bench = bench();
    let options = RequestOptions::new().fallback(Fallback::Standby);
    let engine = with_a_half_open_standby(&bench, bench.builder(options).queue_bound(0));
    let failed = engine.submit(bench.work(2)).unwrap();
    bench.standby.set_mode(Mode::Stuck);
    end(bench.device.find(2).unwrap(), Answer::Fail);
    let error = failed.wait().unwrap_err();
    assert_eq!(error, EngineError::Refused(RefusedReason::QueueFull { bound: 0 }));
    // The device is shut off now, and the standby refuses this one for the same reason as before.
    let refused = engine.submit(bench.work(3)).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::QueueFull { bound: 0 });
    bench.standby.set_mode(Mode::Take);
    let probe = engine.submit(bench.work(4)).unwrap();
    end(bench.standby.find(4).unwrap(), Answer::Right);
    assert_eq!((probe.wait().unwrap().value, engine.standby_breaker()), (!4, BreakerState::Closed));
}
