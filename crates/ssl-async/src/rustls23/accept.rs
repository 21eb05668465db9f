//! A server's session that sees the client's hello before it chooses its configuration.

use core::{fmt, mem};
use std::io::{self, Read, Write};
use std::sync::Arc;

use job_core::JobPool;
use rustls::server::{self, AcceptedAlert, ClientHello};

use crate::context::SslContext;
use crate::error::{ClosedDuring, SslError};
use crate::outcome::Outcome;
use crate::packet::{Broken, Processed, Remains};
use crate::rustls23::gather::{Gather, Observed};
use crate::rustls23::{ServerConfig, Tls, TlsError, last_words};
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
    inner: server::Acceptor,
    /// Follows what is read.
    gather: Gather,
    /// Absent once the hello was handed out.
    io: Option<S>,
}

impl<S: Read + Write> Acceptor<S> {
    /// Waits for a hello on `io`, which must not block.
    pub fn new(io: S) -> Self {
        Self { inner: server::Acceptor::default(), gather: Gather::default(), io: Some(io) }
    }

    /// Reads on, until the hello is there.
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
        loop {
            match self.inner.accept() {
                Ok(Some(inner)) => {
                    let gather = mem::take(&mut self.gather);
                    return Ok(Outcome::Ready(Accepted { inner, gather, io }));
                }
                Ok(None) => {}
                Err((error, mut alert)) => {
                    if let Err(unsent) = alert.write_all(&mut io) {
                        tracing::debug!(%unsent, "ssl.alert_unsent");
                    }
                    return Err(SslError::Tls(error));
                }
            }
            let (io_now, gather) = (&mut io, &mut self.gather);
            let mut observed = Observed { io: io_now, gather, is_tls13: false, one_record: false };
            match self.inner.read_tls(&mut observed) {
                Ok(0) => return Err(SslError::PeerClosed(ClosedDuring::Handshake)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.io = Some(io);
                    return Ok(Outcome::WantRead);
                }
                Err(error) => return Err(error.into()),
            }
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
    inner: server::Accepted,
    gather: Gather,
    io: S,
}

impl<S: Read + Write> Accepted<S> {
    /// What the client asks for: server name, ALPN protocols, signature schemes and more.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.inner.client_hello()
    }

    /// The session, under the configuration that was chosen. Its first call goes on from the hello.
    pub fn into_session(self, context: &SslContext<ServerConfig>, pool: &JobPool) -> Ssl<S> {
        let Self { inner, gather, io } = self;
        let config = context.config().clone();
        Ssl::accepted(context, pool, io, move || go_on(inner, gather, config))
    }

    /// The transport.
    pub fn io(&self) -> &S {
        &self.io
    }

    /// Gives the client up and the transport back.
    pub fn into_io(self) -> S {
        self.io
    }
}

impl<S> fmt::Debug for Accepted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").finish_non_exhaustive()
    }
}

/// Goes on from a hello, whose bytes `gather` has followed. It chooses the certificate and signs, so it runs in a job like
/// a packet.
pub(super) fn go_on(
    hello: server::Accepted,
    gather: Gather,
    config: Arc<ServerConfig>,
) -> Processed {
    let connection = hello.into_connection(config).map_err(broken)?;
    let mut tls = Tls::new(connection, gather);
    // What came behind the hello in the same read, early data for instance, is with rustls already.
    let _processed_here = tls.due();
    match tls.process() {
        Ok(()) => Ok(tls),
        Err(error) => Err(Broken { error, remains: Remains::Connection(tls) }),
    }
}

/// What is left of a hello that led to no connection. Nothing of the first flight has left (law L15).
fn broken((error, mut alert): (TlsError, AcceptedAlert)) -> Broken {
    let mut queued = Vec::new();
    alert.write_all(&mut queued).expect("a vector takes everything");
    Broken { remains: Remains::Alert(last_words::of_first_flight(queued, &error)), error }
}
