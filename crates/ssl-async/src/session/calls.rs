//! The calls that move the session on. Each takes up a parked packet first.

use core::time::Duration;
use std::io::{self, Read, Write};

use crate::error::{ClosedDuring, SslError};
use crate::outcome::Outcome;
use crate::rustls23::Tls;
use crate::session::Ssl;

/// The connection; else the caller waits until it is back.
macro_rules! here {
    ($self:ident) => {
        match $self.here()? {
            $crate::session::machine::Here::Tls(tls) => tls,
            $crate::session::machine::Here::WantAsync => return Ok(Outcome::WantAsync),
            $crate::session::machine::Here::WantAsyncJob => return Ok(Outcome::WantAsyncJob),
            $crate::session::machine::Here::WantWrite => return Ok(Outcome::WantWrite),
        }
    };
}
pub(super) use here;

impl<S: Read + Write> Ssl<S> {
    /// Carries the handshake on as far as it goes (`SSL_do_handshake`).
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; the session is over then.
    ///
    /// # Panics
    ///
    /// A panic in the session's job is handed on (law L10); the session is over then.
    pub fn do_handshake(&mut self) -> Result<Outcome<()>, SslError> {
        self.take_up()?;
        loop {
            let handshaking = here!(self).is_handshaking();
            let flushed = self.flush_here()?;
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
    /// # Errors
    ///
    /// Any [`SslError`]; [`SslError::PeerClosed`] if the transport ended without `close_notify`. Good data that came before
    /// what breaks the connection is read first.
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
        self.take_up()?;
        loop {
            let taken = take(here!(self));
            if taken.is_err()
                && let Some(error) = self.broken_by.take()
            {
                return Err(self.fail(error));
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
            self.flush_before_read()?;
            if !self.fill_and_process()? {
                return Ok(Outcome::WantRead);
            }
        }
    }

    /// Takes plaintext to be sent (`SSL_write`); completes the handshake first. Returns how much was taken: what could
    /// not be sent at once is sent by later calls of any kind, or by [`flush`](Self::flush).
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
            let outcome = self.do_handshake()?;
            if !outcome.is_ready() {
                return Ok(outcome.map(|()| 0));
            }
        } else {
            self.take_up()?;
        }
        let shut_down = self.shut_down;
        // Nothing is sent over a broken connection; a caller that writes before it reads learns of that here.
        if let Some(error) = self.broken_by.take() {
            return Err(self.fail(error));
        }
        let tls = here!(self);
        // The peer reads nothing that comes behind our `close_notify`.
        if shut_down {
            return Err(SslError::ShutDown);
        }
        let taken = tls.write(data)?;
        let flushed = self.flush_here()?;
        // Nothing was taken because what was taken before has not left yet.
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
        self.take_up()?;
        let _tls = here!(self);
        Ok(if self.flush_here()? { Outcome::Ready(()) } else { Outcome::WantWrite })
    }

    /// Sends `close_notify` (`SSL_shutdown`). The peer's own is seen by [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    pub fn shutdown(&mut self) -> Result<Outcome<()>, SslError> {
        self.take_up()?;
        here!(self).send_close_notify();
        self.shut_down = true;
        Ok(if self.flush_here()? { Outcome::Ready(()) } else { Outcome::WantWrite })
    }

    /// Changes the keys of what is sent, and asks the peer to do likewise (`SSL_key_update`). TLS 1.3 only, after the
    /// handshake.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the connection cannot; it goes on nevertheless. Any [`SslError`] that ended the session.
    pub fn key_update(&mut self) -> Result<Outcome<()>, SslError> {
        self.take_up()?;
        here!(self).refresh_traffic_keys().map_err(SslError::Tls)?;
        Ok(if self.flush_here()? { Outcome::Ready(()) } else { Outcome::WantWrite })
    }

    /// Ends a session whose handshake has taken longer than `limit`, by the caller's clock: a session has none of its own.
    /// A parked packet is cancelled, and the peer is told as far as the transport takes it now: `internal_error`, or
    /// `close_notify` once the peer expects what only rustls can encrypt. Answers the error that every later call returns,
    /// [`SslError::TimedOut`] or an earlier one.
    ///
    /// For a session that is established this is an end without ceremony; [`shutdown`](Self::shutdown) is the usual one.
    pub fn time_out(&mut self, limit: Duration) -> SslError {
        self.give_up(SslError::TimedOut(limit))
    }
}
