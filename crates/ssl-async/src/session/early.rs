//! Early data: what a client sends before its handshake is done (TLS 1.3, resumed sessions).
//!
//! An attacker who has recorded it can replay it any number of times (RFC 8446, section 8): use it only for requests that
//! may be carried out twice. So it has calls of its own, and `read` never returns it.

use std::io::{self, Read, Write};

use crate::error::SslError;
use crate::outcome::Outcome;
use crate::session::Ssl;
use crate::session::machine::ready;
use crate::session::state::State;

impl<S: Read + Write> Ssl<S> {
    /// On a client, takes data to send with the hello (`SSL_write_early_data`), as much as the server allowed in an earlier
    /// session, and sends what the transport takes. Returns how much was taken: 0 if the server has allowed none or no
    /// more, on a server, and once the handshake is too far for it. Needs `ClientConfig::enable_early_data`.
    ///
    /// A server may refuse all of it: [`is_early_data_accepted`](Self::is_early_data_accepted) says so once the handshake
    /// is done. Then send it again by [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn write_early_data(&mut self, data: &[u8]) -> Result<Outcome<usize>, SslError> {
        self.resume()?;
        if matches!(self.state, State::Replaying(_)) {
            return Ok(Outcome::Ready(0));
        }
        let taken = match ready!(self.tls()).write_early(data) {
            // rustls's answer when the allowance is used up.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => 0,
            taken => taken?,
        };
        let _later_calls_send_the_rest = self.flush_output()?;
        Ok(Outcome::Ready(taken))
    }

    /// On a server, reads what the client sent before the handshake was done (`SSL_read_early_data`), and advances the
    /// handshake until there is some. `Ready(0)` when there is no more, when the client has sent none or it was refused,
    /// for an empty buffer, and on a client. Needs `ServerConfig::max_early_data_size`, and rustls takes early data only
    /// where sessions are resumed from its `session_storage`, not by a ticketer.
    ///
    /// Returns data also while the rest of the handshake is parked. Unread data is dropped with the session.
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; the session is over then.
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn read_early_data(&mut self, into: &mut [u8]) -> Result<Outcome<usize>, SslError> {
        self.resume()?;
        self.hear()?;
        loop {
            let n = self.progress.early.read(into);
            if n > 0 || into.is_empty() || !ready!(self.tls()).expects_early() {
                return Ok(Outcome::Ready(n));
            }
            let flushed = self.flush_output()?;
            if !self.fill_and_process()? {
                return Ok(if flushed { Outcome::WantRead } else { Outcome::WantWrite });
            }
        }
    }

    /// Whether the server accepted the client's early data (`SSL_get_early_data_status`): on a client whether it was
    /// accepted, final once the handshake is done; on a server whether it accepts what the client may send. False as long
    /// as it is not known.
    pub fn is_early_data_accepted(&self) -> bool {
        self.progress.is_early_accepted
    }
}
