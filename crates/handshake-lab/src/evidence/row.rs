//! Everything that was counted in one row, by parties that know nothing of each other, and the row's report from it.

use std::time::Duration;

use engine_core::EngineStats;
use lab_report::{DeviceRow, KindReport, LatencyMs, Ledger, RowReport};
use sim_device::Fault;
use sim_engine::InstanceStats;

use super::{answers::Answers, calls::Calls, device::DeviceReport, replays::Replays, theory};
use crate::{
    load::{KindCount, LoadReport},
    scenario::{ConnectionKind, RowPlan},
    server::{SessionChecks, WorkerReport},
};

/// Everything that was counted in one row.
#[derive(Debug, Clone)]
pub struct RowEvidence {
    pub plan: RowPlan,
    pub load: LoadReport,
    pub verified: u64,
    /// Signatures that rustls asked the server's key for.
    pub asked: u64,
    /// Results computed, received and erased, in virtual time only.
    pub answers: Option<Answers>,
    /// How sessions were called back, where that is watched.
    pub calls: Option<Calls>,
    /// What was seen of handshakes by replay, if they were parked so.
    pub replays: Option<Replays>,
    /// Memory of one parked handshake: in virtual time by the cost profile, and as measured if handshakes are held.
    pub parked_bytes: Option<f64>,
    /// Why there were fewer handshakes than the plan has, in a sentence.
    pub shortened: Option<String>,
    pub workers: Vec<WorkerReport>,
    pub stuck: u64,
    /// What engines and devices counted, in rows that have them.
    pub devices: Vec<DeviceReport>,
    /// Which faults have struck, and what else was done to it on purpose.
    pub harm: Harm,
    /// What is left over, and what was held at most.
    pub ledger: Ledger,
}

/// What was done to a run on purpose; failures that it explains break no law.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Harm {
    pub spoiled: u64,
    /// Faults after which operations may fail: errors, resets, removals, lost answers.
    pub failing: u64,
    /// Other faults, after which every operation still succeeds unless it has a deadline.
    pub delaying: u64,
    /// Sessions that the plan made the server close.
    pub given_up: u64,
    pub deadlines: bool,
    /// Operations that had not ended when nothing more was going to happen.
    pub overdue: u64,
    /// Times that a request waited for a ring that had room.
    pub starved: u64,
    /// Times that an engine, just polled, still had something due.
    pub unnoticed: u64,
    /// Times that engines were polled, where that is counted.
    pub polls: u64,
}

