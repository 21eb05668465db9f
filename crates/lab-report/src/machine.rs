//! The machine that a run was made on: enough to know which results may be compared.

use serde::{Deserialize, Serialize};

/// A machine as its results name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system, as Rust calls it.
    pub os: String,
    /// Processor architecture, as Rust calls it.
    pub arch: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// The processor's name, where the system tells.
    pub cpu: Option<String>,
    /// Whether the program was built with optimisations.
    pub optimised: bool,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu_name(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

/// Linux tells in `/proc/cpuinfo`; elsewhere nobody is asked.
fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
