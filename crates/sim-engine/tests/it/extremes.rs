//! No duration and no number makes a card panic or hang, under either clock.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{Clock, Engine};
use proptest::prelude::*;
use sim_device::{FaultRule, Trigger};
use sim_engine::{Fault, Polling, SimCard, SimConfig, SteppedCard};

use crate::rig::{HandClock, PATIENCE, config, keys, sign};

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        Just(Duration::MAX - Duration::from_nanos(1)),
        Just(Duration::from_nanos(u64::MAX)),
        (0u64..20_000_000).prop_map(Duration::from_nanos),
    ]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(usize::MAX), any::<usize>()]
}

fn polling() -> impl Strategy<Value = Polling> {
    prop_oneof![
        duration().prop_map(|watchdog| Polling::Interrupt { watchdog }),
        duration().prop_map(Polling::Interval),
        (count(), duration())
            .prop_map(|(threshold, at_latest)| Polling::Heuristic { threshold, at_latest }),
        duration().prop_map(Polling::Inline),
    ]
}

fn settings() -> impl Strategy<Value = SimConfig> {
    let few = prop_oneof![4 => 0usize..4, 1 => count()];
    let lost = prop::option::of(Just(FaultRule::new(Fault::Lost, Trigger::Nth(1))));
    (polling(), prop::option::of(duration()), few, lost, any::<u64>()).prop_map(
        |(polling, response_timeout, instances, lost, seed)| {
            let mut config = config(1, 4);
            config.trace = false;
            config.polling = polling;
            config.response_timeout = response_timeout;
            config.instances = instances;
            config.instance.faults.rules = lost.into_iter().collect();
            config.seed = seed;
            config
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// A step of virtual time always ends, and time goes on.
    #[test]
    fn no_setting_of_a_stepped_card_makes_it_panic_or_hang(
        settings in settings(), active in count(), lasts in duration(), start in duration(),
    ) {
        let clock = Arc::<HandClock>::default();
        clock.set(start);
        let card = SteppedCard::new(settings, keys(), clock.clone()).unwrap();
        card.set_active(active);
        let engine = Engine::builder(card.clone()).clock(clock.clone()).build();
        let waiting: Vec<_> = (0..3).map(|n| engine.submit(sign(n)).unwrap()).collect();
        for step in 0..200 {
            if step == 3 {
                card.inject(Fault::Hang { lasts });
            }
            let Some(next) = engine.poll() else { break };
            prop_assert!(next > clock.now() || clock.now() > Duration::from_secs(3600), "{next:?}");
            clock.set(next);
        }
        drop(waiting);
        let _ = (card.stats(), engine.shutdown(Duration::ZERO));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_setting_of_a_card_with_a_thread_makes_it_panic_or_hang(
        settings in settings(), active in count(), lasts in duration(),
    ) {
        let by_interrupt = matches!(settings.polling, Polling::Interrupt { .. });
        let card = SimCard::start(settings, keys()).unwrap();
        card.set_active(active);
        let engine = Engine::builder(card.clone()).build();
        let driver = engine.spawn_driver().unwrap();
        let waiting: Vec<_> = (0..3).map(|n| engine.submit(sign(n)).unwrap()).collect();
        card.inject(Fault::Hang { lasts });
        let _ = engine.poll();
        drop(driver);
        card.stop();
        drop(waiting);
        // What the card holds ends with its thread, which so has not died before; but for answers that are not collected.
        prop_assert!(!by_interrupt || engine.quiesce(PATIENCE));
    }
}