impl Harm {
    /// Takes up a fault that has struck.
    pub(crate) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Corrupt => self.spoiled += 1,
            Fault::Lost | Fault::DeviceError | Fault::Reset { .. } | Fault::Removal { .. } => {
                self.failing += 1;
            }
            _ => self.delaying += 1,
        }
    }

    /// The harm that these devices can have done at most: in real time only the number of their faults is known, so each
    /// may have been of any kind; and a deadline may pass because this machine is slow.
    #[must_use]
    pub fn at_most(devices: &[DeviceReport]) -> Self {
        let struck = devices.iter().map(|device| device.card.faults).sum();
        let late: u64 = devices.iter().map(|device| device.engine.deadlines).sum();
        Self { spoiled: struck, failing: struck + late, ..Self::default() }
    }

    /// Whether sessions may have failed because of it.
    pub const fn excuses_failures(&self) -> bool {
        self.failing + self.spoiled > 0 || (self.deadlines && self.delaying > 0)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl RowEvidence {
    /// What all engines counted together.
    pub fn engines(&self, of: fn(&EngineStats) -> u64) -> u64 {
        self.devices.iter().map(|device| of(&device.engine)).sum()
    }

    /// What all devices counted together.
    pub fn cards(&self, of: fn(&InstanceStats) -> u64) -> u64 {
        self.devices.iter().map(|device| of(&device.card)).sum()
    }

    /// Whether operations may have failed because of what was done to the row.
    pub fn excuses_failures(&self) -> bool {
        let shut_off = self.harm.delaying > 0 && self.engines(|engine| engine.trips) > 0;
        shut_off || self.harm.excuses_failures() || self.refusals() > 0
    }

    /// Handshakes that end at most without a failed operation, because the plan made them impossible.
    pub fn refusals(&self) -> u64 {
        self.replays.map_or(0, |replays| replays.unfit + replays.contradicted)
    }

    /// What was checked session by session, over all workers.
    pub fn sessions(&self) -> SessionChecks {
        let sessions = self.workers.iter().map(|worker| worker.sessions);
        sessions.fold(SessionChecks::default(), SessionChecks::and)
    }

    /// The mean wait of an operation from submission to service, over all devices; `None` without one.
    pub fn queue_wait(&self) -> Option<Duration> {
        if self.devices.is_empty() {
            return None;
        }
        let finished = |device: &DeviceReport| device.card.finished as f64;
        let all: f64 = self.devices.iter().map(finished).sum();
        let waited = |device: &DeviceReport| device.mean_wait().as_secs_f64() * finished(device);
        let waited: f64 = self.devices.iter().map(waited).sum();
        Some(Duration::from_secs_f64(waited / all.max(1.0)))
    }

    /// Busy time of the units over the time that they had, of the device with the most; `None` without one.
    fn utilisation(&self) -> Option<f64> {
        self.devices.iter().map(DeviceReport::utilisation).reduce(f64::max)
    }

    /// Time that threads of the row were ready to run and had no processor, as a share of the time that they ran or were
    /// ready; `None` where nothing was measured.
    fn processor_wait_share(&self) -> Option<f64> {
        let servers = self.workers.iter().map(|worker| (worker.cpu, worker.processor_wait));
        let (mut ran, mut waited) = (self.load.cpu, self.load.processor_wait);
        for (cpu, wait) in servers {
            ran += cpu;
            waited = Some(waited? + wait?);
        }
        let waited = waited?.as_secs_f64();
        Some(waited / (ran.as_secs_f64() + waited).max(1e-9))
    }

    /// How many operations a unit has served at once; `None` where that is always one.
    fn mean_batch(&self) -> Option<f64> {
        let batches = self.plan.device().batch > 1;
        let device = self.devices.first().filter(|_| batches)?;
        let used = device.card.classes.iter().find(|class| class.finished > 0)?;
        Some(used.mean_batch())
    }

    /// How late the other task of the workers was.
    fn beat_late(&self) -> Option<LatencyMs> {
        let late = self.workers.iter().filter_map(|worker| worker.beat_late.as_ref()).cloned();
        let all = late.reduce(|mut all, late| {
            all.add(&late);
            all
        });
        all.as_ref().map(LatencyMs::of)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of one row are far below 2^52")]
    pub fn report(&self) -> RowReport {
        let sum = |of: fn(&WorkerReport) -> u64| self.workers.iter().map(of).sum::<u64>();
        let elapsed_s = self.load.elapsed.as_secs_f64();
        let each = |total: f64| total / (self.load.handshakes.max(1) as f64);
        let cpu_us: f64 = self.workers.iter().map(|worker| worker.cpu.as_secs_f64() * 1e6).sum();
        RowReport {
            name: self.plan.name.clone(),
            workers: self.plan.workers,
            threads: self.plan.workers + self.devices.len(),
            wake: self.plan.wake.to_string(),
            offered_per_s: self.plan.stream.map(|stream| stream.rate_per_s),
            turned_away: self.load.turned_away,
            queue_wait_ms: self.queue_wait().map(millis),
            queue_wait_theory_ms: theory::queue_wait(&self.plan).map(millis),
            handshakes: self.load.handshakes,
            failed: self.load.failed,
            unfinished: self.load.unfinished,
            elapsed_s,
            processor_wait_share: self.processor_wait_share(),
            handshakes_per_s: if elapsed_s > 0.0 {
                self.load.handshakes as f64 / elapsed_s
            } else {
                0.0
            },
            latency_ms: LatencyMs::of(&self.load.latency),
            server_cpu_us_per_handshake: each(cpu_us),
            ops: self.engines(|engine| engine.completed),
            ring_full: self.engines(|engine| engine.ring_full),
            resumes: sum(|worker| worker.resumes) + sum(|worker| worker.unprompted_resumes),
            unprompted_resumes: sum(|worker| worker.unprompted_resumes),
            wakes: self.engines(|engine| engine.wakes),
            parked_peak: sum(|worker| worker.parked_peak),
            parked_bytes: self.parked_bytes,
            polls: self.cards(|card| card.polls),
            interrupts: self.cards(|card| card.interrupts),
            fallbacks: self.engines(|engine| engine.fallbacks),
            not_offloaded: self.engines(|engine| engine.not_offloaded),
            beat_late_ms: self.beat_late(),
            cancelled: self.engines(|engine| engine.cancelled),
            device_utilisation: self.utilisation(),
            devices: if self.devices.len() > 1 {
                self.devices.iter().map(device_row).collect()
            } else {
                Vec::new()
            },
            kinds: if self.plan.mix.is_uniform() {
                Vec::new()
            } else {
                self.load.kinds.iter().map(kind_report).collect()
            },
            mean_batch: self.mean_batch(),
            batch: self.plan.device().batch,
            failures_expected: if self.devices.is_empty() {
                0
            } else {
                self.plan.expect.most_failed
            },
            client_cpu_us_per_handshake: each(self.load.cpu.as_secs_f64() * 1e6),
        }
    }
}

fn device_row(device: &DeviceReport) -> DeviceRow {
    DeviceRow {
        name: device.name.clone(),
        ops: device.card.finished,
        utilisation: device.utilisation(),
        queue_wait_ms: millis(device.mean_wait()),
        ring_full: device.engine.ring_full,
        faults: device.card.faults,
        fallbacks: device.engine.fallbacks,
    }
}

fn kind_report((kind, count): (&ConnectionKind, &KindCount)) -> KindReport {
    KindReport {
        key: kind.key.to_string(),
        tls: kind.tls.to_string(),
        resumed: kind.resumed,
        handshakes: count.handshakes,
        failed: count.failed,
        latency_ms: LatencyMs::of(&count.latency),
    }
}
