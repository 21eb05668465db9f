//! The contract between an operation and the engine, until engine-core publishes it.

use std::fmt;

/// What queues, counters and service units are kept per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(&'static str);

impl Kind {
    /// Names a kind.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A result that failed its check, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckFailed(pub &'static str);

/// Work an engine can carry.
pub trait Work: Send + 'static {
    /// What comes back.
    type Output: Send + 'static;
    /// The kind of this work.
    fn kind(&self) -> Kind;
    /// The whole verification of a result.
    fn check(&self, output: &Self::Output) -> Result<(), CheckFailed>;
    /// Whether the check may not be left out.
    fn must_check(&self) -> bool {
        false
    }
    /// Disposes of a result nobody wants.
    fn erase(output: Self::Output)
    where
        Self: Sized,
    {
        drop(output)
    }
}
