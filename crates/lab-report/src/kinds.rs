//! The handshakes of a row by the kind of their connections.

use serde::{Deserialize, Serialize};

use super::latency::LatencyMs;

/// The handshakes of one kind in a row of a mix.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KindReport {
    pub key: String,
    /// `1.2` or `1.3`.
    pub tls: String,
    /// Whether sessions were resumed, so that nothing was signed.
    pub resumed: bool,
    pub handshakes: u64,
    pub failed: u64,
    /// From opening the connection to the end of the handshake, seen by the client.
    pub latency_ms: LatencyMs,
}

impl KindReport {
    pub fn name(&self) -> String {
        let resumed = if self.resumed { ", resumed" } else { "" };
        format!("TLS {} {}{resumed}", self.tls, self.key)
    }
}
