//! Everything that was counted in one row, by parties that know nothing of each other, and the row's report from it.

use super::device::DeviceReport;
use crate::{
    load::LoadReport,
    report::{LatencyMs, Ledger, RowReport},
    scenario::RowPlan,
    server::{SessionChecks, WorkerReport},
};

/// Everything that was counted in one row.
#[derive(Debug, Clone)]
pub struct RowEvidence {
    /// What was to be run.
    pub plan: RowPlan,
    /// What the clients saw.
    pub load: LoadReport,
    /// Handshake signatures that clients verified.
    pub verified: u64,
    /// Signatures that rustls asked the server's key for.
    pub asked: u64,
    /// What the workers counted.
    pub workers: Vec<WorkerReport>,
    /// Workers that never ended.
    pub stuck: u64,
    /// What engine and device counted, in rows that have them.
    pub device: Option<DeviceReport>,
    /// What is left over, and what was held at most.
    pub ledger: Ledger,
}

impl RowEvidence {
    /// What was checked session by session, over all workers.
    #[must_use]
    pub fn sessions(&self) -> SessionChecks {
        let sessions = self.workers.iter().map(|worker| worker.sessions);
        sessions.fold(SessionChecks::default(), SessionChecks::and)
    }

    /// The row as it is reported.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of one row are far below 2^52")]
    pub fn report(&self) -> RowReport {
        let sum = |of: fn(&WorkerReport) -> u64| self.workers.iter().map(of).sum::<u64>();
        let elapsed_s = self.load.elapsed.as_secs_f64();
        let each = |total: f64| total / (self.load.handshakes.max(1) as f64);
        let cpu_us: f64 = self.workers.iter().map(|worker| worker.cpu.as_secs_f64() * 1e6).sum();
        let percentile = |quantile| self.load.latency_us.value_at_quantile(quantile) as f64 / 1e3;
        let engine = self.device.as_ref().map(|device| &device.engine);
        let card = self.device.as_ref().map(|device| &device.card);
        RowReport {
            mode: self.plan.name.clone(),
            workers: self.plan.workers,
            threads: self.plan.workers + usize::from(self.device.is_some()),
            wake: self.plan.wake.to_string(),
            handshakes: self.load.handshakes,
            failed: self.load.failed,
            unfinished: self.load.unfinished,
            elapsed_s,
            handshakes_per_s: if elapsed_s > 0.0 {
                self.load.handshakes as f64 / elapsed_s
            } else {
                0.0
            },
            latency_ms: LatencyMs {
                p50: percentile(0.5),
                p99: percentile(0.99),
                p999: percentile(0.999),
                max: self.load.latency_us.max() as f64 / 1e3,
            },
            server_cpu_us_per_handshake: each(cpu_us),
            ops: engine.map_or(0, |engine| engine.completed),
            ring_full: engine.map_or(0, |engine| engine.ring_full),
            resumes: sum(|worker| worker.resumes) + sum(|worker| worker.unprompted_resumes),
            unprompted_resumes: sum(|worker| worker.unprompted_resumes),
            wakes: engine.map_or(0, |engine| engine.wakes),
            polls: card.map_or(0, |card| card.polls),
            interrupts: card.map_or(0, |card| card.interrupts),
            fallbacks: 0,
            cancelled: engine.map_or(0, |engine| engine.cancelled),
            device_utilisation: self.device.as_ref().map(DeviceReport::utilisation),
            client_cpu_us_per_handshake: each(self.load.cpu.as_secs_f64() * 1e6),
        }
    }
}
