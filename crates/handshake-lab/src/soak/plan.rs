//! What a round runs, drawn from its seed.

use std::{num::NonZeroU64, time::Duration};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::scenario::{
    DeviceSpec, EngineOptions, Expect, FallbackTo, FaultKind, FaultSpec, Handshakes, HangUps,
    KeyType, Mix, Mode, ParkingMethod, PollingMode, Routing, RowPlan, Service, TlsVersion, Wake,
};

pub(super) const ROUND: u64 = 512;

pub(super) fn plan(seed: u64) -> RowPlan {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let connections = 1 << rng.random_range(3..7);
    let wake = pick(rng, &[Wake::Ready, Wake::Fd, Wake::Callback, Wake::Poll]);
    let faults = (0..rng.random_range(1..4)).map(|number| fault(rng, number)).collect();
    RowPlan {
        name: format!("seed {seed}"),
        mode: Mode::Async,
        parking: pick(rng, &ParkingMethod::ALL),
        connections,
        stream: None,
        // Never reached: the rounds are the end.
        time_box: Duration::from_secs(120),
        rounds: Some(ROUND / connections as u64),
        hang_ups: NonZeroU64::new(rng.random_range(5..40)).map(|every| HangUps { every, seed }),
        first_connect: Duration::ZERO,
        drain: Duration::from_secs(60),
        handshakes: Handshakes::Real,
        completed: 0,
        // The certificate is made once for all rounds.
        mix: Mix::uniform(pick(rng, &[TlsVersion::Tls12, TlsVersion::Tls13]), KeyType::P256),
        workers: rng.random_range(1..3),
        wake,
        engine: EngineOptions {
            deadline_ms: f64::from(rng.random_range(20..60_u32)),
            fallback: pick(rng, &[FallbackTo::Fail, FallbackTo::Software]),
            // Each fault is to reach its operation.
            ..EngineOptions::default()
        },
        heartbeat: None,
        slow_every: 0,
        faults,
        expect: Expect::default(),
        devices: vec![DeviceSpec {
            service: pick(rng, &[Service::Fixed, Service::Exponential, Service::LogNormal]),
            latency_ms: pick(rng, &[0.05, 0.2, 1.0]),
            ring: pick(rng, &[1, 4, 16, 64]),
            units: pick(rng, &[2, 8, 64]),
            polling: pick(rng, &[PollingMode::Interrupt, PollingMode::Interval]),
            ..DeviceSpec::default()
        }],
        routing: Routing::even(1),
        seed,
    }
}

fn fault(rng: &mut ChaCha8Rng, number: usize) -> FaultSpec {
    FaultSpec {
        name: format!("fault {number}"),
        device: None,
        kind: pick(rng, &FaultKind::ALL),
        at_ms: 0.0,
        every: rng.random_range(10..80),
        budget: rng.random_range(1..12),
        lasts_ms: f64::from(rng.random_range(1..40_u32)) / 10.0,
        behind: rng.random_range(1..4),
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}
