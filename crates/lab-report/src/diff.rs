//! Two runs side by side: what got better or worse, and by how much.

use std::fmt::Write as _;

use crate::{
    results::{Results, RowReport},
    text_table::text_table,
};

/// What changed from one run to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Why the two can be compared only with care; one line each.
    pub caveats: Vec<String>,
    /// One entry for each number of each row that both have.
    pub differences: Vec<Difference>,
    /// Changes up to this share are taken for none.
    pub tolerance: f64,
    /// The two ran different scenarios or have no row in common, so that no number of one says anything of the other.
    pub unrelated: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub row: String,
    /// The number, with its unit.
    pub what: &'static str,
    pub before: f64,
    pub after: f64,
    pub change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Better,
    Worse,
    /// Within the tolerance.
    Same,
    /// It is different, which is neither good nor bad.
    Different,
}

/// What is good about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Good {
    High,
    Low,
    Neither,
}

type Number = (&'static str, Good, fn(&RowReport) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "counts of one row are far below 2^52")]
const NUMBERS: [Number; 11] = [
    ("handshakes a second", Good::High, |row| Some(row.handshakes_per_s)),
    ("p50 ms", Good::Low, |row| Some(row.latency_ms.p50)),
    ("p99 ms", Good::Low, |row| Some(row.latency_ms.p99)),
    ("p99.9 ms", Good::Low, |row| Some(row.latency_ms.p999)),
    ("max ms", Good::Low, |row| Some(row.latency_ms.max)),
    ("server CPU us each", Good::Low, |row| Some(row.server_cpu_us_per_handshake)),
    ("failed", Good::Low, |row| Some(row.failed as f64)),
    ("unfinished", Good::Low, |row| Some(row.unfinished as f64)),
    ("full rings", Good::Neither, |row| Some(row.ring_full as f64)),
    ("fallbacks", Good::Neither, |row| Some(row.fallbacks as f64)),
    ("device busy %", Good::Neither, |row| row.device_utilisation.map(|busy| 100.0 * busy)),
];

/// Smaller shares are printed as 0.0 %.
const PRINTED: f64 = 0.0005;

/// Below this, two runs on a machine with other things to do are the same.
const NOISE: f64 = 0.05;

impl Comparison {
    /// Compares two runs, rows of the same name with each other.
    #[must_use]
    pub fn of(before: &Results, after: &Results) -> Self {
        // Virtual time has no noise: whatever differs, differs.
        let virtual_time = before.clock == "virtual" && after.clock == "virtual";
        let tolerance = if virtual_time { 0.0 } else { NOISE };
        let mut caveats = caveats(before, after);
        let mut differences = Vec::new();
        for row in &before.rows {
            let Some(other) = after.rows.iter().find(|other| other.name == row.name) else {
                caveats.push(format!("row {:?} is in A only", row.name));
                continue;
            };
            for (what, good, of) in NUMBERS {
                let (Some(before), Some(after)) = (of(row), of(other)) else { continue };
                let mut difference =
                    Difference { row: row.name.clone(), what, before, after, change: Change::Same };
                let most = before.abs().max(after.abs());
                // A change that is printed as 0.0 % is none.
                let least = if before == 0.0 || after == 0.0 { 0.0 } else { PRINTED };
                if (after - before).abs() > tolerance.max(least) * most {
                    difference.change = match (good, after > before) {
                        (Good::Neither, _) => Change::Different,
                        (Good::High, true) | (Good::Low, false) => Change::Better,
                        (Good::High, false) | (Good::Low, true) => Change::Worse,
                    };
                }
                differences.push(difference);
            }
        }
        for row in &after.rows {
            if !before.rows.iter().any(|other| other.name == row.name) {
                caveats.push(format!("row {:?} is in B only", row.name));
            }
        }
        let unrelated = before.scenario != after.scenario || differences.is_empty();
        if unrelated {
            differences.clear();
        }
        Self { caveats, differences, tolerance, unrelated }
    }

    pub fn sentence(&self) -> String {
        if self.unrelated {
            return "A and B are unrelated runs: nothing of them can be compared.".to_owned();
        }
        let count = |change| self.differences.iter().filter(|d| d.change == change).count();
        let (better, worse) = (count(Change::Better), count(Change::Worse));
        if better + worse == 0 {
            let within = if self.tolerance > 0.0 {
                format!(" by more than {:.0} %", 100.0 * self.tolerance)
            } else {
                String::new()
            };
            return format!("B is no better and no worse than A{within}.");
        }
        let judged =
            self.differences.iter().filter(|d| matches!(d.change, Change::Better | Change::Worse));
        let most = judged.max_by(|a, b| a.size().total_cmp(&b.size()));
        let most = most.map_or_else(String::new, |most| {
            format!("; most of all {} of row {}: {}", most.what, most.row, most.change_text())
        });
        format!("Of B's numbers {better} are better than A's and {worse} are worse{most}.")
    }

    /// The comparison as text that ends with a line feed.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if !self.unrelated {
            let lines = self.told().map(|difference| {
                [
                    difference.row.clone(),
                    difference.what.to_owned(),
                    shown(difference.before),
                    shown(difference.after),
                    difference.change_text(),
                    difference.change.word().to_owned(),
                ]
            });
            out = text_table(["row", "what", "A", "B", "change", ""], lines, 2..5) + "\n\n";
        }
        for caveat in &self.caveats {
            let _ = writeln!(out, "note:    {caveat}");
        }
        let _ = writeln!(out, "{}", self.sentence());
        out
    }

    /// All but the numbers that are zero in both.
    pub(super) fn told(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|d| d.before != 0.0 || d.after != 0.0)
    }
}

