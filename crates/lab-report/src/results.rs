//! The document `results.json`. Its shape is a promise: fields are added, never renamed or removed, while
//! [`SCHEMA`] stays the same.

use serde::{Deserialize, Serialize};

use crate::{
    machine::Machine,
    recording::{DurationHistogram, HandshakeTrace, RowTimeline},
};

/// Names the shape of the document.
pub const SCHEMA: &str = "layby.results/1";

/// One run of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub schema: String,
    pub machine: Machine,
    pub scenario: String,
    pub seed: u64,
    /// The device profile that gave the service times; null where the scenario gives them itself.
    pub device_profile: Option<String>,
    /// The cost profile that TLS was charged from; null in real time.
    pub cost_profile: Option<String>,
    /// `real` or `virtual`.
    pub clock: String,
    /// One entry a row, in order.
    pub rows: Vec<RowReport>,
    /// Resources held at most during the run, and still held at its end.
    pub ledger: Ledger,
    /// The laws that were checked; one that was not checked is left out.
    pub laws: Vec<LawReport>,
    /// The load up to which latency stays low, where the rows have rising load.
    #[serde(default)]
    pub knee: Option<Knee>,
    /// Why the numbers may not mean what they seem to: rows that lacked processors, or whose queue grew to the end.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// Expectations of the scenario that were not met; not in the document.
    #[serde(skip)]
    pub unmet: Vec<String>,
    /// The series of each row; goes into `timeline.json`.
    #[serde(skip)]
    pub timelines: Vec<RowTimeline>,
    /// The first handshakes of each row, in virtual time only; goes into `trace.json`.
    #[serde(skip)]
    pub handshake_traces: Vec<HandshakeTrace>,
    /// Whether the run was interrupted: the last row is not whole, and others may be missing.
    #[serde(default)]
    pub partial: bool,
    /// Events in the trace; null in real time.
    pub trace_events: Option<u64>,
    /// SHA-256 of the trace, in hexadecimal; null in real time.
    pub trace_sha256: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    #[serde(rename = "mode")]
    pub name: String,
    /// Event loops.
    pub workers: usize,
    /// Threads on the server's side: the workers and the device's hardware queue.
    pub threads: usize,
    /// How completions reached the event loop.
    pub wake: String,
    /// Handshakes that both sides completed.
    pub handshakes: u64,
    /// Handshakes that were to begin each second, at first; null in a closed loop.
    pub offered_per_s: Option<f64>,
    /// Clients that came when the maximum of connections was open.
    pub turned_away: u64,
    /// The mean wait of an operation from submission to service; null without a device.
    pub queue_wait_ms: Option<f64>,
    /// What queueing theory (M/M/c, or a closed loop that fills the device) says of it; null where it has no formula for the row.
    pub queue_wait_theory_ms: Option<f64>,
    /// Handshakes that failed on the client's side.
    pub failed: u64,
    /// Handshakes that had begun and were given up when the row's time was over.
    pub unfinished: u64,
    /// From the first connection to the end of the last handshake, in seconds.
    pub elapsed_s: f64,
    /// Time that the server's and the clients' threads were ready to run and had no processor, as a share of the time that
    /// they ran or were ready; null in virtual time and where the system does not tell.
    #[serde(default)]
    pub processor_wait_share: Option<f64>,
    /// `handshakes / elapsed_s`.
    pub handshakes_per_s: f64,
    /// From opening the connection to the end of the handshake, seen by the client.
    pub latency_ms: LatencyMs,
    /// CPU time of the serving threads for each handshake, in microseconds.
    pub server_cpu_us_per_handshake: f64,
    /// Operations that the device completed.
    pub ops: u64,
    /// How often the device's ring was full.
    pub ring_full: u64,
    /// Resumes of parked handshakes.
    pub resumes: u64,
    /// Resumes that no wake had asked for.
    pub unprompted_resumes: u64,
    /// Wakes delivered.
    pub wakes: u64,
    /// Handshakes that were parked at the same time, at most; several workers' peaks are added up.
    #[serde(default)]
    pub parked_peak: u64,
    /// Memory of one parked handshake, in bytes: in virtual time by the cost profile, and as measured where handshakes are
    /// held; null elsewhere and where none parks.
    #[serde(default)]
    pub parked_bytes: Option<f64>,
    /// Polls of the device's response ring.
    pub polls: u64,
    /// Interrupts that the device raised.
    pub interrupts: u64,
    /// Operations done elsewhere because the device could not.
    pub fallbacks: u64,
    /// Operations that software did at once because too few handshakes were under way.
    pub not_offloaded: u64,
    /// Operations that were cancelled by their caller.
    pub cancelled: u64,
    /// Busy time of the device's units over the time they had, of several devices that with the most; null without a
    /// device.
    pub device_utilisation: Option<f64>,
    /// Device by device, where there are several.
    #[serde(default)]
    pub devices: Vec<DeviceRow>,
    /// The same handshakes by their kind; empty where all are of one.
    #[serde(default)]
    pub kinds: Vec<KindReport>,
    /// Operations that a unit of the device served at once, on average; null where units take them one by one.
    pub mean_batch: Option<f64>,
    /// How late another task of the event loops was; null where there was none.
    pub beat_late_ms: Option<LatencyMs>,
    /// How many operations a unit could have served at once; for the verdict only.
    #[serde(skip)]
    pub batch: u32,
    /// Failed handshakes that the scenario expects, at most; for the verdict only.
    #[serde(skip)]
    pub failures_expected: u64,
    /// CPU time of the load generator for each handshake, in microseconds; for the table only.
    #[serde(skip)]
    pub client_cpu_us_per_handshake: f64,
}

