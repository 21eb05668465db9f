//! The document of a swarm.

use serde::{Deserialize, Serialize};

use lab_report::{LawReport, Machine, laws_line};

/// Names the shape of the document.
pub(super) const SCHEMA: &str = "layby.swarm/1";

/// What came of a swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmReport {
    /// `layby.swarm/1`.
    pub schema: String,
    /// Where it ran.
    pub machine: Machine,
    /// `swarm`, or the name of the file.
    pub scenario: String,
    /// The cost profile that TLS was charged from.
    pub cost_profile: String,
    /// The first seed.
    pub from: u64,
    /// Seeds run, each of them twice.
    pub seeds: u64,
    /// Those of them with real TLS.
    pub real_tls_seeds: u64,
    /// Handshakes begun in the first runs.
    pub handshakes: u64,
    /// Faults that have struck in the first runs.
    pub faults: u64,
    /// Clients that hung up and sessions that the server gave up in the first runs.
    pub cancels: u64,
    /// What went wrong, by seed.
    pub failures: Vec<Failure>,
    /// Whether it was broken off before its last seed.
    #[serde(default)]
    pub partial: bool,
    /// Threads that ran them.
    #[serde(default)]
    pub threads: usize,
    /// Seeds for each second of real time, all threads together.
    pub seeds_per_s: f64,
    /// The laws that were checked.
    pub laws: Vec<LawReport>,
}

/// A law broken by a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The law.
    pub law: String,
    /// What was seen.
    pub detail: String,
}

impl Failure {
    /// The command that runs the seed again.
    #[must_use]
    pub fn replay(&self) -> String {
        format!("cargo xtask sim swarm --from {} --seeds 1", self.seed)
    }
}

impl SwarmReport {
    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    /// The report as text that ends with a line feed.
    #[must_use]
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        for failure in &self.failures {
            let Failure { seed, law, detail } = failure;
            let _ = writeln!(out, "seed {seed} broke {law}: {detail}\n  {}", failure.replay());
        }
        let _ = writeln!(
            out,
            "{} seeds, each run twice ({} with real TLS): {} handshakes, {} faults, {} cancels; {:.0} seeds a second on {}",
            self.seeds,
            self.real_tls_seeds,
            self.handshakes,
            self.faults,
            self.cancels,
            self.seeds_per_s,
            self.on()
        );
        let _ = writeln!(out, "{}\n{}", laws_line(&self.laws), self.sentence());
        if self.is_good() {
            let _ = writeln!(out, "next:    {}", self.next());
        }
        out
    }

    /// Its threads in words.
    #[must_use]
    pub fn on(&self) -> String {
        match self.threads {
            1 => "one thread".to_owned(),
            threads => format!("{threads} threads"),
        }
    }

    /// The verdict in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut bad: Vec<u64> = self.failures.iter().map(|failure| failure.seed).collect();
        bad.dedup();
        match (bad.len(), self.partial) {
            (0, false) => "No seed broke a law.".to_owned(),
            (0, true) => {
                format!("Broken off after {} seeds; nothing was wrong until then.", self.seeds)
            }
            (bad, _) => format!("{bad} of {} seeds broke a law.", self.seeds),
        }
    }

    /// What to try after a swarm that was good: the seeds behind the last.
    fn next(&self) -> String {
        format!("cargo xtask sim swarm --from {}", self.from + self.seeds)
    }
}
