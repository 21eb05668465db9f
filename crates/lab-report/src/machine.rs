//! The machine and the build of a run: enough to know which results may be compared.

use serde::{Deserialize, Serialize};

/// A machine as its results name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The commit that the program was built from, as `git describe --always --dirty` names it; null if it was built
    /// without git or outside a checkout.
    #[serde(default)]
    pub commit: Option<String>,
}

impl Machine {
    /// This machine, with a program that was built from `commit`.
    #[must_use]
    pub fn this(commit: Option<&str>) -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu_name(),
            optimised: !cfg!(debug_assertions),
            commit: commit.map(str::to_owned),
        }
    }
}

/// The first `model name` in `/proc/cpuinfo`, which only Linux has.
fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
