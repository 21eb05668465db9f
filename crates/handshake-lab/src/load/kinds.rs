//! Completed and failed handshakes by kind of connection.

use std::{collections::BTreeMap, time::Duration};

use lab_report::recording::DurationHistogram;

use crate::scenario::ConnectionKind;

/// Handshakes by their kind. One whose resumption the server declined counts as the full handshake that it was.
#[derive(Debug, Clone, Default)]
pub struct ByKind(BTreeMap<ConnectionKind, KindCount>);

#[derive(Debug, Clone, Default)]
pub struct KindCount {
    pub handshakes: u64,
    pub failed: u64,
    /// Of the completed ones.
    pub latency: DurationHistogram,
}

impl ByKind {
    /// One is complete, after so long if that is of interest.
    pub fn done(&mut self, kind: ConnectionKind, took: Option<Duration>) {
        let count = self.0.entry(kind).or_default();
        count.handshakes += 1;
        if let Some(took) = took {
            count.latency.record(took);
        }
    }

    pub fn failed(&mut self, kind: ConnectionKind) {
        self.0.entry(kind).or_default().failed += 1;
    }

    /// Complete ones that resumed a session, so that nothing was signed for them.
    pub fn resumed(&self) -> u64 {
        self.iter().filter(|(kind, _)| kind.resumed).map(|(_, count)| count.handshakes).sum()
    }

    /// All kinds there were, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ConnectionKind, &KindCount)> {
        self.0.iter()
    }
}
