//! The document of a swarm.

use serde::{Deserialize, Serialize};

use lab_report::{LawReport, Machine, laws_line};

pub(super) const SCHEMA: &str = "layby.swarm/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmReport {
    pub schema: String,
    pub machine: Machine,
    pub scenario: String,
    /// The cost profile that TLS was charged from.
    pub cost_profile: String,
    pub from: u64,
    /// Seeds run, each of them twice.
    pub seeds: u64,
    pub real_tls_seeds: u64,
    /// Seeds whose handshakes were parked by replay.
    #[serde(default)]
    pub replay_seeds: u64,
    /// Handshakes begun in the first runs.
    pub handshakes: u64,
    /// Faults that have struck in the first runs.
    pub faults: u64,
    /// Clients that hung up and sessions that the server gave up in the first runs.
    pub cancels: u64,
    pub failures: Vec<Failure>,
    /// Whether it was interrupted before its last seed.
    #[serde(default)]
    pub partial: bool,
    /// Threads that ran them.
    #[serde(default)]
    pub threads: usize,
    /// Seeds for each second of real time, all threads together.
    pub seeds_per_s: f64,
    pub laws: Vec<LawReport>,
    /// Seeds that were asked for and not run, because the swarm ended before them.
    #[serde(default)]
    pub not_run: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub seed: u64,
    pub law: String,
    pub detail: String,
}

impl SwarmReport {
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    /// The report as text that ends with a line feed.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        for failure in &self.failures {
            let Failure { seed, law, detail } = failure;
            let again = self.command(&format!("--from {seed} --seeds 1"));
            let _ = writeln!(out, "seed {seed} broke {law}: {detail}\n  {again}");
        }
        let _ = writeln!(
            out,
            "{} seeds, each run twice ({} with real TLS, {} by replay): {} handshakes, {} faults, {} cancels; {:.0} seeds a second on {}",
            self.seeds,
            self.real_tls_seeds,
            self.replay_seeds,
            self.handshakes,
            self.faults,
            self.cancels,
            self.seeds_per_s,
            self.on()
        );
        let _ = writeln!(out, "{}\n{}", laws_line(&self.laws), self.sentence());
        if self.not_run > 0 && !self.partial {
            let _ = writeln!(
                out,
                "{} seeds were not run: {} that broke a law are enough; --json-lines runs all.",
                self.not_run,
                self.bad_seeds()
            );
        }
        if self.is_good() {
            let _ = writeln!(
                out,
                "next:    {}",
                self.command(&format!("--from {}", self.from + self.seeds))
            );
        }
        out
    }

    /// Its threads in words.
    pub fn on(&self) -> String {
        match self.threads {
            1 => "one thread".to_owned(),
            threads => format!("{threads} threads"),
        }
    }

    fn bad_seeds(&self) -> usize {
        let mut bad: Vec<u64> = self.failures.iter().map(|failure| failure.seed).collect();
        bad.dedup();
        bad.len()
    }

    pub fn sentence(&self) -> String {
        match (self.bad_seeds(), self.partial) {
            (0, false) => "No seed broke a law.".to_owned(),
            (0, true) => {
                format!("Broken off after {} seeds; nothing was wrong until then.", self.seeds)
            }
            (bad, _) => format!("{bad} of {} seeds broke a law.", self.seeds),
        }
    }

    /// The command that runs the swarm with these arguments, and with the bug that was planted.
    pub(crate) fn command(&self, arguments: &str) -> String {
        let plant = self.planted.as_ref().map(|bug| format!(" --plant {bug}")).unwrap_or_default();
        format!("cargo xtask sim swarm {arguments}{plant}")
    }
}
