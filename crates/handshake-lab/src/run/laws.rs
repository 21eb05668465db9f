//! The laws, held against what engine, device, workers and clients counted independently of each other.

use std::collections::BTreeMap;

use super::device::DeviceReport;
use crate::{
    load::LoadReport,
    report::{LatencyMs, LawReport, Ledger, RowReport},
    scenario::{Mode, RowPlan},
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
    /// What engine and device counted, in rows that have them.
    pub device: Option<DeviceReport>,
    /// What is left over, and what was held at most.
    pub ledger: Ledger,
}

/// The laws as far as they have been checked.
#[derive(Debug, Clone, Default)]
pub struct Laws(BTreeMap<u8, Law>);

#[derive(Debug, Clone, Default)]
struct Law {
    checked: u64,
    broken: Option<String>,
}

impl Laws {
    /// Checks every law that a row says something about.
    pub fn check(&mut self, row: &RowEvidence) {
        self.l8_ledger(row);
        self.l12_verified(row);
        let Some(device) = &row.device else { return };
        self.l2_submitted_once(row, device);
        self.l13_fair(row, device);
        match row.plan.mode {
            Mode::Async => {
                self.l3_nobody_forgotten(row, device);
                self.l4_one_wake(row, device);
                self.l7_no_spin(row);
            }
            Mode::Blocking => self.l11_synchronous(row, device),
            Mode::Software | Mode::FreeSign => {}
        }
    }

    /// Each law that was checked at all, in order.
    #[must_use]
    pub fn reports(&self) -> Vec<LawReport> {
        let checked = self.0.iter().filter(|(_, law)| law.checked > 0);
        checked
            .map(|(number, law)| LawReport {
                law: format!("L{number}"),
                checked: law.checked,
                held: law.broken.is_none(),
                detail: law.broken.clone(),
            })
            .collect()
    }

    /// Records that a law was tested `times` times, and what each test in `faults` found; the first fault is kept.
    fn record(&mut self, row: &RowEvidence, law: u8, times: u64, faults: &[(bool, String)]) {
        let entry = self.0.entry(law).or_default();
        entry.checked += times;
        if let Some((_, fault)) = faults.iter().find(|(faulty, _)| *faulty) {
            // A law that was broken was checked, whatever the counters say.
            entry.checked = entry.checked.max(1);
            entry.broken.get_or_insert_with(|| format!("row {}: {fault}", row.plan.name));
        }
    }

    /// L2: an extra resume harms nothing, and nothing is submitted twice.
    fn l2_submitted_once(&mut self, row: &RowEvidence, device: &DeviceReport) {
        let sessions = row.sessions();
        let engine = &device.engine;
        let harmed = sessions.unprompted_harmed;
        self.record(
            row,
            2,
            sessions.unprompted + engine.submitted,
            &[
                (harmed > 0, format!("{harmed} sessions failed after a resume without a wake")),
                (
                    engine.submitted + engine.refused != row.asked,
                    format!(
                        "{} signatures were asked for and {} submitted",
                        row.asked, engine.submitted
                    ),
                ),
                (
                    engine.accepted > engine.submitted,
                    format!(
                        "{} requests reached the device {} times",
                        engine.submitted, engine.accepted
                    ),
                ),
            ],
        );
    }

    /// L3: whoever parked was woken, and every handshake came to its end.
    fn l3_nobody_forgotten(&mut self, row: &RowEvidence, device: &DeviceReport) {
        let left: u64 = row.workers.iter().map(|worker| worker.abandoned).sum();
        let parks: u64 = row.workers.iter().map(|worker| worker.parks).sum();
        let unfinished = row.load.unfinished;
        self.record(
            row,
            3,
            parks,
            &[
                (unfinished > 0, format!("{unfinished} handshakes never came to their end")),
                (left > 0, format!("{left} sessions were still there after the drain")),
                (!device.quiet, "requests were still in flight after the drain".to_owned()),
            ],
        );
    }

    /// L4: one wake for each reason to resume.
    fn l4_one_wake(&mut self, row: &RowEvidence, device: &DeviceReport) {
        let sessions = row.sessions();
        let tokens: u64 = row.workers.iter().map(|worker| worker.tokens).sum();
        let (wakes, over) = (device.engine.wakes, sessions.too_many_wakes);
        let settled = device.engine.completed + device.engine.failed;
        self.record(
            row,
            4,
            sessions.parked,
            &[
                (over > 0, format!("{over} sessions got more wakes than they had requests")),
                (tokens > wakes, format!("{tokens} wakes came for {wakes} that were due")),
                (
                    wakes > settled,
                    format!("{wakes} wakes were made for {settled} settled requests"),
                ),
            ],
        );
    }

    /// L7: the loop resumes nobody more often than it was told to.
    fn l7_no_spin(&mut self, row: &RowEvidence) {
        let sessions = row.sessions();
        let over = sessions.too_many_resumes;
        let fault = format!("{over} sessions were resumed more often than their wakes + 1");
        self.record(row, 7, sessions.parked, &[(over > 0, fault)]);
    }

    /// L8: after the drain nothing is left.
    fn l8_ledger(&mut self, row: &RowEvidence) {
        let entries = row.ledger.entries();
        let faults: Vec<_> = entries
            .iter()
            .map(|(name, level)| (level.now > 0, format!("{} {name} left over", level.now)))
            .collect();
        self.record(row, 8, entries.len() as u64, &faults);
    }

    /// L11: where there is no job to pause, the operation completes synchronously.
    fn l11_synchronous(&mut self, row: &RowEvidence, device: &DeviceReport) {
        let jobs: u64 = row.workers.iter().map(|worker| worker.pool.started).sum();
        let engine = &device.engine;
        let settled = engine.completed + engine.failed;
        self.record(
            row,
            11,
            engine.submitted,
            &[
                (jobs > 0, format!("{jobs} jobs were started though async mode was off")),
                (
                    settled != engine.submitted,
                    format!("{} operations began and {settled} ended", engine.submitted),
                ),
            ],
        );
    }

    /// L12: every result was checked in the engine, and every signature by the client that got it.
    fn l12_verified(&mut self, row: &RowEvidence) {
        if let Some(device) = &row.device {
            let engine = &device.engine;
            let (checked, results) = (engine.checked, engine.completed + engine.check_failures);
            self.record(
                row,
                12,
                checked,
                &[
                    (checked < results, format!("{results} results and {checked} checks")),
                    (
                        engine.check_failures > 0,
                        format!("{} results did not check", engine.check_failures),
                    ),
                ],
            );
        }
        if row.plan.mode != Mode::FreeSign {
            let (verified, done) = (row.verified, row.load.handshakes);
            let fault = format!("{done} handshakes and {verified} verified signatures");
            self.record(row, 12, verified, &[(verified < done, fault)]);
        }
    }

    /// L13: first come first served.
    fn l13_fair(&mut self, row: &RowEvidence, device: &DeviceReport) {
        let engine = &device.engine;
        let fault = format!("{} requests overtook an older one", engine.out_of_order);
        let times = engine.in_order + engine.out_of_order;
        self.record(row, 13, times, &[(engine.out_of_order > 0, fault)]);
    }
}

impl RowEvidence {
    fn sessions(&self) -> SessionChecks {
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
