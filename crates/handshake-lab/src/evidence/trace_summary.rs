//! The hash of a trace in virtual time.

use aws_lc_rs::digest::{Context, SHA256};

/// A trace that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceSummary {
    pub events: u64,
    /// SHA-256 over all of them.
    pub sha256: [u8; 32],
}

impl TraceSummary {
    /// The summary of several traces, one after the other.
    #[must_use]
    pub fn of_all(traces: &[Self]) -> Self {
        let mut whole = Context::new(&SHA256);
        for trace in traces {
            whole.update(&trace.sha256);
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(whole.finish().as_ref());
        Self { events: traces.iter().map(|trace| trace.events).sum(), sha256 }
    }

    /// The hash in hexadecimal.
    pub fn hex(&self) -> String {
        use std::fmt::Write as _;
        self.sha256.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
