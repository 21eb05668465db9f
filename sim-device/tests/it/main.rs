//! Tests of an instance from the software's side of the rings.

mod batch;
mod build;
mod extremes;
mod faults;
mod interrupts;
mod laws;
mod model;
mod queueing;
mod rings;
mod trace;

use core::time::Duration;

use sim_device::{Completion, Instance, InstanceConfig, InterruptMode, ServiceClass, ServiceTime};
use sim_device::{Fault, FaultPlan, FaultRule, Trigger, UnitConfig};

/// The class of most tests.
const SIGN: ServiceClass = ServiceClass(0);
/// A second class.
const TICKET: ServiceClass = ServiceClass(1);

/// Small round times: doorbell 1 us, one unit with a service time of 10 us, polling.
fn simple() -> InstanceConfig {
    InstanceConfig {
        units: vec![group(SIGN, 1, us(10))],
        doorbell: us(1),
        interrupts: InterruptMode::Polling,
        ..InstanceConfig::default()
    }
}

fn group(class: ServiceClass, count: u32, service: Duration) -> UnitConfig {
    UnitConfig::new(class, count, ServiceTime::Fixed(service))
}

fn with_fault(fault: Fault, trigger: Trigger) -> InstanceConfig {
    with_rule(FaultRule::new(fault, trigger))
}

fn with_rule(rule: FaultRule) -> InstanceConfig {
    InstanceConfig { faults: FaultPlan { rules: vec![rule], budget: None }, ..simple() }
}

fn device<P>(config: InstanceConfig) -> Instance<P> {
    Instance::new(config, 1).expect("the test's configuration is valid")
}

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Drains the whole response ring.
fn drain<P>(device: &mut Instance<P>) -> Vec<Completion<P>> {
    let mut into = Vec::new();
    device.poll_responses(usize::MAX, &mut into);
    into
}

/// Advances from deadline to deadline until nothing is in progress, draining after each.
fn run_dry<P>(device: &mut Instance<P>) -> Vec<Completion<P>> {
    let mut into = Vec::new();
    for _ in 0..100_000 {
        device.poll_responses(usize::MAX, &mut into);
        match device.next_deadline() {
            Some(next) => device.advance(next),
            None => return into,
        }
    }
    panic!("the device never came to rest: {device:?}");
}

/// The tags as numbers, in drain order.
fn tags<P>(completions: &[Completion<P>]) -> Vec<u64> {
    completions.iter().map(|completion| completion.entry.as_u64()).collect()
}
