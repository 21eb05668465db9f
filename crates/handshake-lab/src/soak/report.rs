//! The results of a soak, and whether the process holds no more than before.

use serde::{Deserialize, Serialize};

use super::footprint::Footprint;
use lab_report::{LawReport, Ledger, Machine, laws_line, ledger_line, text_table};

pub(super) const SCHEMA: &str = "layby.soak/1";

/// Memory by which a process may have grown, in KiB: the allocator keeps what threads of different rounds needed at the
/// same time. Over 100,000 handshakes it is 42 bytes for each, less than the least that anything allocated takes.
pub(super) const SLACK_KIB: u64 = 4 << 10;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SoakReport {
    pub schema: String,
    pub machine: Machine,
    pub seed: u64,
    /// Rounds, without those of the warm-up.
    pub rounds: u64,
    /// Handshakes that clients began, without those of the warm-up.
    pub begun: u64,
    pub completed: u64,
    /// Those that failed, because of a fault or a deadline.
    pub failed: u64,
    /// Those whose client hung up on purpose.
    pub hung_up: u64,
    pub faults: u64,
    pub deadlines: u64,
    pub fallbacks: u64,
    /// What the process held after the warm-up.
    pub before: Footprint,
    pub after: Footprint,
    /// By how much its memory may have grown, in KiB.
    pub slack_kib: u64,
    /// What was left over at the end of each round, and the most at any time.
    pub ledger: Ledger,
    /// The laws that were checked in each round.
    pub laws: Vec<LawReport>,
    pub partial: bool,
}

/// A resource of the process before and after the soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceChange {
    pub what: &'static str,
    pub before: u64,
    pub after: u64,
    /// By how much it may have grown.
    pub slack: u64,
}

impl ResourceChange {
    /// Whether it has grown by no more than its slack.
    pub const fn is_good(&self) -> bool {
        self.after <= self.before + self.slack
    }
}

impl SoakReport {
    pub fn changes(&self) -> [ResourceChange; 3] {
        let Self { before, after, .. } = self;
        let change = |what, before, after, slack| ResourceChange { what, before, after, slack };
        [
            change("descriptors", before.descriptors, after.descriptors, 0),
            change("threads", before.threads, after.threads, 0),
            change("resident KiB", before.resident_kib, after.resident_kib, self.slack_kib),
        ]
    }

    /// What is not as it must be, each in one sentence.
    pub fn faults(&self) -> Vec<String> {
        let grown = self.changes().into_iter().filter(|change| !change.is_good()).map(|change| {
            let ResourceChange { what, before, after, slack } = change;
            format!("{what}: {before} before and {after} after, {slack} more would be well")
        });
        let ledger = self.ledger.entries();
        let left = ledger
            .iter()
            .filter(|(_, level)| level.now > 0)
            .map(|(name, level)| format!("{name}: {} left over", level.now));
        let broken = self.laws.iter().filter(|law| !law.held).map(|law| {
            format!("{} broken: {}", law.law, law.detail.as_deref().unwrap_or("no detail"))
        });
        let lost = self.begun - self.completed - self.failed - self.hung_up;
        let lost = (lost > 0 && !self.partial).then(|| format!("{lost} handshakes never ended"));
        grown.chain(left).chain(broken).chain(lost).collect()
    }

    /// Whether all is as it must be.
    pub fn is_good(&self) -> bool {
        self.faults().is_empty()
    }

    /// The report as text that ends with a line feed.
    pub fn text(&self) -> String {
        let lines = self.changes().map(|change| {
            [
                change.what.to_owned(),
                change.before.to_string(),
                change.after.to_string(),
                change.slack.to_string(),
                if change.is_good() { "well" } else { "GROWN" }.to_owned(),
            ]
        });
        let heads = ["held", "before", "after", "may grow by", "verdict"];
        format!(
            "{} handshakes begun in {} rounds from seed {}: {} completed, {} failed, {} hung up;\n\
             {} faults struck, {} deadlines passed, {} operations went to software\n\n{}\n\n{}\n{}\n",
            self.begun,
            self.rounds,
            self.seed,
            self.completed,
            self.failed,
            self.hung_up,
            self.faults,
            self.deadlines,
            self.fallbacks,
            text_table(heads, lines, 1..4),
            ledger_line(&self.ledger),
            laws_line(&self.laws),
        )
    }

    pub fn verdict(&self) -> String {
        let faults = self.faults();
        if !faults.is_empty() {
            return format!("Not as before: {}.", faults.join("; "));
        }
        let end = if self.partial { ", until it was broken off" } else { "" };
        format!("As before: after {} handshakes nothing is left over{end}.", self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab_report::LedgerLevel;

    fn good() -> SoakReport {
        let held = Footprint { descriptors: 5, threads: 1, resident_kib: 20_000 };
        SoakReport {
            rounds: 2,
            begun: 100,
            completed: 80,
            failed: 15,
            hung_up: 5,
            before: held,
            after: held,
            slack_kib: SLACK_KIB,
            ..SoakReport::default()
        }
    }

    #[test]
    fn a_process_that_is_as_it_was_is_good_and_may_have_grown_a_little() {
        assert!(good().is_good());
        let mut report = good();
        report.after.resident_kib += SLACK_KIB;
        assert!(report.is_good(), "{:?}", report.faults());
    }

    #[test]
    fn each_thing_that_is_left_is_named() {
        type Spoil = fn(&mut SoakReport);
        let spoil: [(Spoil, &str); 6] = [
            (|report| report.after.descriptors += 1, "descriptors: 5 before and 6 after"),
            (|report| report.after.threads += 1, "threads: 1 before and 2 after"),
            (|report| report.after.resident_kib += SLACK_KIB + 1, "resident KiB: 20000 before"),
            (|report| report.ledger.jobs = LedgerLevel { now: 1, peak: 1 }, "jobs: 1 left over"),
            (|report| report.begun += 1, "1 handshakes never ended"),
            (
                |report| {
                    let detail = Some("a detail".to_owned());
                    report.laws.push(LawReport {
                        law: "L4".to_owned(),
                        checked: 1,
                        held: false,
                        detail,
                    });
                },
                "L4 broken: a detail",
            ),
        ];
        for (spoil, expected) in spoil {
            let mut report = good();
            spoil(&mut report);
            assert!(report.verdict().contains(expected), "{}", report.verdict());
        }
    }
}
