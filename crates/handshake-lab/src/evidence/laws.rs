//! The laws, held against what engine, device, workers and clients counted independently of each other.

use std::collections::BTreeMap;

use job_core::PoolStats;
use lab_report::LawReport;

use super::{
    answers::Answers, calls::Calls, replays::Replays, row::RowEvidence, trace_summary::TraceSummary,
};
use crate::scenario::{Checks, Mode, Wake};

/// Kinds of operation that a row in virtual time can have waiting at once.
const MOST_KINDS: u64 = 2;

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
        if row.devices.is_empty() {
            return;
        }
        self.l1_own_result(row);
        self.l2_submitted_once(row);
        self.l3_every_session_ends(row);
        self.l13_fair(row);
        self.l14_in_time(row);
        self.l15_failures_end_sessions(row);
        self.l16_replay_is_invisible(row);
        match row.plan.mode {
            Mode::Async => {
                self.l4_one_wake(row);
                self.l5_dropped_soundly(row);
                self.l7_no_spin(row);
            }
            Mode::Blocking => self.l11_synchronous(row),
            Mode::Software | Mode::FreeSign => {}
        }
    }

    /// Each law that was checked at all, in order.
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

    /// L1: what a device computed came back with its request, to the session that had asked.
    fn l1_own_result(&mut self, row: &RowEvidence) {
        let Some(Answers { received, foreign, .. }) = row.answers else { return };
        let fault = format!("{foreign} sessions got the result of another");
        self.record(row, 1, received, &[(foreign > 0, fault)]);
    }

    /// L2: an extra resume harms nothing, and nothing is submitted twice.
    fn l2_submitted_once(&mut self, row: &RowEvidence) {
        let sessions = row.sessions();
        let harmed = sessions.unprompted_harmed;
        let (submitted, refused) = (row.engines(|e| e.submitted), row.engines(|e| e.refused));
        let ended: u64 = row.workers.iter().map(|worker| worker.failed).sum();
        let reasons = row.engines(|engine| engine.failed) + refused + row.refusals();
        // A second pass that was made to sign something else asks for that, and gets no signature.
        let contradicted = row.replays.map_or(0, |replays| replays.contradicted);
        let due = row.asked.saturating_sub(contradicted)..=row.asked;
        // What falls back goes to one more device.
        let (accepted, sent) =
            (row.engines(|e| e.accepted), submitted + row.engines(|e| e.fallbacks));
        self.record(
            row,
            2,
            sessions.unprompted + submitted,
            &[
                (
                    harmed > 0 && refused == 0 && !row.excuses_failures(),
                    format!("{harmed} sessions failed after a resume without a wake"),
                ),
                (
                    !due.contains(&(submitted + refused)),
                    format!("{} signatures were asked for and {submitted} submitted", row.asked),
                ),
                (accepted > sent, format!("{sent} requests reached devices {accepted} times")),
                (
                    ended > reasons,
                    format!("{ended} sessions ended for {reasons} operations that had failed"),
                ),
            ],
        );
    }

    /// L3: every waiting session was woken, and every handshake ended.
    fn l3_every_session_ends(&mut self, row: &RowEvidence) {
        // In the other modes what is still waiting when the time is over is given up on purpose.
        let ends = row.plan.mode == Mode::Async;
        let left: u64 = row.workers.iter().map(|worker| worker.abandoned).sum();
        let (unfinished, stuck) = (row.load.unfinished, row.stuck);
        let quiet = row.devices.iter().all(|device| device.quiet);
        self.record(
            row,
            3,
            row.engines(|engine| engine.submitted),
            &[
                (stuck > 0, format!("{stuck} workers wait for an operation that never came back")),
                (
                    ends && unfinished > 0,
                    format!("{unfinished} handshakes never came to their end"),
                ),
                (ends && left > 0, format!("{left} sessions were still there after the drain")),
                (!quiet, "requests were still in flight after the drain".to_owned()),
            ],
        );
    }

    /// L4: one wake for each reason to resume.
    fn l4_one_wake(&mut self, row: &RowEvidence) {
        let sessions = row.sessions();
        let tokens: u64 = row.workers.iter().map(|worker| worker.tokens).sum();
        let (wakes, over) = (row.engines(|engine| engine.wakes), sessions.wakes_beyond);
        // A session is also woken to submit its request itself.
        let retries = row.engines(|engine| engine.retry_wakes);
        let settled = row.engines(|engine| engine.completed + engine.failed);
        let (submitted, given_up) = (row.engines(|e| e.submitted), row.engines(|e| e.cancelled));
        let Calls { after_unset, misinformed, on_job_stack, .. } = row.calls.unwrap_or_default();
        let on_job_stack = on_job_stack
            + row.engines(|engine| engine.on_job_stack)
            + row.workers.iter().map(|worker| worker.calls_on_job_stack).sum::<u64>();
        // A session's descriptor is made when it first parks. A completion that comes in between finds no route, so that
        // the engine counts no wake; it is kept for the descriptor, and is a token all the same.
        let known = if row.plan.wake == Wake::Fd { settled } else { wakes };
        let due = known + retries;
        self.record(
            row,
            4,
            sessions.parked,
            &[
                (
                    over > retries,
                    format!("sessions got {over} wakes more than they had requests, and {retries} to retry"),
                ),
                (tokens > due, format!("{tokens} wakes came for {due} that were due")),
                (
                    wakes > settled,
                    format!("{wakes} wakes were made for {settled} settled requests"),
                ),
                (
                    settled + given_up > submitted,
                    format!(
                        "{submitted} requests were settled {settled} times, and {given_up} given up"
                    ),
                ),
                (
                    after_unset > 0,
                    format!("{after_unset} calls began after the callback had been taken away"),
                ),
                (
                    misinformed > 0,
                    format!("{misinformed} calls told a completion for a retry, or the reverse"),
                ),
                (
                    on_job_stack > 0,
                    format!(
                        "{on_job_stack} callbacks, checks and calls of devices ran on a job's stack"
                    ),
                ),
            ],
        );
    }

    /// L5: a session dropped while it was parked took its job with it, and the answer that came late was discarded.
    fn l5_dropped_soundly(&mut self, row: &RowEvidence) {
        let sum = |of: fn(&PoolStats) -> u64| {
            row.workers.iter().map(|worker| of(&worker.pool)).sum::<u64>()
        };
        // By replay there is no job to cancel: the session itself is what was dropped.
        let by_replay: u64 = if row.plan.replays() {
            row.workers.iter().map(|worker| worker.dropped).sum()
        } else {
            0
        };
        let cancelled = sum(|pool| pool.cancelled) + by_replay;
        let (given_up, uncollected) =
            (row.engines(|e| e.cancelled), row.engines(|e| e.uncollected));
        let (unended, late) = (sum(|pool| pool.quarantined), row.engines(|e| e.late));
        let noise = sum(|pool| pool.swallowed_panics + pool.swallowed_unwinds);
        // A job may be cancelled when its answer is there and it has not been resumed; then the answer is not collected.
        // A request that the standby took over, that missed its deadline or that a shutdown failed leaves an answer behind.
        let Answers { computed, received, erased, .. } = row.answers.unwrap_or_default();
        let astray = computed != received + erased;
        let losers = row.engines(|engine| engine.fallbacks + engine.deadlines + engine.shut_down);
        self.record(
            row,
            5,
            cancelled,
            &[
                (unended > 0, format!("{unended} cancelled jobs would not end")),
                (noise > 0, format!("{noise} cancelled jobs panicked or caught their unwind")),
                (
                    given_up + uncollected < cancelled,
                    format!(
                        "{cancelled} parked handshakes were dropped, {given_up} operations given up, and {uncollected} answers not collected"
                    ),
                ),
                (
                    astray,
                    format!(
                        "{computed} results were computed, {received} received, {erased} erased"
                    ),
                ),
                (
                    late > given_up + losers,
                    format!(
                        "{late} answers came late for {given_up} operations given up, and {losers} answered otherwise"
                    ),
                ),
            ],
        );
    }

    /// L7: the loop resumes no session more often than it was woken.
    fn l7_no_spin(&mut self, row: &RowEvidence) {
        let sessions = row.sessions();
        let over = sessions.too_many_resumes;
        // For each request submitted, each that ends, and each poll of an engine, a full ring is asked at
        // most once more for each kind.
        let (vain, polls) = (row.engines(|engine| engine.ring_full), row.harm.polls);
        let reasons = row.engines(|engine| {
            engine.submitted
                + engine.refused
                + engine.completed
                + engine.failed
                + engine.cancelled
                + engine.late
                + engine.uncollected
                + engine.fallbacks
                + engine.retries
        });
        let most = MOST_KINDS * (reasons + polls);
        self.record(
            row,
            7,
            sessions.parked,
            &[
                (over > 0, format!("{over} sessions were resumed more often than their wakes + 1")),
                (
                    polls > 0 && vain > most,
                    format!(
                        "a full ring was asked {vain} times, and there was reason to {most} times"
                    ),
                ),
            ],
        );
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
    fn l11_synchronous(&mut self, row: &RowEvidence) {
        let jobs: u64 = row.workers.iter().map(|worker| worker.pool.started).sum();
        let submitted = row.engines(|engine| engine.submitted);
        let settled = row.engines(|engine| engine.completed + engine.failed);
        self.record(
            row,
            11,
            submitted,
            &[
                (jobs > 0, format!("{jobs} jobs were started though async mode was off")),
                (settled != submitted, format!("{submitted} operations began and {settled} ended")),
            ],
        );
    }

    /// L12: every result was checked in the engine, and every signature by the client that got it.
    fn l12_verified(&mut self, row: &RowEvidence) {
        let (checked, failures) = (row.engines(|e| e.checked), row.engines(|e| e.check_failures));
        // What the serving thread has computed itself is checked by clients alone.
        let own = row.engines(|engine| engine.not_offloaded);
        let results = (row.engines(|engine| engine.completed) + failures).saturating_sub(own);
        let spoiled = row.harm.spoiled;
        self.record(
            row,
            12,
            checked,
            &[
                (
                    row.plan.engine.checks == Checks::Always && checked < results,
                    format!("{results} results and {checked} checks"),
                ),
                (
                    failures > spoiled,
                    format!("{failures} results did not check and {spoiled} were spoiled"),
                ),
            ],
        );
        if row.plan.mode != Mode::FreeSign {
            // A resumed session proves the key without a signature (RFC 8446, 2.2).
            let done = row.load.handshakes.saturating_sub(row.load.kinds.resumed());
            let verified = row.verified;
            let fault = format!("{done} full handshakes and {verified} verified signatures");
            self.record(row, 12, verified, &[(verified < done, fault)]);
        }
    }

    /// L13: first come first served.
    fn l13_fair(&mut self, row: &RowEvidence) {
        let (turns, overtaken) = (row.engines(|e| e.in_order), row.engines(|e| e.out_of_order));
        let starved = row.harm.starved;
        self.record(
            row,
            13,
            turns + overtaken,
            &[
                (overtaken > 0, format!("{overtaken} requests overtook an older one")),
                (starved > 0, format!("{starved} times somebody waited for a ring that had room")),
            ],
        );
    }

    /// L14: with deadlines, nothing waits longer than that.
    fn l14_in_time(&mut self, row: &RowEvidence) {
        if !row.harm.deadlines {
            return;
        }
        let (overdue, unnoticed) = (row.harm.overdue, row.harm.unnoticed);
        self.record(
            row,
            14,
            row.engines(|engine| engine.submitted),
            &[
                (
                    overdue > 0,
                    format!("{overdue} operations still waited when nothing more was to come"),
                ),
                (unnoticed > 0, format!("{unnoticed} times a deadline passed unnoticed")),
            ],
        );
    }

    /// L15: an operation that failed ended its session, and nothing else did.
    fn l15_failures_end_sessions(&mut self, row: &RowEvidence) {
        let failed: u64 = row.workers.iter().map(|worker| worker.failed).sum();
        let told = row.load.failed;
        let left = row.load.hung_up + row.harm.given_up;
        self.record(
            row,
            15,
            failed,
            &[
                (
                    told > failed,
                    format!("{told} clients were turned away and {failed} sessions had failed"),
                ),
                (
                    failed > told + left,
                    format!("{failed} sessions failed and {told} clients were told"),
                ),
                (
                    failed > 0 && !row.excuses_failures() && row.engines(|e| e.refused) == 0,
                    format!("{failed} sessions failed though no fault had struck"),
                ),
            ],
        );
    }

    /// L16: a signature goes to what asked for it, hooks are asked once for each hello, and clients see what a server
    /// without replay would have sent.
    fn l16_replay_is_invisible(&mut self, row: &RowEvidence) {
        let Some(replays) = row.replays else { return };
        let Replays { handed, unasked, resolved, retried, contradicted, misled, .. } = replays;
        let hellos = row.workers.iter().map(|worker| worker.accepted).sum::<u64>() + retried;
        let changed =
            row.asked.saturating_sub(row.engines(|engine| engine.submitted + engine.refused));
        let early = replays.refused_early;
        self.record(
            row,
            16,
            handed,
            &[
                (
                    unasked > 0,
                    format!("{unasked} signatures were handed over for what no first pass had asked to sign"),
                ),
                (
                    changed > contradicted,
                    format!("{changed} second passes signed something else than the first, and {contradicted} were made to"),
                ),
                (
                    resolved > hellos,
                    format!("the resolver of certificates was asked {resolved} times for {hellos} hellos"),
                ),
                (misled > 0, format!("{misled} clients were sent what a server without replay does not send")),
                (
                    early > 0,
                    format!("{early} clients were refused before the server's hello, where a server without replay refuses behind it"),
                ),
            ],
        );
    }
}

#[cfg(test)]
mod tests;
