//! What queueing theory says of a row: the mean wait of M/M/c by the formula of Erlang, and of a closed loop that never
//! lets the device idle.

use std::time::Duration;

use crate::scenario::{Arrivals, DeviceProfile, Mode, RowPlan, Service, Stream};

/// Handshakes a second up to which a worker is hardly a queue of its own (it is busy for 3 % of the time or so). One with
/// more makes the arrivals at the device more even than those of the clients.
const IDLE: f64 = 500.0;

/// What a client spends elsewhere than at the device, at most: network, and a worker that is hardly a queue.
const ELSEWHERE: Duration = Duration::from_millis(1);

/// The mean wait for a service unit; `None` where the row is not one of the queues known here, or has more load than it
/// can carry.
pub(super) fn queue_wait(plan: &RowPlan) -> Option<Duration> {
    let device = plan.device();
    let is_known = plan.mode == Mode::Async
        && plan.mix.is_uniform()
        && plan.devices.len() == 1
        && device.instances == 1
        && device.profile == DeviceProfile::Custom
        && device.service == Service::Exponential
        && device.batches().is_none()
        && device.ring >= device.units
        && plan.faults.is_empty()
        && plan.slow_every == 0
        && plan.engine.offload_beyond == 0
        && plan.hang_ups.is_none()
        && plan.first_connect.is_zero();
    let service = device.latency().as_secs_f64();
    let wait = match (plan.stream, plan.rounds) {
        _ if !is_known => None,
        (Some(stream), _) => open_wait(plan, stream, device.units, service),
        (None, Some(rounds)) => closed_wait(plan, rounds, device.units, service),
        (None, None) => None,
    };
    wait.map(Duration::from_secs_f64)
}

/// M/M/c, in seconds.
fn open_wait(plan: &RowPlan, stream: Stream, units: usize, service: f64) -> Option<f64> {
    let evenly = stream.rate_per_s / (plan.workers as f64) > IDLE;
    let load = stream.rate_per_s * service;
    let spare = units as f64 - load;
    (stream.arrivals == Arrivals::Poisson && !evenly && spare > 0.0)
        .then(|| erlang_c(units, load) * service / spare)
}

/// A closed loop so large that the units never idle, in seconds: then requests leave as evenly as units work, and
/// each waits for one departure per request before it. In the first round all come at once to an empty device, and the
/// last of them waits as long as each does in later rounds.
fn closed_wait(plan: &RowPlan, rounds: u64, units: usize, service: f64) -> Option<f64> {
    let (clients, rounds) = (plan.connections as f64, rounds as f64);
    let departure = service / units as f64;
    let waiting = clients - units as f64;
    let whole = rounds * clients * departure;
    let elsewhere = ELSEWHERE.as_secs_f64();
    let saturated = waiting * departure > 100.0 * elsewhere && whole < plan.time_box.as_secs_f64();
    // Up to twice as busy as where it is hardly a queue: that the first come to the device one after the other is a small
    // part of the wait.
    let hardly_a_queue = 1.0 / departure / (plan.workers as f64) <= 2.0 * IDLE;
    let first = waiting * (waiting + 1.0) / 2.0;
    let later = (rounds - 1.0) * clients * waiting;
    (saturated && hardly_a_queue).then(|| departure * (first + later) / (rounds * clients))
}

/// The probability of having to wait for one of `units` units under `load` Erlangs (Erlang's C), by the recursion of his B.
fn erlang_c(units: usize, load: f64) -> f64 {
    let blocked = (1..=units).fold(1.0, |b, k| load * b / (k as f64 + load * b));
    let used = load / units as f64;
    blocked / (1.0 - used * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn plan(overrides: &[&str]) -> RowPlan {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Scenario::find("million-in-flight", &overrides).expect("valid").plan().swap_remove(0)
    }

    #[test]
    fn a_closed_loop_waits_for_those_before_it_and_only_if_the_device_never_idles() {
        // One unit of a second: in the first round 0, 1, 2 ... 199 s, then 199 s each.
        let wide = ["connections=200", "units=1", "latency_ms=1000", "rounds=2", "seconds=600"];
        let wait = queue_wait(&plan(&wide)).expect("saturated").as_secs_f64();
        assert!((wait - (99.5 + 199.0) / 2.0).abs() < 1e-6, "{wait}");
        // Not done in time; hardly a queue; no end of rounds; another distribution of service times.
        let others =
            ["seconds=300", "units=200", "latency_ms=0.5", "rounds=0", "device.service=fixed"];
        for setting in others {
            assert_eq!(queue_wait(&plan(&[&wide[..], &[setting]].concat())), None, "{setting}");
        }
    }

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
