//! One seed as one line of JSON; the lines of several shards can be put together in any order.

use serde::{Deserialize, Serialize};

use super::report::{Failure, SwarmReport};
use lab_report::LawReport;

const SCHEMA: &str = "layby.seed/1";

/// The result of one seed, run twice. It depends neither on the machine nor on the seeds before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedLine {
    pub schema: String,
    pub seed: u64,
    pub real_tls: bool,
    /// Whether handshakes were parked by replay.
    #[serde(default)]
    pub replay: bool,
    /// Handshakes begun in the first run.
    pub handshakes: u64,
    /// Faults that have struck in it.
    pub faults: u64,
    /// Clients that hung up in it and sessions that the server gave up.
    pub cancels: u64,
    pub trace_sha256: String,
    pub failures: Vec<Failure>,
    pub laws: Vec<LawReport>,
}

impl SeedLine {
    pub(super) fn new(seed: u64, real_tls: bool, laws: Vec<LawReport>) -> Self {
        let failures = laws.iter().filter_map(|law| {
            let detail = law.detail.clone()?;
            Some(Failure { seed, law: law.law.clone(), detail })
        });
        Self {
            schema: SCHEMA.to_owned(),
            seed,
            real_tls,
            replay: false,
            handshakes: 0,
            faults: 0,
            cancels: 0,
            trace_sha256: String::new(),
            failures: failures.collect(),
            laws,
        }
    }

    pub fn is_bad(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl SwarmReport {
    /// Adds a seed. Laws stay in the order of their numbers.
    pub(super) fn take(&mut self, line: &SeedLine) {
        self.seeds += 1;
        self.real_tls_seeds += u64::from(line.real_tls);
        self.replay_seeds += u64::from(line.replay);
        self.handshakes += line.handshakes;
        self.faults += line.faults;
        self.cancels += line.cancels;
        self.failures.extend(line.failures.iter().cloned());
        for law in &line.laws {
            match self.laws.iter_mut().find(|whole| whole.law == law.law) {
                Some(whole) => {
                    whole.checked += law.checked;
                    whole.held &= law.held;
                }
                None => self.laws.push(LawReport { detail: None, ..law.clone() }),
            }
        }
        self.laws.sort_by_key(|law| law.law[1..].parse::<u8>().unwrap_or(u8::MAX));
    }
}