fn caveats(before: &Results, after: &Results) -> Vec<String> {
    let mut caveats = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            caveats.push(format!("{what}: {a} in A, {b} in B"));
        }
    };
    differ("scenario", &before.scenario, &after.scenario);
    differ("clock", &before.clock, &after.clock);
    differ("seed", &before.seed.to_string(), &after.seed.to_string());
    let machine = |run: &Results| {
        let machine = &run.machine;
        let cpu = machine.cpu.as_deref().unwrap_or("unknown");
        format!("{} {} with {} of {cpu}", machine.os, machine.arch, machine.cpus)
    };
    differ("machine", &machine(before), &machine(after));
    let commit = |run: &Results| run.machine.commit.clone().unwrap_or_else(|| "unknown".to_owned());
    differ("commit", &commit(before), &commit(after));
    let profile = |run: &Results| run.cost_profile.clone().unwrap_or_else(|| "none".to_owned());
    differ("cost profile", &profile(before), &profile(after));
    let build = |run: &Results| if run.machine.optimised { "optimised" } else { "not optimised" };
    differ("build", build(before), build(after));
    for (name, run) in [("A", before), ("B", after)] {
        if run.partial {
            caveats.push(format!("{name} was broken off; its last row is not whole"));
        }
    }
    caveats
}

impl Difference {
    /// By what factor the two differ, as a logarithm without sign.
    fn size(&self) -> f64 {
        match (self.before, self.after) {
            (before, after) if before > 0.0 && after > 0.0 => (after / before).ln().abs(),
            // From or to nothing is more than any factor.
            _ => f64::MAX,
        }
    }

    pub fn change_text(&self) -> String {
        let Self { before, after, .. } = *self;
        if before == after {
            return "0 %".to_owned();
        }
        if before <= 0.0 || after <= 0.0 {
            return format!("{:+.0}", after - before);
        }
        let ratio = after / before;
        if (0.5..2.0).contains(&ratio) {
            return format!("{:+.1} %", 100.0 * (ratio - 1.0));
        }
        if ratio >= 2.0 { format!("x {ratio:.1}") } else { format!("/ {:.1}", 1.0 / ratio) }
    }
}

impl Change {
    /// In a word; empty if there is nothing to say.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "",
            Self::Different => "different",
        }
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1_000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::results, *};

    #[test]
    fn a_run_is_no_better_than_itself() {
        let comparison = Comparison::of(&results(), &results());
        assert!(comparison.caveats.is_empty());
        assert!(comparison.differences.iter().all(|d| d.change == Change::Same));
        assert_eq!(comparison.sentence(), "B is no better and no worse than A by more than 5 %.");
    }

    #[test]
    fn better_and_worse_depend_on_the_number() {
        let mut after = results();
        after.rows[1].handshakes_per_s = 1_000.0;
        after.rows[1].latency_ms.p99 = 1.5;
        after.rows[1].failed = 3;
        after.rows[1].ring_full = 9;
        let comparison = Comparison::of(&results(), &after);
        let change = |what: &str| {
            let of = |d: &&Difference| d.row == "async" && d.what == what;
            let found = comparison.differences.iter().find(of).expect("compared");
            (found.change, found.change_text())
        };
        assert_eq!(change("handshakes a second"), (Change::Worse, "/ 4.0".to_owned()));
        assert_eq!(change("p99 ms"), (Change::Better, "-25.0 %".to_owned()));
        assert_eq!(change("failed"), (Change::Worse, "+3".to_owned()));
        assert_eq!(change("full rings"), (Change::Different, "+9".to_owned()));
        assert_eq!(change("p50 ms").0, Change::Same);
        assert!(
            comparison
                .sentence()
                .starts_with("Of B's numbers 1 are better than A's and 2 are worse")
        );
    }

    #[test]
    fn noise_counts_in_virtual_time_only() {
        let (mut before, mut after) = (results(), results());
        after.rows[0].latency_ms.p50 *= 1.01;
        let worse = |before: &Results, after: &Results| {
            let comparison = Comparison::of(before, after);
            comparison.differences.iter().any(|d| d.change == Change::Worse)
        };
        assert!(!worse(&before, &after));
        before.clock = "virtual".to_owned();
        after.clock = "virtual".to_owned();
        assert!(worse(&before, &after));
    }

    #[test]
    fn a_change_that_is_printed_as_nothing_is_none() {
        let (mut before, mut after) = (results(), results());
        for run in [&mut before, &mut after] {
            run.clock = "virtual".to_owned();
        }
        after.rows[0].latency_ms.p50 *= 1.0002;
        let comparison = Comparison::of(&before, &after);
        assert!(comparison.differences.iter().all(|d| d.change == Change::Same));
    }

    #[test]
    fn unrelated_runs_are_not_compared() {
        let mut after = results();
        after.scenario = "hsm".to_owned();
        after.machine.commit = Some("cafe-dirty".to_owned());
        let comparison = Comparison::of(&results(), &after);
        assert!(comparison.unrelated && comparison.differences.is_empty());
        let text = comparison.text();
        assert!(text.contains("commit: 0123456789ab in A, cafe-dirty in B"), "{text}");
        assert!(text.ends_with("A and B are unrelated runs: nothing of them can be compared.\n"));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let mut after = results();
        after.scenario = "hsm".to_owned();
        after.partial = true;
        after.rows[0].name = "other".to_owned();
        let text = Comparison::of(&results(), &after).text();
        for note in [
            "scenario: offload-modes in A, hsm in B",
            "B was broken off",
            "row \"blocking\" is in A only",
            "row \"other\" is in B only",
        ] {
            assert!(text.contains(note), "{note} in {text}");
        }
    }
}
