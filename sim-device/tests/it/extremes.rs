//! No duration and no number makes a device panic, overflow or hang: validation refuses it, or it works.

use core::time::Duration;

use proptest::prelude::*;
use sim_device::{
    Batch, Fault, FaultPlan, FaultRule, Instance, InstanceConfig, InterruptMode, RingLayout,
    ServiceTime, Trigger, UnitConfig,
};

use crate::{SIGN, TICKET};

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        Just(Duration::MAX - Duration::from_nanos(1)),
        Just(Duration::from_nanos(u64::MAX)),
        (0u64..100_000_000_000).prop_map(Duration::from_nanos),
        any::<Duration>(),
    ]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(7), Just(usize::MAX), Just(usize::MAX - 1), any::<usize>()]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), Just(u32::MAX - 1), any::<u32>()]
}

fn service() -> impl Strategy<Value = ServiceTime> {
    let empirical = prop::collection::vec((duration(), small()), 0..4);
    prop_oneof![
        duration().prop_map(ServiceTime::Fixed),
        duration().prop_map(|mean| ServiceTime::Exponential { mean }),
        (duration(), any::<f64>())
            .prop_map(|(median, sigma)| ServiceTime::LogNormal { median, sigma }),
        (duration(), duration()).prop_map(|(low, high)| ServiceTime::Uniform { low, high }),
        empirical.prop_map(ServiceTime::Empirical),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        duration().prop_map(|lasts| Fault::RingStuck { lasts }),
        duration().prop_map(|lasts| Fault::HeartbeatLoss { lasts }),
        duration().prop_map(|lasts| Fault::Hang { lasts }),
        duration().prop_map(|by| Fault::Late { by }),
        duration().prop_map(|downtime| Fault::Reset { downtime }),
        prop::option::of(duration()).prop_map(|absent| Fault::Removal { absent }),
        small().prop_map(|behind| Fault::Reordered { behind }),
        Just(Fault::Lost),
    ]
}

fn trigger() -> impl Strategy<Value = Trigger> {
    prop_oneof![
        any::<f64>().prop_map(Trigger::Chance),
        prop_oneof![Just(0), Just(1), any::<u64>()].prop_map(Trigger::Nth),
        prop_oneof![Just(0), Just(1), any::<u64>()].prop_map(Trigger::Every),
        duration().prop_map(Trigger::At),
    ]
}

fn config() -> impl Strategy<Value = InstanceConfig> {
    let unit = |class| {
        let batch = prop::option::of((small(), duration()));
        (small(), service(), batch).prop_map(move |(count, service, batch)| UnitConfig {
            class,
            count,
            service,
            batch: batch.map(|(size, timeout)| Batch { size, timeout }),
        })
    };
    let times = (duration(), duration(), duration(), duration());
    let rest = (count(), count(), prop::option::of(small()), small(), any::<bool>());
    let rule = (fault(), trigger(), small());
    ((unit(SIGN), unit(TICKET)), times, rest, prop::option::of(rule)).prop_map(
        |((sign, ticket), (doorbell, latency, delay, heartbeat), rest, rule)| {
            let (ring_depth, response_depth, pool, responses, shared) = rest;
            let rules = rule
                .into_iter()
                .map(|(fault, trigger, budget)| FaultRule::new(fault, trigger).budget(budget));
            InstanceConfig {
                ring_depth,
                response_depth,
                rings: if shared { RingLayout::Shared } else { RingLayout::PerClass },
                units: vec![sign, ticket],
                pool,
                doorbell,
                interrupts: InterruptMode::Coalesced { responses, delay },
                interrupt_latency: latency,
                heartbeat,
                faults: FaultPlan { rules: rules.collect(), budget: None },
                ..InstanceConfig::default()
            }
        },
    )
}

/// Clamps every field of `config` to the range that its validation accepts.
fn tamed(mut config: InstanceConfig) -> InstanceConfig {
    use sim_device::{DEEPEST_RING, LONGEST_LATENCY};
    config.ring_depth = config.ring_depth.clamp(1, DEEPEST_RING);
    config.response_depth = config.response_depth.clamp(1, DEEPEST_RING);
    config.doorbell = config.doorbell.min(LONGEST_LATENCY);
    config.interrupt_latency = config.interrupt_latency.min(LONGEST_LATENCY);
    config.heartbeat = config.heartbeat.max(Duration::from_nanos(1));
    config.pool = config.pool.map(|pool| pool.max(1));
    if let InterruptMode::Coalesced { responses, delay } = &mut config.interrupts {
        (*responses, *delay) = ((*responses).max(1), (*delay).min(LONGEST_LATENCY));
    }
    for unit in &mut config.units {
        unit.count = unit.count.max(1);
        if let Some(batch) = &mut unit.batch {
            batch.size = batch.size.clamp(1, u32::try_from(config.ring_depth).unwrap_or(1));
            batch.timeout = batch.timeout.min(LONGEST_LATENCY);
        }
        if unit.service.validate().is_err() {
            unit.service = ServiceTime::Fixed(sim_device::LONGEST_SERVICE);
        }
    }
    if config.faults.rules.first().is_some_and(|_| config.validate().is_err()) {
        config.faults.rules.clear();
    }
    config
}

fn drive(device: &mut Instance<u32>, times: &[Duration], faults: &[Fault], downtime: Duration) {
    let mut into = Vec::new();
    for (n, now) in times.iter().enumerate() {
        for class in [SIGN, TICKET] {
            let _ = device.submit(*now, class, 0);
        }
        if let Some(fault) = faults.get(n) {
            device.inject(*now, *fault);
        }
        device.advance(*now);
        let _ = (device.take_interrupt(*now), device.heartbeat(*now), device.is_sound());
        device.poll_responses(usize::MAX, &mut into);
    }
    device.reset(times.last().copied().unwrap_or_default(), downtime);
    // Advances from deadline to deadline to the end of time.
    for _ in 0..1000 {
        let Some(next) = device.next_deadline() else { break };
        device.advance(next);
        device.poll_responses(usize::MAX, &mut into);
    }
    device.advance(Duration::MAX);
    device.poll_responses(usize::MAX, &mut into);
    for class in &device.stats().classes {
        let _ = (class.utilisation(Duration::MAX), class.mean_batch());
    }
    for completion in &into {
        let _ = (completion.queue_wait(), completion.service_time());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_setting_of_a_device_makes_it_panic_or_hang(
        config in config(), tame in any::<bool>(), seed in any::<u64>(),
        times in prop::collection::vec(duration(), 1..6),
        faults in prop::collection::vec(fault(), 0..4),
        downtime in duration(),
    ) {
        let config = if tame { tamed(config) } else { config };
        for unit in &config.units {
            let _ = unit.service.mean();
        }
        match Instance::new(config.clone(), seed) {
            Ok(mut device) => drive(&mut device, &times, &faults, downtime),
            Err(error) => {
                prop_assert!(!tame, "{error}");
                prop_assert!(Instance::<u32>::several([config], seed).is_err());
            }
        }
    }
}
