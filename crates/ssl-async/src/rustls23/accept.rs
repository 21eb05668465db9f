//! A server's session that sees the client's hello before it chooses its configuration.

use core::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use job_core::JobPool;
use rustls::server::{self, AcceptedAlert, ClientHello};

use crate::context::SslContext;
use crate::error::{ClosedDuring, SslError};
use crate::outcome::Outcome;
use crate::packet::{Broken, Processed, Remains};
use crate::rustls23::{ServerConfig, Tls, TlsError};
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
    /// Absent once the hello was handed out.
    io: Option<S>,
}

impl<S: Read + Write> Acceptor<S> {
    /// Waits for a hello on `io`, which must not block.
    pub fn new(io: S) -> Self {
        Self { inner: server::Acceptor::default(), io: Some(io) }
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
                Ok(Some(inner)) => return Ok(Outcome::Ready(Accepted { inner, io })),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    if let Err(unsent) = alert.write_all(&mut io) {
                        tracing::debug!(%unsent, "ssl.alert_unsent");
                    }
                    return Err(SslError::Tls(error));
                }
            }
            match self.inner.read_tls(&mut io) {
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
    io: S,
}

impl<S: Read + Write> Accepted<S> {
    /// What the client asks for: server name, ALPN protocols, signature schemes and more.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.inner.client_hello()
    }

    /// The session, under the configuration that was chosen. Its first call goes on from the hello.
    pub fn into_session(self, context: &SslContext<ServerConfig>, pool: &JobPool) -> Ssl<S> {
        let Self { inner, io } = self;
        let config = context.config().clone();
        Ssl::accepted(context, pool, io, move || go_on(inner, config))
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

/// Goes on from a hello. It chooses the certificate and signs, so it runs in a job like a packet.
pub(super) fn go_on(hello: server::Accepted, config: Arc<ServerConfig>) -> Processed {
    hello.into_connection(config).map(Tls::from).map_err(broken)
}

fn broken((error, mut alert): (TlsError, AcceptedAlert)) -> Broken {
    let mut bytes = Vec::new();
    alert.write_all(&mut bytes).expect("a vector takes everything");
    Broken { error, remains: Remains::Alert(bytes) }
}
