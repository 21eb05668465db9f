//! A server that sees the client's hello before it chooses its configuration.

use core::fmt;
use core::time::Duration;
use std::io::{self, Read, Write};

use job_core::JobPool;

use crate::context::SslContext;
use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::id::SslId;
use crate::outcome::Outcome;
use crate::read_ahead::{Next, ReadAhead};
use crate::records::INTERNAL_ERROR;
use crate::rustls23::{ClientHello, Hello, HelloReader, ServerConfig};
use crate::session::Ssl;

/// Reads a client's hello, so that the server can choose a configuration by it.
///
/// ```text
///   Acceptor -- accept() --> Accepted -- into_session(context) --> Ssl
///              WantRead ...     |
///                               +-- client_hello(): server name, ALPN, signature schemes
/// ```
///
/// Never parks: reading a hello reaches no hook.
pub struct Acceptor<S> {
    reader: HelloReader,
    ahead: ReadAhead,
    /// Sent before the caller gets the error.
    alert: Option<FinalAlert>,
    id: SslId,
    /// Absent once the hello was returned.
    io: Option<S>,
}

impl<S: Read + Write> Acceptor<S> {
    /// Makes an acceptor for a hello on `io`, which must not block.
    pub fn new(io: S) -> Self {
        let (reader, ahead) = (HelloReader::default(), ReadAhead::default());
        Self { reader, ahead, alert: None, id: SslId::next(), io: Some(io) }
    }

    /// Reads until the hello is complete. Returns [`Outcome::WantRead`] until then, and [`Outcome::WantWrite`] while the
    /// alert for an invalid hello has not left.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the hello is invalid (the alert was sent if the peer still read), [`SslError::PeerClosed`] and
    /// [`SslError::Io`].
    ///
    /// # Panics
    ///
    /// If the hello was returned already.
    pub fn accept(&mut self) -> Result<Outcome<Accepted<S>>, SslError> {
        let mut io = self.io.take().expect("this acceptor has returned its client's hello");
        if self.alert.is_none() {
            match read_hello(&mut self.reader, &mut self.ahead, &mut io) {
                Ok(Ok(hello)) => {
                    let ahead = core::mem::take(&mut self.ahead);
                    return Ok(Outcome::Ready(Accepted { hello, ahead, io }));
                }
                Ok(Err(alert)) => self.alert = Some(alert),
                Err(_would_block) => {
                    self.io = Some(io);
                    return Ok(Outcome::WantRead);
                }
            }
        }
        let mut alert = self.alert.take().expect("the hello was refused");
        if !alert.send(self.id, &mut io, &mut self.ahead) {
            (self.alert, self.io) = (Some(alert), Some(io));
            return Ok(Outcome::WantWrite);
        }
        Err(alert.error)
    }

    /// Gives up a client whose hello has taken longer than `limit` by the caller's clock. Sends the alert `internal_error`,
    /// as far as the transport takes it now.
    ///
    /// If the client was refused before and its alert has not left completely, that alert and its error stay.
    pub fn time_out(mut self, limit: Duration) -> SslError {
        match (self.alert.take(), self.io.take()) {
            (Some(mut alert), Some(mut io)) => {
                let _as_far_as_it_goes = alert.send(self.id, &mut io, &mut self.ahead);
                alert.error
            }
            (_, Some(io)) => tell(self.id, io, self.ahead, limit),
            (_, None) => SslError::TimedOut(limit),
        }
    }

    /// The transport, until the hello was returned.
    pub fn io(&self) -> Option<&S> {
        self.io.as_ref()
    }
}

impl<S> fmt::Debug for Acceptor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("waiting", &self.io.is_some()).finish_non_exhaustive()
    }
}

/// A client's hello, with its transport. Made by [`Acceptor::accept`].
pub struct Accepted<S> {
    hello: Hello,
    /// Bytes behind the hello.
    ahead: ReadAhead,
    io: S,
}

impl<S: Read + Write> Accepted<S> {
    /// The client's offer: server name, ALPN protocols, signature schemes and more.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.hello.client_hello()
    }

    /// Makes the session, with the chosen configuration. Its first call continues from the hello.
    pub fn into_session(self, context: &SslContext<ServerConfig>, pool: &JobPool) -> Ssl<S> {
        let Self { hello, ahead, io } = self;
        Ssl::accepted(context, pool, io, ahead, hello)
    }

    /// The transport.
    pub fn io(&self) -> &S {
        &self.io
    }

    /// Gives up the client because choosing a configuration has taken longer than `limit` by the caller's clock. Sends the
    /// alert `internal_error`, as far as the transport takes it now.
    pub fn time_out(self, limit: Duration) -> SslError {
        tell(SslId::next(), self.io, self.ahead, limit)
    }

    /// Returns the transport and the bytes read from it: the hello and the bytes behind it. A proxy forwards both to another
    /// server.
    pub fn into_io(mut self) -> (S, Vec<u8>) {
        self.ahead.unread(self.hello.into_bytes());
        (self.io, self.ahead.into_bytes())
    }
}

impl<S> fmt::Debug for Accepted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").finish_non_exhaustive()
    }
}

/// Reads until the hello is complete, or refused: then returns the alert for its sender. Bytes behind the hello stay in
/// `ahead`.
///
/// # Errors
///
/// `WouldBlock` if the transport has no more now.
pub(crate) fn read_hello(
    reader: &mut HelloReader,
    ahead: &mut ReadAhead,
    io: &mut dyn Read,
) -> io::Result<Result<Hello, FinalAlert>> {
    loop {
        let records = match ahead.next(io)? {
            Next::Records(records) => records,
            Next::End(error) => return Ok(Err(FinalAlert::none(error))),
        };
        match reader.read(records) {
            Ok(Some((hello, behind))) => {
                ahead.unread(behind);
                return Ok(Ok(hello));
            }
            Ok(None) => {}
            Err(broken) => return Ok(Err(broken.into())),
        }
    }
}

/// Sends the alert for a timeout to a client that was sent nothing yet.
fn tell<S: Read + Write>(id: SslId, mut io: S, mut ahead: ReadAhead, limit: Duration) -> SslError {
    let mut alert = FinalAlert::new(INTERNAL_ERROR.to_vec(), SslError::TimedOut(limit));
    let _as_far_as_it_goes = alert.send(id, &mut io, &mut ahead);
    alert.error
}
