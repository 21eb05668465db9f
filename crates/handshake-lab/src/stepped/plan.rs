//! The plan of a seed: load, topology, faults and cancels drawn from it.

use std::time::Duration;

use engine_core::{BreakerPolicy, CheckPolicy, Fallback, Offload, OnFull, RequestOptions};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sim_device::{
    Fault, FaultPlan, FaultRule, InstanceConfig, InterruptMode, RingLayout, ServiceClass,
    ServiceTime, Trigger, UnitConfig,
};

use sim_engine::Polling;

use crate::{
    assembly::EngineSettings,
    scenario::{Mode, ParkingMethod, TlsVersion, Wake},
};

use super::trials::Trials;

/// One in this number of seeds runs real TLS.
const REAL_TLS_EVERY: u64 = 100;

/// The most event loops that a seed has.
pub(crate) const MOST_WORKERS: usize = 2;

/// The plan of one seed: drawn from the seed and from nothing else.
#[derive(Debug, Clone)]
pub struct SeedPlan {
    pub seed: u64,
    /// Whether TLS is executed; otherwise handshakes are profiled.
    pub real_tls: bool,
    pub mode: Mode,
    /// Event loops.
    pub workers: usize,
    /// How handshakes are parked, if the mode parks them.
    pub parking: ParkingMethod,
    /// The protocol version of clients.
    pub tls: TlsVersion,
    /// What is done to handshakes by replay, if TLS is executed.
    pub trials: Trials,
    /// Whether job pools are small, so that sessions have to wait for a job.
    pub few_jobs: bool,
    pub devices: Vec<InstanceConfig>,
    /// How many of that instance each device has.
    pub instances: usize,
    pub polling: Polling,
    /// The time without an answer after which a device is asked whether a request is lost.
    pub response_timeout: Duration,
    /// The engines before them.
    pub engine: EngineSettings,
    pub wake: Wake,
    /// One session in n takes its callback away while it is parked.
    pub unset_every: u64,
    /// One session in n is resumed without a wake.
    pub unprompted_every: u64,
    /// One connection in n needs the slow kind of signature.
    pub slow_every: u64,
    /// When clients connect, and which of them leave early.
    pub connections: Vec<ConnectionPlan>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionPlan {
    pub at: Duration,
    /// How long after connecting the client hangs up, unless it is done.
    pub hangs_up_after: Option<Duration>,
    /// How long after connecting the server gives the session up, unless it is done.
    pub given_up_after: Option<Duration>,
    /// How long after connecting the session cancels the operation that it waits for, and asks again.
    pub starts_over_after: Option<Duration>,
}

/// The classes of the fast and the slow kind of signature.
const CLASSES: [ServiceClass; 2] = [ServiceClass(0), ServiceClass(1)];

impl SeedPlan {
    /// Whether handshakes are parked by replay.
    pub(crate) fn replays(&self) -> bool {
        self.mode == Mode::Async && self.parking == ParkingMethod::Replay
    }

    #[must_use]
    pub fn of(seed: u64) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let real_tls = seed.is_multiple_of(REAL_TLS_EVERY);
        let mode = if one_in(rng, 12) { Mode::Blocking } else { Mode::Async };
        let options = match rng.random_range(0..4) {
            0 => RequestOptions::new(),
            1 => RequestOptions::new().deadline(micros(rng, 4_000..20_000)),
            2 => RequestOptions::new()
                .deadline(micros(rng, 4_000..20_000))
                .fallback(Fallback::Standby),
            _ => RequestOptions::new().fallback(Fallback::Standby),
        };
        let devices = (0..rng.random_range(2..4)).map(|number| device(rng, number)).collect();
        let window = micros(rng, 2_000..30_000);
        // Draws of their own, so that the rest of a seed is the same in both ways.
        let own = &mut ChaCha8Rng::seed_from_u64(seed);
        own.set_stream(1);
        let parking = ParkingMethod::ALL[own.random_range(0..2)];
        let tls = if real_tls && one_in(own, 4) { TlsVersion::Tls12 } else { TlsVersion::Tls13 };
        let trials = Trials {
            unfit_every: own.random_range(3..16),
            retried_every: own.random_range(2..12),
            contradicts_every: own.random_range(5..30),
        };
        let connections = (0..rng.random_range(50..80)).map(|_| connection(rng, window)).collect();
        Self {
            seed,
            real_tls,
            mode,
            parking,
            tls,
            trials,
            workers: rng.random_range(1..=MOST_WORKERS),
            few_jobs: one_in(rng, 4),
            devices,
            instances: if one_in(rng, 5) { 2 } else { 1 },
            polling: polling(rng),
            response_timeout: micros(rng, 30_000..90_000),
            engine: EngineSettings {
                queue_bound: if one_in(rng, 8) { rng.random_range(1..4) } else { 1024 },
                checks: CheckPolicy::Always,
                options,
                on_full: if one_in(rng, 3) { OnFull::Notify } else { OnFull::Queue },
                offload: Offload::Always,
                breaker: one_in(rng, 3).then(|| breaker(rng)),
            },
            wake: match rng.random_range(0..8) {
                0 => Wake::Poll,
                1..4 => Wake::Callback,
                _ => Wake::Ready,
            },
            unset_every: rng.random_range(2..9),
            unprompted_every: rng.random_range(2..12),
            slow_every: rng.random_range(2..9),
            connections,
        }
    }
}

