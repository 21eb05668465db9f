//! A server's session that sees the client's hello before it chooses its configuration.

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

/// Reads a client's hello, so that the configuration can be chosen by it.
///
/// ```text
///   Acceptor -- accept() --> Accepted -- into_session(context) --> Ssl
///              WantRead ...     |
///                               +-- client_hello(): server name, ALPN, signature schemes
/// ```
///
/// Nothing pauses before there is a session: reading a hello reaches no hook.
pub struct Acceptor<S> {
    reader: HelloReader,
    ahead: ReadAhead,
    /// What the peer is told before the caller is.
    alert: Option<FinalAlert>,
    id: SslId,
    /// Absent once the hello was handed out.
    io: Option<S>,
}

impl<S: Read + Write> Acceptor<S> {
    /// Waits for a hello on `io`, which must not block.
    pub fn new(io: S) -> Self {
        let (reader, ahead) = (HelloReader::default(), ReadAhead::default());
        Self { reader, ahead, alert: None, id: SslId::next(), io: Some(io) }
    }

    /// Reads on, until the hello is there. [`Outcome::WantRead`] until then, and [`Outcome::WantWrite`] until the alert for
    /// what is no hello has left.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if it is no hello (the alert for that was sent if the peer still listened),
    /// [`SslError::PeerClosed`] and [`SslError::Io`].
    ///
    /// # Panics
    ///
    /// If the hello was handed out already.
    pub fn accept(&mut self) -> Result<Outcome<Accepted<S>>, SslError> {
        let mut io = self.io.take().expect("this acceptor has handed its client's hello out");
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
        let mut alert = self.alert.take().expect("it is no hello");
        if !alert.send(self.id, &mut io, &mut self.ahead) {
            (self.alert, self.io) = (Some(alert), Some(io));
            return Ok(Outcome::WantWrite);
        }
        Err(alert.error)
    }

    /// Gives up a client whose hello has taken longer than `limit`, by the caller's clock, and tells it by the alert
    /// `internal_error`, as far as the transport takes it now.
    ///
    /// A client that was refused before, and whose alert has not left whole, keeps its alert and its error.
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

    /// The transport, until the hello was handed out.
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
    /// What the client asks for: server name, ALPN protocols, signature schemes and more.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.hello.client_hello()
    }

    /// The session, under the configuration that was chosen. Its first call goes on from the hello.
    pub fn into_session(self, context: &SslContext<ServerConfig>, pool: &JobPool) -> Ssl<S> {
        let Self { hello, ahead, io } = self;
        let config = context.config().clone();
        Ssl::accepted(context, pool, io, ahead, move || hello.into_processed(config))
    }

    /// The transport.
    pub fn io(&self) -> &S {
        &self.io
    }

    /// Gives the client up because the choice of its configuration has taken longer than `limit`, by the caller's clock, and
    /// tells it by the alert `internal_error`, as far as the transport takes it now.
    pub fn time_out(self, limit: Duration) -> SslError {
        tell(SslId::next(), self.io, self.ahead, limit)
    }

    /// Gives the client up and the transport back, with what was read from it: the hello, and what came behind it. A proxy
    /// hands both to another server.
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

/// Tells a client that has been sent nothing yet that it has run out of time.
fn tell<S: Read + Write>(id: SslId, mut io: S, mut ahead: ReadAhead, limit: Duration) -> SslError {
    let mut alert = FinalAlert::new(INTERNAL_ERROR.to_vec(), SslError::TimedOut(limit));
    let _as_far_as_it_goes = alert.send(id, &mut io, &mut ahead);
    alert.error
}
