//! A card that does what it should not: every fault is survived, and ends in the right result or the right error.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{
    BreakerPolicy, BreakerState, DeviceError, EngineBuilder, EngineError, Fallback, Inline,
    RequestOptions,
};
use sim_device::{FaultPlan, FaultRule, Trigger};
use sim_engine::{CryptoOp, Fault, SimConfig};

use crate::rig::{Card, Rig, config, keys};

const MS: Duration = Duration::from_millis(1);

fn faulty(fault: Fault, trigger: Trigger, budget: u32) -> SimConfig {
    let mut config = config(2, 8);
    let rules = vec![FaultRule::new(fault, trigger).budget(budget)];
    config.instance.faults = FaultPlan { rules, budget: None };
    config.response_timeout = Some(20 * MS);
    config
}

/// A software key stands by.
fn with_standby(builder: EngineBuilder<CryptoOp>) -> EngineBuilder<CryptoOp> {
    let keys = keys();
    let software = Inline::new(move |op: &CryptoOp| {
        keys.execute(op).map_err(|_| DeviceError::Failed("the software key"))
    });
    builder.standby(Arc::new(software)).options(RequestOptions::new().fallback(Fallback::Standby))
}

/// Runs 30 jobs under both clocks and counts the errors.
fn errors(config: &SimConfig) -> [Vec<EngineError>; 2] {
    Rig::both(config, |builder| builder).map(|rig| {
        let errors = rig.sign_many(30).into_iter().filter_map(Result::err).collect();
        assert!(rig.stats().faults > 0, "nothing went wrong");
        rig.settle();
        errors
    })
}

#[test]
fn l12_corrupt_results_do_not_leave_the_engine() {
    for errors in errors(&faulty(Fault::Corrupt, Trigger::Every(3), 5)) {
        assert_eq!(errors.len(), 5);
        assert!(errors.iter().all(|error| matches!(error, EngineError::Invalid(_))));
    }
}

/// The tag in a response is never believed: the request that travels with it says whose it is.
#[test]
fn l1_misdirected_duplicate_reordered_and_late_completions_harm_no_other_request() {
    let late = Fault::Late { by: 2 * MS };
    for fault in [Fault::Misdirected, Fault::Duplicate, Fault::Reordered { behind: 2 }, late] {
        for errors in errors(&faulty(fault, Trigger::Every(2), 10)) {
            assert_eq!(errors, [], "{fault}");
        }
    }
}

#[test]
fn l5_l8_lost_responses_end_as_lost_and_free_their_ring_entries() {
    for errors in errors(&faulty(Fault::Lost, Trigger::Every(4), 3)) {
        assert_eq!(errors, vec![EngineError::Device(DeviceError::Lost); 3]);
    }
}

#[test]
fn errors_and_resets_fail_those_whom_they_strike() {
    for errors in errors(&faulty(Fault::DeviceError, Trigger::Every(10), 2)) {
        assert_eq!(errors.len(), 2);
    }
    for errors in errors(&faulty(Fault::Reset { downtime: MS }, Trigger::Nth(6), 1)) {
        assert!(!errors.is_empty());
        assert!(errors.iter().all(|error| matches!(
            error,
            EngineError::Device(DeviceError::Reset | DeviceError::Unavailable(_))
        )));
    }
}

#[test]
fn l14_with_a_software_key_as_standby_no_fault_reaches_a_caller() {
    let faults = [
        (Fault::Corrupt, Trigger::Every(3)),
        (Fault::Lost, Trigger::Every(4)),
        (Fault::DeviceError, Trigger::Every(5)),
        (Fault::Reset { downtime: 2 * MS }, Trigger::Nth(9)),
        (Fault::Removal { absent: None }, Trigger::Nth(9)),
    ];
    for (fault, trigger) in faults {
        for rig in Rig::both(&faulty(fault, trigger, 6), with_standby) {
            assert!(rig.sign_many(30).iter().all(Result::is_ok), "{fault}");
            assert!(rig.engine.stats().fallbacks > 0, "{fault}");
            rig.settle();
        }
    }
}

/// The ring opens again with nothing in flight, so no completion tells the engine.
#[test]
fn l3_a_ring_that_was_stuck_lets_those_in_who_wait() {
    let stuck = faulty(Fault::RingStuck { lasts: 3 * MS }, Trigger::Nth(1), 1);
    for rig in Rig::both(&stuck, |builder| builder) {
        assert!(rig.sign_many(5).iter().all(Result::is_ok));
        // In real time the ring may open between two of them.
        assert!(rig.engine.stats().queued >= 1, "a request had to wait");
        rig.settle();
    }
}

/// Who submits in a poll may bring a fault down, and the end of that fault is then the only thing to come.
#[test]
fn l3_the_end_of_a_fault_that_strikes_during_a_poll_is_in_its_answer() {
    for (trigger, units) in [(Trigger::Every(1), 2), (Trigger::Every(2), 2), (Trigger::Every(3), 1)]
    {
        let mut stuck = faulty(Fault::RingStuck { lasts: 3 * MS }, trigger, 4);
        stuck.instance.ring_depth = 2;
        stuck.instance.units.iter_mut().for_each(|unit| unit.count = units);
        let rig = Rig::stepped(stuck, |builder| builder);
        assert!(rig.sign_many(12).iter().all(Result::is_ok));
        assert_eq!(rig.stats().faults, 4);
        rig.settle();
    }
}

#[test]
fn l3_a_lost_interrupt_is_made_up_for() {
    for errors in errors(&faulty(Fault::InterruptLost, Trigger::Every(1), 5)) {
        assert_eq!(errors, []);
    }
}

/// The heart stops, and the work with it: the breaker opens, software takes over, and in the end the device is back.
#[test]
fn l14_heartbeat_loss_opens_the_breaker_and_its_return_closes_it() {
    let hang = Fault::Hang { lasts: Duration::from_secs(4) };
    let mut config = config(2, 8);
    config.instance.heartbeat = 100 * MS;
    let rig = Rig::stepped(config, |builder| {
        let policy = BreakerPolicy::default().check_every(200 * MS).pause(500 * MS);
        with_standby(builder).breaker(policy)
    });
    assert!(rig.sign_many(4).iter().all(Result::is_ok));
    let Card::Stepped(card, _) = &rig.card else { unreachable!() };
    card.inject(hang);
    // In flight when the heart stops.
    assert!(rig.sign_many(12).iter().all(Result::is_ok));
    assert_eq!(rig.engine.breaker(), BreakerState::Open);
    assert_eq!(rig.engine.stats().trips, 1);
    let asked = rig.stats().submitted;
    assert!(rig.sign_many(3).iter().all(Result::is_ok));
    assert_eq!(rig.stats().submitted, asked, "the device is not even asked");
    // The hang ends; what the device still holds comes back, perhaps late.
    for _ in 0..10_000 {
        if !rig.step() {
            break;
        }
    }
    rig.wait(Duration::from_secs(1));
    assert_eq!(rig.engine.breaker(), BreakerState::HalfOpen);
    assert!(rig.sign_many(3).iter().all(Result::is_ok));
    assert_eq!(rig.engine.breaker(), BreakerState::Closed);
    assert_eq!(rig.stats().submitted, asked + 1, "the probe, and nothing else");
    rig.settle();
}
