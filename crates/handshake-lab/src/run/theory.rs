//! What queueing theory says of a row: the mean wait of M/M/c by the formula of Erlang.

use std::time::Duration;

use crate::scenario::{Arrivals, DeviceProfile, Mode, RowPlan, Service};

/// Handshakes a second up to which a worker is hardly a queue of its own (it is busy for 3 % of the time or so). One with
/// more makes the arrivals at the device more even than those of the clients.
const IDLE: f64 = 500.0;

/// The mean wait for a service unit; `None` where the row is not an M/M/c queue, or has more load than it can carry.
pub(super) fn queue_wait(plan: &RowPlan) -> Option<Duration> {
    let stream = plan.stream?;
    let device = plan.device();
    let is_mmc = stream.arrivals == Arrivals::Poisson
        && plan.mode == Mode::Async
        && plan.mix.is_uniform()
        && plan.devices.len() == 1
        && device.instances == 1
        && device.profile == DeviceProfile::Custom
        && device.service == Service::Exponential
        && device.ring >= device.units
        && plan.faults.is_empty()
        && plan.hang_up_every.is_none()
        && stream.rate_per_s / (plan.workers as f64) <= IDLE;
    let load = stream.rate_per_s * device.latency().as_secs_f64();
    let units = device.units as f64;
    (is_mmc && load < units).then(|| {
        let wait = erlang_c(device.units, load) * device.latency().as_secs_f64() / (units - load);
        Duration::from_secs_f64(wait)
    })
}

/// The probability of having to wait with so many units under so much load (Erlang's C), by the recursion of his B.
fn erlang_c(units: usize, load: f64) -> f64 {
    let blocked = (1..=units).fold(1.0, |b, k| load * b / (k as f64 + load * b));
    let used = load / units as f64;
    blocked / (1.0 - used * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_makes_as_many_wait_as_it_is_busy() {
        assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-12);
    }

    #[test]
    fn the_formula_gives_the_values_of_the_tables() {
        // Two units, load 1: C = 1/3. Ten units, load 8: 0.409.
        assert!((erlang_c(2, 1.0) - 1.0 / 3.0).abs() < 1e-12);
        assert!((erlang_c(10, 8.0) - 0.409).abs() < 5e-4);
    }
}
