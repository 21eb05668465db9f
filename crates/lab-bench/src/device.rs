//! Speed of the simulated device in virtual time.

use std::time::{Duration, Instant};

use sim_device::{Instance, InstanceConfig, ServiceClass, ServiceTime, UnitConfig};

use crate::measure::alone;
use crate::report::{Bench, Better};

const REQUESTS: u32 = 200_000;

/// Requests through rings of 64, three units and interrupts, on one core.
pub(crate) fn virtual_requests() -> Vec<Bench> {
    let class = ServiceClass(0);
    let service = ServiceTime::fixed(Duration::from_micros(100)).expect("a valid service time");
    let config = InstanceConfig {
        units: vec![UnitConfig::new(class, 3, service)],
        ..InstanceConfig::default()
    };
    let measured = alone(11, || {
        let mut device = Instance::new(config.clone(), 1).expect("a valid configuration");
        let mut done = Vec::with_capacity(64);
        let (mut now, mut submitted, mut drained) = (Duration::ZERO, 0, 0);
        let start = Instant::now();
        while drained < REQUESTS {
            while submitted < REQUESTS && device.submit(now, class, submitted).is_ok() {
                submitted += 1;
            }
            now = device.next_deadline().expect("work is under way");
            if device.take_interrupt(now) {
                drained += device.poll_responses(usize::MAX, &mut done) as u32;
                done.clear();
            }
        }
        f64::from(REQUESTS) / start.elapsed().as_secs_f64()
    });
    let bench = Bench::nanoseconds("device.virtual_requests", measured);
    vec![Bench { unit: "1/s", better: Better::Higher, ..bench }]
}