/// Percentiles of the latency of a handshake, in milliseconds; never a mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// Half of the handshakes took at most this.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// One of several devices of a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceRow {
    pub name: String,
    /// Operations that its units finished, for all engines.
    pub ops: u64,
    /// Busy time of its units over the time they had.
    pub utilisation: f64,
    /// The mean wait of an operation of its engine, from submission to service.
    pub queue_wait_ms: f64,
    pub ring_full: u64,
    pub faults: u64,
    /// Operations of its engine that a standby computed instead.
    pub fallbacks: u64,
}

/// The handshakes of one kind in a row of a mix.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KindReport {
    pub key: String,
    /// `1.2` or `1.3`.
    pub tls: String,
    /// Whether sessions were resumed, so that nothing was signed.
    pub resumed: bool,
    pub handshakes: u64,
    pub failed: u64,
    /// From opening the connection to the end of the handshake, seen by the client.
    pub latency_ms: LatencyMs,
}

/// The p99 at the knee is at most this many times that of the lightest load.
const KNEE_TIMES: f64 = 1.5;

/// The load up to which the 99th percentile of the latency stays within 1.5 times that of the lightest load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The highest load below the knee, in handshakes offered a second.
    pub load_per_s: f64,
    /// The 99th percentile there.
    pub p99_ms: f64,
    /// The next higher load that was measured; null if the knee lies beyond the loads of the run.
    pub next_load_per_s: Option<f64>,
    /// The 99th percentile at that.
    pub next_p99_ms: Option<f64>,
}

/// Resources that a run holds now and held at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Jobs that have begun and not ended.
    pub jobs: LedgerLevel,
    /// Stacks in use.
    pub stacks: LedgerLevel,
    /// Requests that exist.
    pub requests: LedgerLevel,
    /// Requests that wait for a ring entry.
    pub waiters: LedgerLevel,
    /// Descriptors that wait contexts hold.
    pub fds: LedgerLevel,
    /// Handles open at the device.
    pub device_handles: LedgerLevel,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLevel {
    /// At the end of the run.
    pub now: u64,
    /// The most at any time.
    pub peak: u64,
}

/// One law after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LawReport {
    /// Its name, `L1` to `L16`.
    pub law: String,
    /// How often it was tested.
    pub checked: u64,
    /// Whether it held every time.
    pub held: bool,
    /// The first violation; not in the document.
    #[serde(skip)]
    pub detail: Option<String>,
}

impl LatencyMs {
    #[must_use]
    pub fn of(times: &DurationHistogram) -> Self {
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| times.quantile_ms(share));
        Self { p50, p99, p999, max }
    }
}

