//! Counts of wakes by callback (law L4).

/// How the sessions of a run were called back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    pub begun: u64,
    /// Of those, after the callback had been taken away.
    pub after_unset: u64,
    /// Calls that gave `Again` for a completion, or another status for a retry.
    pub misinformed: u64,
    /// Those that ran on the stack of a job.
    pub on_job_stack: u64,
}
