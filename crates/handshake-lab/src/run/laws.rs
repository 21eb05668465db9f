//! The laws, held against what engine, device, workers and clients counted independently of each other.

use std::collections::BTreeMap;

use job_core::PoolStats;

use super::{device::DeviceReport, evidence::RowEvidence};
use crate::{report::LawReport, scenario::Mode, stepped::TraceSummary};

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
        self.l3_nobody_forgotten(row, device);
        self.l13_fair(row, device);
        match row.plan.mode {
            Mode::Async => {
                self.l4_one_wake(row, device);
                self.l5_dropped_soundly(row, device);
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

    /// L3: whoever waited was woken, and every handshake came to its end.
    fn l3_nobody_forgotten(&mut self, row: &RowEvidence, device: &DeviceReport) {
        // In the other modes what is still waiting when the time is over is given up on purpose.
        let ends = row.plan.mode == Mode::Async;
        let left: u64 = row.workers.iter().map(|worker| worker.abandoned).sum();
        let (unfinished, stuck) = (row.load.unfinished, row.stuck);
        self.record(
            row,
            3,
            device.engine.submitted,
            &[
                (stuck > 0, format!("{stuck} workers wait for an operation that never came back")),
                (
                    ends && unfinished > 0,
                    format!("{unfinished} handshakes never came to their end"),
                ),
                (ends && left > 0, format!("{left} sessions were still there after the drain")),
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

    /// L5: a session dropped while it was parked took its job with it, and the answer that came late was put away.
    fn l5_dropped_soundly(&mut self, row: &RowEvidence, device: &DeviceReport) {
        let sum = |of: fn(&PoolStats) -> u64| {
            row.workers.iter().map(|worker| of(&worker.pool)).sum::<u64>()
        };
        let (cancelled, given_up) = (sum(|pool| pool.cancelled), device.engine.cancelled);
        let (unended, late) = (sum(|pool| pool.quarantined), device.engine.late);
        let noise = sum(|pool| pool.swallowed_panics + pool.swallowed_unwinds);
        self.record(
            row,
            5,
            cancelled,
            &[
                (unended > 0, format!("{unended} cancelled jobs would not end")),
                (noise > 0, format!("{noise} cancelled jobs panicked or caught their unwind")),
                (
                    given_up < cancelled,
                    format!("{cancelled} jobs were cancelled and {given_up} operations given up"),
                ),
                (
                    late > given_up,
                    format!("{late} answers came late for {given_up} operations given up"),
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

    /// L9: the same row again gives the same trace.
    pub fn l9_repeats(&mut self, row: &str, first: TraceSummary, second: TraceSummary) {
        let fault = (first != second).then(|| {
            format!(
                "row {row}: the same seed gave two traces, of {} and {} events",
                first.events, second.events
            )
        });
        let law = self.0.entry(9).or_default();
        law.checked += 1;
        law.broken = law.broken.take().or(fault);
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

#[cfg(test)]
mod tests;
