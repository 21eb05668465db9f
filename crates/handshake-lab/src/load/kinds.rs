//! Completed and failed handshakes by kind of connection.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::scenario::ConnectionKind;

/// Handshakes by their kind. One whose resumption the server declined counts as the full handshake that it was.
#[derive(Debug, Clone, Default)]
pub struct ByKind(BTreeMap<ConnectionKind, KindCount>);

#[derive(Debug, Clone)]
pub struct KindCount {
    pub handshakes: u64,
    pub failed: u64,
    /// Latencies of the completed ones, in microseconds.
    pub latency_us: Histogram<u64>,
}

impl Default for KindCount {
    fn default() -> Self {
        let latency_us = Histogram::new(3).expect("three digits are in range");
        Self { handshakes: 0, failed: 0, latency_us }
    }
}

impl ByKind {
    /// One is complete, after so long if that is of interest.
    pub fn done(&mut self, kind: ConnectionKind, took: Option<Duration>) {
        let count = self.0.entry(kind).or_default();
        count.handshakes += 1;
        if let Some(took) = took {
            // Fails only for histograms of a fixed size.
            let _ = count.latency_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
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
