//! Every way of collecting, under both clocks.

use std::time::Duration;

use sim_device::InterruptMode;
use sim_engine::Polling;

use crate::rig::{Card, Rig, config};

const MS: Duration = Duration::from_millis(1);

const POLICIES: [Polling; 4] = [
    Polling::Interrupt { watchdog: MS },
    Polling::Interval(MS),
    Polling::Heuristic { threshold: 6, at_latest: MS },
    Polling::Inline(Duration::from_micros(100)),
];

#[test]
fn every_policy_gets_all_the_work_done() {
    for polling in POLICIES {
        for interrupts in [InterruptMode::Polling, InterruptMode::PerResponse] {
            let mut config = config(2, 8);
            config.polling = polling;
            config.instance.interrupts = interrupts;
            for rig in Rig::both(&config, |builder| builder) {
                assert!(rig.sign_many(30).iter().all(Result::is_ok), "{polling:?}");
                rig.settle();
            }
        }
    }
}

#[test]
fn l7_the_heuristic_looks_far_less_often_than_it_collects() {
    let mut config = config(8, 64);
    config.instance.interrupts = InterruptMode::Polling;
    config.polling = Polling::Heuristic { threshold: 64, at_latest: 5 * MS };
    let rig = Rig::stepped(config, |builder| builder);
    let Card::Stepped(card, _) = &rig.card else { unreachable!() };
    card.set_active(100);
    assert!(rig.sign_many(60).iter().all(Result::is_ok));
    let stats = rig.stats();
    assert_eq!(stats.drained, 60);
    assert!(stats.polls <= 4, "{} polls", stats.polls);
    rig.settle();
}
