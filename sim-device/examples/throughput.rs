//! Measures the speed of the simulation: requests through one instance with rings of 64, three units
//! and interrupts; the software refills the ring at every interrupt.
//!
//! `cargo run --release -p layby-sim-device --example throughput`

use core::time::Duration;
use std::time::Instant;

use sim_device::{Instance, InstanceConfig, InterruptMode, ServiceClass, ServiceTime, UnitConfig};

const SIGN: ServiceClass = ServiceClass(0);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mean = Duration::from_micros(10);
    for (name, service) in
        [("fixed", ServiceTime::fixed(mean)?), ("exponential", ServiceTime::exponential(mean)?)]
    {
        let begun = Instant::now();
        let requests = run(service, 2_000_000)?;
        let rate = requests as f64 / begun.elapsed().as_secs_f64();
        println!("{name:>12}: {rate:.0} virtual requests a second");
    }
    Ok(())
}

/// Runs until at least `enough` requests have finished, and returns their number.
fn run(service: ServiceTime, enough: u64) -> Result<u64, sim_device::ConfigError> {
    let config = InstanceConfig {
        units: vec![UnitConfig::new(SIGN, 3, service)],
        interrupts: InterruptMode::PerResponse,
        ..InstanceConfig::default()
    };
    let mut device = Instance::new(config, 1)?;
    let mut done = Vec::with_capacity(64);
    let mut next_request = 0u64;
    while device.stats().drained < enough {
        let now = device.now();
        while device.credits(SIGN) > Some(0) {
            device.submit(now, SIGN, next_request).expect("there is a free entry");
            next_request += 1;
        }
        let deadline = device.next_deadline().expect("requests are inside");
        if device.take_interrupt(deadline) {
            done.clear();
            device.poll_responses(64, &mut done);
        }
    }
    Ok(device.stats().drained)
}

#[test]
fn the_example_runs() {
    assert!(run(ServiceTime::Fixed(Duration::from_micros(1)), 1_000).expect("valid") >= 1_000);
}
