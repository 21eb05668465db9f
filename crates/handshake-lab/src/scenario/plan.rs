//! A row with everything that it inherits filled in: what one measurement runs.

use std::{num::NonZeroU64, time::Duration};

use super::{
    mix::Mix,
    several::{Routing, Serves},
    types::{
        Arrivals, Device, EngineTerms, Expect, FaultSpec, Handshakes, Mode, Row, Scenario, Wake,
    },
};

/// One measurement, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPlan {
    /// Its name in the results.
    pub name: String,
    /// How the server signs.
    pub mode: Mode,
    /// Connections kept open at the same time.
    pub connections: usize,
    /// When clients come, unless in a closed loop.
    pub stream: Option<Stream>,
    /// After this no handshake begins.
    pub time_box: Duration,
    /// Handshakes per connection; `None` for as many as fit into the time.
    pub rounds: Option<u64>,
    /// Every n-th client hangs up in the middle of the handshake.
    pub hang_up_every: Option<NonZeroU64>,
    /// How long handshakes under way may take to end once the row is over.
    pub drain: Duration,
    /// What stands for TLS.
    pub handshakes: Handshakes,
    /// Protocol version, type of key and resumption of each connection.
    pub mix: Mix,
    /// Event loops.
    pub workers: usize,
    /// How a completion reaches the event loop.
    pub wake: Wake,
    /// On which terms operations are carried out.
    pub engine: EngineTerms,
    /// What goes wrong in the accelerator.
    pub faults: Vec<FaultSpec>,
    /// What has to come of it.
    pub expect: Expect,
    /// The accelerators, at least one; used when the mode needs one.
    pub devices: Vec<Device>,
    /// Which of them signs for which connection.
    pub routing: Routing,
    /// Seeds the service times.
    pub seed: u64,
}

/// Clients that come by a rate, whatever becomes of those before them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stream {
    /// How they come.
    pub arrivals: Arrivals,
    /// How many each second, at first.
    pub rate_per_s: f64,
    /// How many each second in the end.
    pub final_rate_per_s: f64,
    /// How many at the same moment.
    pub burst: u64,
    /// How many in all; `None` for as many as the time allows.
    pub total: Option<u64>,
}

impl Scenario {
    /// What each row runs, in order.
    #[must_use]
    pub fn plan(&self) -> Vec<RowPlan> {
        self.rows.iter().map(|row| self.plan_row(row)).collect()
    }

    fn plan_row(&self, row: &Row) -> RowPlan {
        let devices: Vec<Device> =
            self.devices.iter().map(|device| row.changes(device.clone())).collect();
        let serves: Vec<Serves> = devices.iter().map(|device| device.serves).collect();
        let rounds = row.rounds.unwrap_or(self.load.rounds);
        RowPlan {
            name: row.name.clone(),
            mode: row.mode,
            connections: row.connections.unwrap_or(self.load.connections),
            stream: self.stream(row),
            time_box: Duration::from_secs_f64(row.seconds.unwrap_or(self.load.seconds)),
            rounds: (rounds > 0).then_some(rounds),
            hang_up_every: NonZeroU64::new(self.load.hang_up_every),
            drain: Duration::from_secs_f64(self.server.drain_seconds),
            handshakes: self.load.handshakes,
            mix: Mix::of(&self.load, &self.mix, self.seed),
            workers: row.workers.unwrap_or(self.server.workers),
            wake: self.server.wake,
            engine: self.engine,
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
    fn changes(&self, device: Device) -> Device {
        Device {
            latency_ms: self.latency_ms.unwrap_or(device.latency_ms),
            ring: self.ring.unwrap_or(device.ring),
            units: self.units.unwrap_or(device.units),
            polling: self.polling.unwrap_or(device.polling),
            ..device
        }
    }
}

impl RowPlan {
    /// The first device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.devices[0]
    }

    /// Entries of the rings of all devices for one kind of signature.
    #[must_use]
    pub fn ring_entries(&self) -> u64 {
        self.devices.iter().map(|device| (device.ring * device.instances) as u64).sum()
    }
}

impl Device {
    /// The mean service time.
    #[must_use]
    pub fn latency(&self) -> Duration {
        Duration::from_secs_f64(self.latency_ms / 1_000.0)
    }
}
