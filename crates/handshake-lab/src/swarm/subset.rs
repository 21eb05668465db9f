//! The part of a seed's plan that is kept, and the file that holds it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::stepped::{ConnectionPlan, MOST_WORKERS, SeedPlan};

/// The part of a seed's plan that is kept; by default all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeedSubset {
    /// Numbers of the connections that are kept, from 0; `None` for all.
    pub connections: Option<Vec<usize>>,
    /// Numbers of the fault rules that are kept, from 0 over all devices; `None` for all.
    pub faults: Option<Vec<usize>>,
    /// Whether no client hangs up and no session is given up, whatever the seed says.
    pub stays_connected: bool,
    /// The number of event loops; `None` for that of the seed.
    pub workers: Option<usize>,
}

/// A seed with the part of its plan that is kept, as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedFile {
    pub seed: u64,
    /// The part of its plan that is kept.
    #[serde(default)]
    pub keep: SeedSubset,
}

/// A file that does not hold a seed; one line with the file, the reason and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed file {file}: {reason}; give one that the swarm has written")]
pub struct SeedFileError {
    file: String,
    reason: String,
}

impl SeedFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`SeedFileError`], if it cannot be read, is no TOML, has unknown keys, or more workers than a seed can have.
    pub fn read(path: &Path) -> Result<Self, SeedFileError> {
        let refuse = |reason: String| SeedFileError { file: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let file: Self =
            toml::from_str(&text).map_err(|error| refuse(error.message().replace('\n', ", ")))?;
        match file.keep.workers {
            Some(workers) if !(1..=MOST_WORKERS).contains(&workers) => {
                Err(refuse(format!("keep.workers = {workers}: not 1 to {MOST_WORKERS}")))
            }
            _ => Ok(file),
        }
    }
}

impl SeedSubset {
    /// The part of `plan` that is kept.
    pub fn of(&self, mut plan: SeedPlan) -> SeedPlan {
        let is_kept = |list: &Option<Vec<usize>>, number: usize| {
            list.as_ref().is_none_or(|list| list.contains(&number))
        };
        let mut numbers = 0..;
        plan.connections.retain(|_| is_kept(&self.connections, numbers.next().unwrap_or_default()));
        let mut numbers = 0..;
        for device in &mut plan.devices {
            device
                .faults
                .rules
                .retain(|_| is_kept(&self.faults, numbers.next().unwrap_or_default()));
        }
        if self.stays_connected {
            for connection in &mut plan.connections {
                *connection = ConnectionPlan { at: connection.at, ..ConnectionPlan::default() };
            }
        }
        plan.workers = self.workers.unwrap_or(plan.workers);
        plan
    }
}
