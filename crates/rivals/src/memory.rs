//! Memory of this process, as the kernel counts it.

use std::fs;

use crate::Problem;

/// The kernel's stack of a thread, on x86-64 and aarch64.
const KERNEL_STACK: usize = 16 * 1024;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    bytes: f64,
}

impl Resident {
    /// Resident memory, page tables, and the kernel's stacks of its threads.
    pub(crate) fn now() -> Result<Self, Problem> {
        let status = fs::read_to_string("/proc/self/status")?;
        let kibibytes = number(&status, "VmRSS:")? + number(&status, "VmPTE:")?;
        let stacks = number(&status, "Threads:")? * KERNEL_STACK;
        Ok(Self { bytes: (kibibytes * 1024 + stacks) as f64 })
    }

    pub(crate) fn since(self, before: Self) -> f64 {
        (self.bytes - before.bytes).max(0.0)
    }
}

/// Threads of this process.
pub(crate) fn threads() -> Result<usize, Problem> {
    number(&fs::read_to_string("/proc/self/status")?, "Threads:")
}

fn number(status: &str, name: &str) -> Result<usize, Problem> {
    let line = status.lines().find(|line| line.starts_with(name));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(word.ok_or_else(|| format!("/proc/self/status has no {name}"))?.parse()?)
}
