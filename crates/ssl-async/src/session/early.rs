//! Early data: what a client sends before its handshake is done (TLS 1.3, resumed sessions).
//!
//! An attacker who has recorded it can send it again, any number of times (RFC 8446, section 8): it is for requests that do no harm
//! when they are carried out twice. So it has calls of its own, and never comes out of `read`.

use std::io::{self, Read, Write};

use crate::error::SslError;
use crate::outcome::Outcome;
use crate::session::Ssl;
use crate::session::calls::here;

/// What has come, for `read_early_data`. It is here and not with the connection, so that it can be read while the connection
/// is away in a parked packet.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    taken: usize,
}

impl Received {
    /// Where more is put.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
        &mut self.bytes
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        let left = &self.bytes[self.taken..];
        let n = left.len().min(into.len());
        into[..n].copy_from_slice(&left[..n]);
        self.taken += n;
        n
    }
}

impl<S: Read + Write> Ssl<S> {
    /// A client's: takes data to be sent with the hello (`SSL_write_early_data`), as much as the server allowed in an earlier
    /// session, and sends what the transport takes. Returns how much was taken; 0 if the server has allowed none or no more,
    /// on a server, and from when the handshake is too far for it. It needs `ClientConfig::enable_early_data`.
    ///
    /// A server may refuse all of it: once the handshake is done [`is_early_data_accepted`](Self::is_early_data_accepted)
    /// says so, and then send it again by [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn write_early_data(&mut self, data: &[u8]) -> Result<Outcome<usize>, SslError> {
        self.take_up()?;
        // None is left to be sent so: rustls calls that an error.
        let taken = match here!(self).write_early(data) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => 0,
            taken => taken?,
        };
        let _later_calls_send_the_rest = self.flush_here()?;
        Ok(Outcome::Ready(taken))
    }

    /// A server's: reads what the client sent before the handshake was done (`SSL_read_early_data`), and carries the handshake
    /// on until there is some. `Ready(0)` when there is no more, when the client has sent none or it was refused, for an empty
    /// buffer, and on a client. It needs `ServerConfig::max_early_data_size`, and rustls takes early data only where sessions
    /// are resumed from its `session_storage`, not by a ticketer.
    ///
    /// What has come is given also while the rest of the handshake is parked. What is never read goes with the session.
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; the session is over then.
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn read_early_data(&mut self, into: &mut [u8]) -> Result<Outcome<usize>, SslError> {
        self.take_up()?;
        loop {
            let n = self.early.read(into);
            if n > 0 || into.is_empty() || !here!(self).expects_early() {
                return Ok(Outcome::Ready(n));
            }
            let flushed = self.flush_here()?;
            if !self.fill_and_process()? {
                return Ok(if flushed { Outcome::WantRead } else { Outcome::WantWrite });
            }
        }
    }

    /// Whether the server took the client's early data (`SSL_get_early_data_status`): on a client whether it was taken, for
    /// certain once the handshake is done; on a server whether it takes what there may be. False as long as it is not known.
    pub fn is_early_data_accepted(&self) -> bool {
        self.is_early_accepted
    }
}
