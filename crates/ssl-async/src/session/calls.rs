//! The calls that advance the session. Each resumes a parked packet first.

use core::time::Duration;
use std::io::{self, Read, Write};

use crate::error::{ClosedDuring, SslError};
use crate::outcome::Outcome;
use crate::records::CLOSE_NOTIFY;
use crate::rustls23::{Tls, TlsError};
use crate::session::Ssl;
use crate::session::machine::ready;
use crate::session::state::State;

impl<S: Read + Write> Ssl<S> {
    /// Advances the handshake as far as it goes (`SSL_do_handshake`).
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; the session is over then.
    ///
    /// # Panics
    ///
    /// With the panic of a hook in the session's job; the session is over then.
    pub fn do_handshake(&mut self) -> Result<Outcome<()>, SslError> {
        self.resume()?;
        self.hear()?;
        loop {
            let handshaking = ready!(self.tls()).is_handshaking();
            let flushed = self.flush_output()?;
            if !handshaking {
                return Ok(if flushed { Outcome::Ready(()) } else { Outcome::WantWrite });
            }
            // A transport that takes no more now does not keep the peer's bytes from being read.
            if !self.fill_and_process()? {
                return Ok(if flushed { Outcome::WantRead } else { Outcome::WantWrite });
            }
        }
    }

    /// Reads plaintext (`SSL_read`); completes the handshake first. `Ready(0)` after the peer's `close_notify`, and for
    /// an empty buffer.
    ///
    /// [`Outcome::WantWrite`] while a record of the handshake waits for the transport; data that [`write`](Self::write) has
    /// taken does not keep a read from [`Outcome::WantRead`].
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; [`SslError::PeerClosed`] if the transport ended without `close_notify`. Good data that came before
    /// an error is read first.
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn read(&mut self, into: &mut [u8]) -> Result<Outcome<usize>, SslError> {
        self.receive(|tls| tls.read(into))
    }

    /// As [`read`](Self::read), but leaves the plaintext for the next call (`SSL_peek`).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn peek(&mut self, into: &mut [u8]) -> Result<Outcome<usize>, SslError> {
        self.receive(|tls| tls.peek(into))
    }

    fn receive(
        &mut self,
        mut take: impl FnMut(&mut Tls) -> io::Result<usize>,
    ) -> Result<Outcome<usize>, SslError> {
        self.resume()?;
        self.hear()?;
        loop {
            let taken = take(ready!(self.tls()));
            if taken.is_err()
                && let Some(error) = self.progress.broken_by.take()
            {
                return Err(self.fail(*error));
            }
            match taken {
                Ok(n) => return Ok(Outcome::Ready(n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.fail(SslError::PeerClosed(ClosedDuring::Data)));
                }
                Err(error) => return Err(self.fail(error.into())),
            }
            // A full send buffer does not keep the peer's data from being read.
            let flushed = self.flush_before_read()?;
            if !self.fill_and_process()? {
                // The peer waits for the rest of our flight before it sends anything.
                let stuck = !flushed && (self.is_handshaking() || self.progress.flight_unsent);
                return Ok(if stuck { Outcome::WantWrite } else { Outcome::WantRead });
            }
        }
    }

    /// Takes plaintext to send (`SSL_write`); completes the handshake first. Returns how much was taken. Taken data that the
    /// transport has no room for is sent by later calls of any kind, or by [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; [`SslError::ShutDown`] after [`shutdown`](Self::shutdown), and then the session goes on.
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn write(&mut self, data: &[u8]) -> Result<Outcome<usize>, SslError> {
        if self.is_handshaking() {
            ready!(self.do_handshake());
        } else {
            self.resume()?;
        }
        let shut_down = self.progress.shut_down;
        // Nothing is sent over a broken connection; a caller that writes before it reads gets the error here.
        if let Some(error) = self.progress.broken_by.take() {
            return Err(self.fail(*error));
        }
        let tls = ready!(self.tls());
        // The peer reads nothing behind our `close_notify`.
        if shut_down {
            return Err(SslError::ShutDown);
        }
        let taken = tls.write(data)?;
        let flushed = self.flush_output()?;
        // The buffer is full of data that has not left yet.
        if taken == 0 && !data.is_empty() && !flushed {
            return Ok(Outcome::WantWrite);
        }
        Ok(Outcome::Ready(taken))
    }

    /// Sends what [`write`](Self::write) has taken.
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    pub fn flush(&mut self) -> Result<Outcome<()>, SslError> {
        self.resume()?;
        if !matches!(self.state, State::Replaying(_)) {
            let _tls = ready!(self.tls());
        }
        self.flushed()
    }

    /// Sends `close_notify` (`SSL_shutdown`). The peer's own is seen by [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    pub fn shutdown(&mut self) -> Result<Outcome<()>, SslError> {
        self.resume()?;
        // A client whose hello is not whole yet is told too, which needs a connection.
        self.leave_replay()?;
        if let State::Replaying(replay) = &mut self.state {
            // The client was asked for another hello, so there is no connection; nothing is encrypted yet.
            if !self.progress.shut_down {
                replay.output().extend_from_slice(&CLOSE_NOTIFY);
                self.progress.shut_down = true;
            }
            return self.flushed();
        }
        ready!(self.tls()).send_close_notify();
        self.progress.shut_down = true;
        self.flushed()
    }

    /// Changes the keys for sending, and asks the peer to do likewise (`SSL_key_update`). TLS 1.3 only, after the
    /// handshake.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the connection cannot; it goes on nevertheless. Any [`SslError`] that ended the session.
    pub fn key_update(&mut self) -> Result<Outcome<()>, SslError> {
        self.resume()?;
        if matches!(self.state, State::Replaying(_)) {
            return Err(SslError::Tls(TlsError::HandshakeNotComplete));
        }
        ready!(self.tls()).refresh_traffic_keys().map_err(SslError::Tls)?;
        self.flushed()
    }

    fn flushed(&mut self) -> Result<Outcome<()>, SslError> {
        Ok(if self.flush_output()? { Outcome::Ready(()) } else { Outcome::WantWrite })
    }

    /// Ends a session whose handshake has taken longer than `limit` by the caller's clock; a session has none of its own.
    /// Cancels a parked packet, and tells the peer as far as the transport takes it now: `internal_error`, or
    /// `close_notify` once the peer expects records that only rustls can encrypt. Returns the error of every later call,
    /// [`SslError::TimedOut`] or an earlier one.
    ///
    /// Ends an established session abruptly; [`shutdown`](Self::shutdown) is the usual way.
    pub fn time_out(&mut self, limit: Duration) -> SslError {
        self.give_up(SslError::TimedOut(limit))
    }
}
