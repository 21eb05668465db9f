//! Which process a value belongs to. Threads do not survive a fork: in the child there is only the one that forked.

use std::process;

/// The process that a value was made in, for values that rely on threads.
///
/// In a child made by `fork` those threads do not exist, and a lock may be held by one of them for ever. So a value that
/// relies on threads checks [`is_here`](Self::is_here) before it takes a lock or waits, reports an error when it is used,
/// and leaks its threads instead of joining them when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeProcess {
    id: u32,
}

impl HomeProcess {
    /// The process that runs this.
    pub fn current() -> Self {
        Self { id: process::id() }
    }

    /// Whether this is still that process. Costs one system call of about 100 ns.
    pub fn is_here(self) -> bool {
        self.id == process::id()
    }
}

/// The error text of a device that is used in another process than its own.
pub const MADE_ELSEWHERE: &str =
    "it was made in another process, and its threads are not in this one: make it after the fork";
