//! Valid configurations, and the errors of invalid ones.

use core::time::Duration;

use sim_device::{Batch, ServiceTime, Trigger, UnitConfig};
use sim_device::{ConfigError, Fault, FaultRule, Instance, InstanceConfig, InterruptMode, Profile};

use crate::{SIGN, group, simple, us, with_fault, with_rule};

fn complaint(config: InstanceConfig) -> String {
    let error: ConfigError = config.validate().expect_err("the configuration makes no sense");
    assert_eq!(Instance::<()>::new(config, 0).unwrap_err().to_string(), error.to_string());
    error.to_string()
}

#[test]
fn every_complaint_names_the_field_the_value_and_the_remedy() {
    let serving =
        |service| InstanceConfig { units: vec![UnitConfig::new(SIGN, 1, service)], ..simple() };
    let batching = |size, timeout| InstanceConfig {
        units: vec![group(SIGN, 1, us(1)).batched(Batch { size, timeout })],
        ..simple()
    };
    let complaints = [
        complaint(InstanceConfig { ring_depth: 0, ..simple() }),
        complaint(InstanceConfig { response_depth: 1 << 21, ..simple() }),
        complaint(InstanceConfig { units: vec![], ..simple() }),
        complaint(InstanceConfig { units: vec![group(SIGN, 0, us(1))], ..simple() }),
        complaint(InstanceConfig { units: vec![group(SIGN, 1, us(1)); 2], ..simple() }),
        complaint(batching(0, us(1))),
        complaint(batching(65, us(1))),
        complaint(batching(64, Duration::from_secs(61))),
        complaint(InstanceConfig { pool: Some(0), ..simple() }),
        complaint(InstanceConfig { doorbell: Duration::from_secs(61), ..simple() }),
        complaint(InstanceConfig { heartbeat: Duration::ZERO, ..simple() }),
        complaint(InstanceConfig {
            interrupts: InterruptMode::Coalesced { responses: 0, delay: us(1) },
            ..simple()
        }),
        complaint(serving(ServiceTime::Exponential { mean: Duration::ZERO })),
        complaint(serving(ServiceTime::LogNormal { median: us(1), sigma: f64::NAN })),
        complaint(serving(ServiceTime::Uniform { low: us(2_000), high: us(1_000) })),
        complaint(serving(ServiceTime::Empirical(vec![(us(1), 0)]))),
        complaint(serving(ServiceTime::Fixed(Duration::from_secs(86_401)))),
        complaint(with_fault(Fault::Lost, Trigger::Chance(1.5))),
        complaint(with_fault(Fault::Lost, Trigger::Nth(0))),
        complaint(with_rule(FaultRule::new(Fault::Late { by: Duration::MAX }, Trigger::Nth(1)))),
    ];
    insta::assert_snapshot!(complaints.join("\n"), @r"
    `ring_depth` is 0: give a depth from 1 to 1048576
    `response_depth` is 2097152: give a depth from 1 to 1048576
    `units` is empty: add a group of service units for each class of request
    `units`: class 0 has a `count` of 0: give at least 1, or leave the class out
    `units` has two groups for class 0: join them by adding up their `count`
    `units`: `batch` of class 0 has a `size` of 0: give at least 1, or no batch
    `units`: `batch` of class 0 has a `size` of 65, which a ring of 64 never fills: give at most `ring_depth`
    `units.batch.timeout` is 61s: give at most 60s
    `pool` is 0: give at least 1 unit, or none for groups that share nothing
    `doorbell` is 61s: give at most 60s
    `heartbeat` is zero: give the period of the heartbeat, for example 500 ms
    `interrupts`: `responses` is 0: give at least 1, or use polling
    `units`: `service` of class 0: `mean` is zero: give a time above zero, or use a fixed time of zero
    `units`: `service` of class 0: `sigma` is NaN: give a number from 0 to 4 (0.5 puts p99 at 3.2 times the median)
    `units`: `service` of class 0: `low` (2ms) is above `high` (1ms): swap them
    `units`: `service` of class 0: `empirical` has no sample with a weight above zero: add at least one
    `units`: `service` of class 0: a service time of 86401s is longer than a day: check the unit
    `faults.rules[0]`: a chance of 1.5: give a probability from 0 to 1
    `faults.rules[0]`: the 0th opportunity never comes: count from 1
    `faults.rules[0]`: lasts 18446744073709551615.999999999s: give at most 86400s
    ");
}

#[test]
fn every_profile_builds_and_goes_by_its_name() {
    for profile in Profile::ALL {
        let config = profile.instance_config();
        assert_eq!(config.name, profile.name());
        config.validate().expect("profiles are valid");
    }
}

/// The figures that the profiles' documentation gives, within a fifth.
#[test]
fn profiles_have_the_throughput_of_their_sources() {
    for (profile, class, per_second) in [
        (Profile::AcceleratorCard, Profile::RSA_SIGN, 110_000.0),
        (Profile::NetworkHsm, Profile::RSA_SIGN, 1_000.0),
        (Profile::NetworkHsm, Profile::EC_SIGN, 1_500.0),
        (Profile::CloudKms, Profile::RSA_SIGN, 1_000.0),
        (Profile::CloudKms, Profile::EC_SIGN, 1_000.0),
        (Profile::CloudKms, Profile::SYMMETRIC, 5_500.0),
        (Profile::UsbToken, Profile::RSA_SIGN, 1.0 / 0.7),
        (Profile::UsbToken, Profile::EC_SIGN, 11.0),
    ] {
        let config = profile.instance_config();
        let group = config.units.iter().find(|unit| unit.class == class).unwrap();
        let capacity = f64::from(group.count) / group.service.mean().as_secs_f64();
        let ratio = capacity / per_second;
        assert!((0.8..=1.2).contains(&ratio), "{profile} {class}: {capacity} per second");
    }
}