/// Quick to open and to close again, for a seed lasts a few dozen milliseconds.
fn breaker(rng: &mut ChaCha8Rng) -> BreakerPolicy {
    BreakerPolicy::default()
        .failures(rng.random_range(1..6))
        .pause(micros(rng, 300..8_000))
        .check_every(micros(rng, 200..3_000))
}

fn polling(rng: &mut ChaCha8Rng) -> Polling {
    match rng.random_range(0..5) {
        0 => Polling::Interval(micros(rng, 20..400)),
        1 => Polling::Inline(micros(rng, 20..400)),
        2 => Polling::Heuristic {
            threshold: rng.random_range(2..24),
            at_latest: micros(rng, 100..3_000),
        },
        _ => Polling::Interrupt { watchdog: micros(rng, 1_000..12_000) },
    }
}

fn connection(rng: &mut ChaCha8Rng, window: Duration) -> ConnectionPlan {
    let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let at = Duration::from_nanos(rng.random_range(0..nanos));
    let leaves = rng.random_range(0..10);
    let after = micros(rng, 100..8_000);
    ConnectionPlan {
        at,
        hangs_up_after: (leaves == 0).then_some(after),
        given_up_after: (leaves == 1).then_some(after),
        starts_over_after: (leaves == 2).then_some(after),
    }
}

fn device(rng: &mut ChaCha8Rng, number: usize) -> InstanceConfig {
    let fast = micros(rng, 20..1_500);
    let units = vec![unit(rng, CLASSES[0], fast), unit(rng, CLASSES[1], fast * 5)];
    // The first of each device strikes early, when there is still something to strike.
    let mut rules = vec![rule(rng, true)];
    while rules.len() < 4 && one_in(rng, 2) {
        rules.push(rule(rng, false));
    }
    let ring = if one_in(rng, 2) { rng.random_range(1..5) } else { rng.random_range(4..24) };
    InstanceConfig {
        name: format!("sim{number}"),
        ring_depth: ring,
        rings: if one_in(rng, 3) { RingLayout::Shared } else { RingLayout::PerClass },
        response_depth: ring,
        units,
        interrupts: match rng.random_range(0..3) {
            0 => InterruptMode::Polling,
            1 => InterruptMode::PerResponse,
            _ => InterruptMode::Coalesced {
                responses: rng.random_range(1..6),
                delay: micros(rng, 10..200),
            },
        },
        // Often enough for a check to notice the loss before the fault has passed.
        heartbeat: micros(rng, 50..1_000),
        faults: FaultPlan { rules, budget: None },
        ..InstanceConfig::default()
    }
}

fn unit(rng: &mut ChaCha8Rng, class: ServiceClass, mean: Duration) -> UnitConfig {
    let service =
        if one_in(rng, 2) { ServiceTime::Fixed(mean) } else { ServiceTime::Exponential { mean } };
    UnitConfig::new(class, rng.random_range(1..7), service)
}

fn rule(rng: &mut ChaCha8Rng, early: bool) -> FaultRule {
    let lasts = micros(rng, 50..5_000);
    let fault = match rng.random_range(0..12) {
        0 => Fault::RingStuck { lasts },
        1 => Fault::Lost,
        2 => Fault::Late { by: lasts },
        3 => Fault::Duplicate,
        4 => Fault::Reordered { behind: rng.random_range(1..6) },
        5 => Fault::Corrupt,
        6 => Fault::Misdirected,
        7 => Fault::DeviceError,
        8 => Fault::Reset { downtime: lasts },
        9 => Fault::HeartbeatLoss { lasts },
        10 => Fault::Hang { lasts },
        _ => Fault::Removal { absent: (!one_in(rng, 4)).then_some(lasts) },
    };
    let trigger = match rng.random_range(0..4) {
        _ if early => Trigger::Nth(rng.random_range(1..7)),
        0 => Trigger::Nth(rng.random_range(1..20)),
        1 => Trigger::Every(rng.random_range(3..12)),
        2 => Trigger::At(micros(rng, 100..20_000)),
        _ => Trigger::Chance(f64::from(rng.random_range(1..30_u32)) / 100.0),
    };
    FaultRule::new(fault, trigger).budget(rng.random_range(1..4))
}

fn one_in(rng: &mut ChaCha8Rng, n: u32) -> bool {
    rng.random_range(0..n) == 0
}

fn micros(rng: &mut ChaCha8Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_micros(rng.random_range(range))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_seed_is_a_valid_plan_of_the_promised_size(seed in any::<u64>()) {
            let plan = SeedPlan::of(seed);
            prop_assert!(plan.connections.len() >= 50 && plan.devices.len() >= 2);
            prop_assert!(plan.devices.iter().map(|device| device.faults.rules.len()).sum::<usize>() >= 2);
            for device in &plan.devices {
                prop_assert_eq!(device.validate(), Ok(()));
            }
        }
    }
}
