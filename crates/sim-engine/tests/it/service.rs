//! A card that does what it should: right results, order, load over instances, the same events every time.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{Accelerator, Engine, OnFull};
use sim_engine::{CryptoOp, Profile, SimCard, SimConfig, SteppedCard};

use crate::rig::{Card, HandClock, LATENCY, Rig, config, keys, sign};

#[test]
fn l1_l3_l7_more_jobs_than_ring_entries_all_get_their_own_signature() {
    for rig in Rig::both(&config(2, 4), |builder| builder) {
        let outcomes = rig.sign_many(40);
        assert!(outcomes.iter().all(Result::is_ok));
        let snapshot = rig.engine.stats();
        assert_eq!((snapshot.accepted, snapshot.completed, snapshot.checked), (40, 40, 40));
        assert!(snapshot.queued > 0 && snapshot.ring_full > 0, "the ring was full");
        rig.settle();
    }
}

#[test]
fn l4_the_same_with_the_jobs_submitting_again_themselves() {
    let rig = Rig::stepped(config(2, 4), |builder| builder.on_full(OnFull::Notify));
    assert!(rig.sign_many(40).iter().all(Result::is_ok));
    let snapshot = rig.engine.stats();
    assert_eq!((snapshot.accepted, snapshot.retries, snapshot.retry_wakes), (40, 36, 36));
    rig.settle();
}

#[test]
fn l9_the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed| {
        let mut config = SimConfig::profile(Profile::NetworkHsm);
        config.trace = true;
        config.seed = seed;
        config.instances = 2;
        let rig = Rig::stepped(config, |builder| builder);
        assert!(rig.sign_many(150).iter().all(Result::is_ok));
        let Card::Stepped(card, _) = &rig.card else { unreachable!() };
        let mut records = Vec::new();
        card.drain_trace(&mut records);
        let trace: Vec<String> =
            records.iter().map(|(id, record)| format!("{id} {record}")).collect();
        rig.settle();
        trace
    };
    let first = run(1);
    assert!(first.len() > 5 * 150, "{} events", first.len());
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn instances_share_the_load() {
    let mut config = config(1, 8);
    config.instances = 3;
    for rig in Rig::both(&config, |builder| builder) {
        assert!(rig.sign_many(24).iter().all(Result::is_ok));
        let each = match &rig.card {
            Card::Stepped(card, _) => card.instance_stats(),
            Card::Threaded(card, _) => card.instance_stats(),
        };
        assert_eq!(each.iter().map(|stats| stats.finished).sum::<u64>(), 24);
        assert!(each.iter().all(|stats| stats.finished >= 4), "{each:?}");
        assert_eq!(rig.stats().finished, 24);
        rig.settle();
    }
}

#[test]
fn stepped_time_is_the_service_time_and_no_more() {
    let rig = Rig::stepped(config(1, 64), |builder| builder);
    assert!(rig.sign_many(10).iter().all(Result::is_ok));
    let Card::Stepped(_, clock) = &rig.card else { unreachable!() };
    let elapsed = engine_core::Clock::now(&**clock);
    // One unit, ten signatures, and the latencies of doorbell and interrupt.
    assert!(elapsed >= 10 * LATENCY && elapsed < 10 * LATENCY + Duration::from_micros(10));
    rig.settle();
}

/// The ring is full of one engine's work, and another's waits: it has nothing in flight that could complete.
#[test]
fn l13_engines_that_share_a_card_hear_of_each_others_room() {
    for threads in [false, true] {
        let config = config(1, 2);
        let clock = Arc::<HandClock>::default();
        let card: Arc<dyn Accelerator<CryptoOp>> = if threads {
            SimCard::start(config, keys()).unwrap()
        } else {
            SteppedCard::new(config, keys(), clock.clone()).unwrap()
        };
        let builder = || Engine::builder(Arc::clone(&card));
        let [one, other] = [(); 2].map(|()| match threads {
            true => builder().build(),
            false => builder().clock(clock.clone()).build(),
        });
        let first: Vec<_> = (0..6).map(|n| one.submit(sign(n)).unwrap()).collect();
        let second: Vec<_> = (6..9).map(|n| other.submit(sign(n)).unwrap()).collect();
        assert_eq!(other.stats().waiters.now, 3);
        // Of a stepped card only one engine's time is asked for.
        for _ in 0..1_000 {
            let Some(next) = one.poll() else { break };
            clock.set(next);
        }
        for pending in first.into_iter().chain(second) {
            assert!(pending.wait().is_ok());
        }
    }
}
