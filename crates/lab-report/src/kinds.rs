//! The handshakes of a row by the kind of their connections.

use serde::{Deserialize, Serialize};

use super::latency::LatencyMs;

/// The handshakes of one kind in a row of a mix.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KindReport {
    /// The type of the server's key.
    pub key: String,
    /// `1.2` or `1.3`.
    pub tls: String,
    /// Whether sessions were resumed, so that nothing was signed.
    pub resumed: bool,
    /// Handshakes that both sides completed.
    pub handshakes: u64,
    /// Handshakes that failed.
    pub failed: u64,
    /// From opening the connection to the end of the handshake, seen by the client.
    pub latency_ms: LatencyMs,
}

impl KindReport {
    /// The kind in words.
    #[must_use]
    pub fn name(&self) -> String {
        let resumed = if self.resumed { ", resumed" } else { "" };
        format!("TLS {} {}{resumed}", self.tls, self.key)
    }
}
