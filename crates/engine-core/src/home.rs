//! Which process a value belongs to. Threads do not survive a fork: in the child there is only the one that forked.

use forkguard::Guard;

/// The process that a value was made in, for values that rely on threads.
///
/// In a child made by `fork` those threads do not exist, and a lock may be held by one of them for ever. So a value that
/// relies on threads checks [`is_here`](Self::is_here) before it takes a lock or waits, reports an error when it is used,
/// and leaks its threads instead of joining them when it is dropped.
#[derive(Clone, Debug)]
pub struct HomeProcess(Guard);

impl HomeProcess {
    /// The process that runs this.
    pub fn current() -> Self {
        Self(forkguard::new())
    }

    /// Whether this is still that process. Costs one load: `fork` counts itself in the child. A child that was made by
    /// the bare system call `clone` is not noticed.
    pub fn is_here(&self) -> bool {
        !self.0.clone().detected_fork()
    }
}

/// The error text of a device that is used in another process than its own.
pub const MADE_ELSEWHERE: &str =
    "it was made in another process, and its threads are not in this one: make it after the fork";
