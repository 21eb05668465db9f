//! A client's early data: each byte is sent once, with the hello if the server accepts it, else after the handshake.

use crate::rustls23::Tls;

/// Early data, and how much of it was sent.
#[derive(Default)]
pub(crate) struct EarlyData {
    data: Vec<u8>,
    /// Bytes sent with the hello.
    with_hello: usize,
    /// Bytes sent in all that the server accepted. `None` until it has accepted or rejected those with the hello.
    delivered: Option<usize>,
    offered: bool,
}

impl EarlyData {
    pub(crate) fn new(data: Vec<u8>) -> Self {
        Self { data, ..Self::default() }
    }

    /// Called after each packet. Only the first call precedes the sending of the hello and has an effect.
    pub(crate) fn send_with_hello(&mut self, tls: &mut Tls) {
        if self.offered || self.data.is_empty() {
            return;
        }
        self.offered = true;
        while self.with_hello < self.data.len() {
            match tls.write_early(&self.data[self.with_hello..]) {
                // The rest is more than is allowed.
                Ok(0) | Err(_) => return,
                Ok(n) => self.with_hello += n,
            }
        }
    }

    /// Writes data that the server did not accept, as much as the connection's buffer holds.
    pub(crate) fn send_after_handshake(&mut self, tls: &mut Tls) {
        let accepted = tls.is_early_data_accepted();
        let sent = self.delivered.get_or_insert(if accepted { self.with_hello } else { 0 });
        // A write of zero bytes: the buffer is full and must be sent first.
        while *sent < self.data.len() {
            match tls.write(&self.data[*sent..]) {
                Ok(0) | Err(_) => return,
                Ok(n) => *sent += n,
            }
        }
    }

    /// Whether all data was written to the connection.
    pub(crate) fn is_sent(&self) -> bool {
        self.delivered.unwrap_or(0) == self.data.len()
    }
}
