//! A client's early data: sent with the hello as far as the server allows, else behind the handshake, once.

use crate::rustls23::Tls;

/// Data, and how far it is.
#[derive(Default)]
pub(crate) struct EarlyData {
    data: Vec<u8>,
    /// How much went with the hello.
    with_hello: usize,
    /// How much of `data` is done with; known once the server has said whether it took the early part.
    behind: Option<usize>,
    offered: bool,
}

impl EarlyData {
    pub(crate) fn new(data: Vec<u8>) -> Self {
        Self { data, ..Self::default() }
    }

    /// Called whenever the connection comes back from a packet; only the first one is before the hello leaves.
    pub(crate) fn send_with_hello(&mut self, tls: &mut Tls) {
        if self.offered || self.data.is_empty() {
            return;
        }
        self.offered = true;
        while self.with_hello < self.data.len() {
            match tls.write_early(&self.data[self.with_hello..]) {
                // As much as is allowed, or none.
                Ok(0) | Err(_) => return,
                Ok(n) => self.with_hello += n,
            }
        }
    }

    /// Hands what the server did not take to the connection, as much as its buffer holds.
    pub(crate) fn send_behind(&mut self, tls: &mut Tls) {
        let accepted = tls.is_early_data_accepted();
        let sent = self.behind.get_or_insert(if accepted { self.with_hello } else { 0 });
        // A write that takes nothing found the buffer full: it is sent first.
        while *sent < self.data.len() {
            match tls.write(&self.data[*sent..]) {
                Ok(0) | Err(_) => return,
                Ok(n) => *sent += n,
            }
        }
    }

    /// Whether all of it was handed to the connection.
    pub(crate) fn is_sent(&self) -> bool {
        self.behind.unwrap_or(0) == self.data.len()
    }
}