impl KindReport {
    pub fn name(&self) -> String {
        let resumed = if self.resumed { ", resumed" } else { "" };
        format!("TLS {} {}{resumed}", self.tls, self.key)
    }
}

impl Knee {
    /// The knee of three or more rows of rising load; `None` for other runs.
    pub fn of(rows: &[RowReport]) -> Option<Self> {
        let loads: Vec<(f64, &RowReport)> =
            rows.iter().filter_map(|row| Some((row.offered_per_s?, row))).collect();
        let rising = loads.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if loads.len() < 3 || !rising {
            return None;
        }
        let lightest = loads[0].1.latency_ms.p99;
        let is_borne = |row: &RowReport| {
            row.latency_ms.p99 <= KNEE_TIMES * lightest && row.turned_away == 0 && row.failed == 0
        };
        let borne = loads.iter().take_while(|(_, row)| is_borne(row)).count();
        let (load_per_s, row) = loads[borne.checked_sub(1)?];
        let next = loads.get(borne);
        Some(Self {
            load_per_s,
            p99_ms: row.latency_ms.p99,
            next_load_per_s: next.map(|(load, _)| *load),
            next_p99_ms: next.map(|(_, row)| row.latency_ms.p99),
        })
    }

    pub fn sentence(&self) -> String {
        let Self { load_per_s: load, p99_ms: p99, .. } = self;
        match (self.next_load_per_s, self.next_p99_ms) {
            (Some(next), Some(beyond)) => format!(
                "up to {load:.0} a second p99 stays within {KNEE_TIMES} times that of the lightest load ({p99:.1} ms); at \
                 {next:.0} it is {beyond:.1} ms"
            ),
            _ => format!("none up to {load:.0} a second (p99 {p99:.1} ms)"),
        }
    }
}

impl Ledger {
    pub fn entries(&self) -> [(&'static str, LedgerLevel); 6] {
        [
            ("jobs", self.jobs),
            ("stacks", self.stacks),
            ("requests", self.requests),
            ("waiters", self.waiters),
            ("fds", self.fds),
            ("device_handles", self.device_handles),
        ]
    }

    /// Adds the ledger of another server that ran *after* this one: present levels add up, peaks do not.
    pub fn follow(&mut self, next: &Self) {
        let follow = |level: &mut LedgerLevel, next: LedgerLevel| {
            level.now += next.now;
            level.peak = level.peak.max(next.peak);
        };
        follow(&mut self.jobs, next.jobs);
        follow(&mut self.stacks, next.stacks);
        follow(&mut self.requests, next.requests);
        follow(&mut self.waiters, next.waiters);
        follow(&mut self.fds, next.fds);
        follow(&mut self.device_handles, next.device_handles);
    }
}

impl LedgerLevel {
    /// The level of another worker that ran *beside* this one. The sum of the peaks is an upper bound of the peak.
    #[must_use]
    pub const fn beside(self, other: Self) -> Self {
        Self { now: self.now + other.now, peak: self.peak + other.peak }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(load: f64, p99: f64) -> RowReport {
        RowReport {
            offered_per_s: Some(load),
            latency_ms: LatencyMs { p99, ..LatencyMs::default() },
            ..RowReport::default()
        }
    }

    #[test]
    fn the_knee_is_the_last_load_before_p99_climbs() {
        let rows = [row(100.0, 10.0), row(200.0, 14.0), row(300.0, 21.0), row(400.0, 12.0)];
        let said = Knee::of(&rows).expect("a knee").sentence();
        assert!(said.starts_with("up to 200 a second") && said.contains("at 300 it is 21.0 ms"));
    }

    #[test]
    fn loads_that_do_not_rise_have_none() {
        assert_eq!(Knee::of(&[row(100.0, 1.0), row(100.0, 9.0), row(50.0, 9.0)]), None);
        assert_eq!(Knee::of(&[row(100.0, 1.0), row(200.0, 9.0)]), None);
        let level = [row(1.0, 1.0), row(2.0, 1.0), row(3.0, 1.0)];
        assert!(Knee::of(&level).expect("said").sentence().starts_with("none up to 3"));
    }
}
