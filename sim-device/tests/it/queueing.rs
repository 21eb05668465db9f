//! The instance against queueing theory: mean waits of M/M/c and M/D/1, within the 99.9 % interval of batch means and, at
//! loads of 0.5 and 0.8, within two per cent.

use core::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sim_device::{Instance, InstanceConfig, InterruptMode, ServiceTime, UnitConfig};

use crate::SIGN;

const SERVICE: Duration = Duration::from_micros(10);
const REQUESTS: usize = 1_500_000;
const BATCHES: usize = 30;
/// Student's t for 29 degrees of freedom, two-sided 99.9 %.
const T_999: f64 = 3.659;

#[test]
fn one_unit_with_exponential_service_is_m_m_1() {
    for load in [0.5, 0.8, 0.95] {
        check(1, ServiceTime::Exponential { mean: SERVICE }, load, wait_m_m_c(1, load));
    }
}

#[test]
fn four_units_with_exponential_service_are_m_m_4() {
    for load in [0.5, 0.8, 0.95] {
        check(4, ServiceTime::Exponential { mean: SERVICE }, load, wait_m_m_c(4, load));
    }
}

#[test]
fn one_unit_with_fixed_service_is_m_d_1() {
    for load in [0.5, 0.8, 0.95] {
        check(1, ServiceTime::Fixed(SERVICE), load, load / (2.0 * (1.0 - load)));
    }
}

/// Erlang's C formula: the mean wait in units of the service time.
fn wait_m_m_c(units: u32, load: f64) -> f64 {
    let offered = load * f64::from(units);
    // Erlang B by its recursion, then C from B.
    let blocked = (1..=units).fold(1.0, |b, n| offered * b / (f64::from(n) + offered * b));
    let must_wait = blocked / (1.0 - load * (1.0 - blocked));
    must_wait / (f64::from(units) * (1.0 - load))
}

fn check(units: u32, service: ServiceTime, load: f64, theory: f64) {
    let waits = simulate(units, service, load);
    // The surplus over whole batches is the warm-up.
    let size = waits.len() / BATCHES;
    let means: Vec<f64> =
        waits.chunks_exact(size).map(|batch| batch.iter().sum::<f64>() / size as f64).collect();
    let mean = means.iter().sum::<f64>() / BATCHES as f64;
    let variance =
        means.iter().map(|m| (m - mean) * (m - mean)).sum::<f64>() / (BATCHES - 1) as f64;
    let margin = T_999 * (variance / BATCHES as f64).sqrt();
    let seen = format!("{units} units at {load}: mean wait {mean} +- {margin}, theory {theory}");
    assert!((mean - theory).abs() <= margin, "{seen}");
    if load < 0.9 {
        assert!((mean / theory - 1.0).abs() <= 0.02, "{seen}");
    }
}

/// Simulates Poisson arrivals and returns the waits after the warm-up, in units of the service time.
fn simulate(units: u32, service: ServiceTime, load: f64) -> Vec<f64> {
    let config = InstanceConfig {
        ring_depth: 1 << 20,
        response_depth: 1 << 20,
        units: vec![UnitConfig::new(SIGN, units, service)],
        doorbell: Duration::ZERO,
        interrupts: InterruptMode::Polling,
        ..InstanceConfig::default()
    };
    let mut device = Instance::new(config, 11).expect("the configuration is valid");
    let mut arrivals = ChaCha8Rng::seed_from_u64(23);
    let mean_gap = SERVICE.as_nanos() as f64 / (load * f64::from(units));
    let warm_up = REQUESTS / 20;
    let mut waits = Vec::with_capacity(REQUESTS);
    let mut drained = Vec::new();
    let (mut now, mut seen) = (0.0, 0);
    while waits.len() < REQUESTS {
        let uniform = (arrivals.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        now -= mean_gap * (1.0 - uniform).ln();
        device.submit(Duration::from_nanos(now as u64), SIGN, ()).expect("the ring is deep");
        device.poll_responses(usize::MAX, &mut drained);
        for done in drained.drain(..) {
            seen += 1;
            if seen > warm_up {
                waits.push(done.queue_wait().as_nanos() as f64 / SERVICE.as_nanos() as f64);
            }
        }
    }
    waits
}
