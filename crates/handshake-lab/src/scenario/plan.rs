//! A row with everything that it inherits filled in: what one measurement runs.

use std::{num::NonZeroU64, time::Duration};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    language::{DeviceSpec, EngineOptions, Expect, FaultSpec, Row, Scenario},
    mix::Mix,
    routing::Routing,
    words::{Arrivals, Handshakes, Mode, ParkingMethod, Serves, Wake},
};

/// One measurement, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPlan {
    pub name: String,
    pub mode: Mode,
    /// How handshakes are parked, if the mode parks them.
    pub parking: ParkingMethod,
    /// Connections kept open at the same time.
    pub connections: usize,
    /// When clients come, unless in a closed loop.
    pub stream: Option<Stream>,
    /// After this no handshake begins.
    pub time_box: Duration,
    /// Handshakes per connection; `None` for no limit but the time.
    pub rounds: Option<u64>,
    /// Which clients hang up in the middle of the handshake; `None` for none.
    pub hang_ups: Option<HangUps>,
    /// How long it takes until all clients of a closed loop have connected for the first time.
    pub first_connect: Duration,
    /// How long handshakes under way may take to end once the row is over.
    pub drain: Duration,
    /// What stands for TLS.
    pub handshakes: Handshakes,
    /// How many of the handshakes are completed, if they are held.
    pub completed: usize,
    /// Protocol version, type of key and resumption of each connection.
    pub mix: Mix,
    /// Event loops.
    pub workers: usize,
    /// How a completion reaches the event loop.
    pub wake: Wake,
    /// Deadlines, fallback, breaker and checks of operations.
    pub engine: EngineOptions,
    /// The interval of the heartbeat task of each event loop; `None` for no such task.
    pub heartbeat: Option<Duration>,
    /// Every n-th handshake needs the slow kind of signature; 0 for none.
    pub slow_every: u64,
    /// What goes wrong in the accelerator.
    pub faults: Vec<FaultSpec>,
    pub expect: Expect,
    /// The accelerators, at least one; used when the mode needs one.
    pub devices: Vec<DeviceSpec>,
    /// Which of them signs for which connection.
    pub routing: Routing,
    pub seed: u64,
}

/// Clients that hang up in the middle of the handshake: one in each `every`, which one the seed draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HangUps {
    /// How many clients there are for each that hangs up.
    pub every: NonZeroU64,
    /// Draws which.
    pub seed: u64,
}

impl HangUps {
    /// Whether the client of this number, counted from 0, hangs up: the same for the same seed.
    pub fn strike(self, number: u64) -> bool {
        // Not the draws of devices, arrivals and mixes, which have the same seed.
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x6861_6e67_2075_7073);
        rng.set_stream(number / self.every);
        number % self.every == rng.random_range(0..self.every.get())
    }
}

/// Clients that come by a rate, independently of those before them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stream {
    pub arrivals: Arrivals,
    /// How many each second, at first.
    pub rate_per_s: f64,
    /// How many each second in the end.
    pub final_rate_per_s: f64,
    /// How many at the same moment.
    pub burst: u64,
    /// The most in all; `None` for no limit but the time.
    pub total: Option<u64>,
}

impl Scenario {
    /// What each row runs, in order.
    pub fn plan(&self) -> Vec<RowPlan> {
        self.rows.iter().map(|row| self.plan_row(row)).collect()
    }

    fn plan_row(&self, row: &Row) -> RowPlan {
        let devices: Vec<DeviceSpec> =
            self.devices.iter().map(|device| row.changes(device.clone())).collect();
        let serves: Vec<Serves> = devices.iter().map(|device| device.serves).collect();
        let rounds = row.rounds.unwrap_or(self.load.rounds);
        RowPlan {
            name: row.name.clone(),
            mode: row.mode,
            parking: row.parking.unwrap_or(self.server.parking),
            connections: row.connections.unwrap_or(self.load.connections),
            stream: self.stream(row),
            time_box: Duration::from_secs_f64(row.seconds.unwrap_or(self.load.seconds)),
            rounds: (rounds > 0).then_some(rounds),
            hang_ups: NonZeroU64::new(self.load.hang_up_every)
                .map(|every| HangUps { every, seed: self.seed }),
            first_connect: millis(self.load.first_connect_ms),
            drain: Duration::from_secs_f64(self.server.drain_seconds),
            handshakes: self.load.handshakes,
            completed: self.load.completed,
            mix: Mix::of(&self.load, &self.mix, self.seed),
            workers: row.workers.unwrap_or(self.server.workers),
            wake: self.server.wake,
            engine: EngineOptions {
                offload_beyond: row.offload_beyond.unwrap_or(self.engine.offload_beyond),
                ..self.engine
            },
            heartbeat: (self.server.beat_ms > 0.0).then(|| millis(self.server.beat_ms)),
            slow_every: row.slow_every.unwrap_or(self.load.slow_every),
            faults: self.faults.clone(),
            expect: self.expect,
            devices,
            routing: Routing::of(&serves, self.server.spread),
            seed: self.seed,
        }
    }

    fn stream(&self, row: &Row) -> Option<Stream> {
        let load = &self.load;
        let rate_per_s = row.rate_per_s.unwrap_or(load.rate_per_s);
        (load.arrivals != Arrivals::Closed).then_some(Stream {
            arrivals: load.arrivals,
            rate_per_s,
            final_rate_per_s: match load.arrivals {
                Arrivals::Ramp => load.ramp_to_per_s,
                _ => rate_per_s,
            },
            burst: if load.arrivals == Arrivals::Bursts { load.burst } else { 1 },
            total: (load.total > 0).then_some(load.total),
        })
    }
}

impl Row {
    /// A device as this row has it.
    fn changes(&self, device: DeviceSpec) -> DeviceSpec {
        DeviceSpec {
            latency_ms: self.latency_ms.unwrap_or(device.latency_ms),
            ring: self.ring.unwrap_or(device.ring),
            units: self.units.unwrap_or(device.units),
            polling: self.polling.unwrap_or(device.polling),
            batch: self.batch.unwrap_or(device.batch),
            batch_timeout_ms: self.batch_timeout_ms.unwrap_or(device.batch_timeout_ms),
            rings: self.rings.unwrap_or(device.rings),
            ..device
        }
    }
}

/// A number of milliseconds as a duration.
pub(crate) fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1_000.0)
}

impl RowPlan {
    pub fn device(&self) -> &DeviceSpec {
        &self.devices[0]
    }

    /// Whether handshakes are parked by replay.
    pub fn replays(&self) -> bool {
        self.mode == Mode::Async && self.parking == ParkingMethod::Replay
    }

    /// Entries of the rings of all devices for one kind of signature.
    pub fn ring_entries(&self) -> u64 {
        self.devices.iter().map(|device| (device.ring * device.instances) as u64).sum()
    }
}

impl DeviceSpec {
    pub fn latency(&self) -> Duration {
        millis(self.latency_ms)
    }

    /// How units take several requests at once; `None` for one by one.
    pub(crate) fn batches(&self) -> Option<sim_device::Batch> {
        let timeout = millis(self.batch_timeout_ms);
        (self.batch > 1).then_some(sim_device::Batch { size: self.batch, timeout })
    }
}
