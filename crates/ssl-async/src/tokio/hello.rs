//! The client's hello, in hand before the configuration is chosen.

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, Write};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::{ClosedDuring, SslError};
use crate::packet;
use crate::rustls23::{ClientHello, Hello, HelloReader, INTERNAL_ERROR};
use crate::tokio::accept::Accept;
use crate::tokio::endpoint::TlsAcceptor;
use crate::tokio::handshake::{DEADLINE, Deadline, Handshake, pending};
use crate::tokio::sync_io::SyncIo;

/// A client's hello, with its transport. Choose a configuration by it, by an `.await` if need be, and go on with the
/// acceptor of that configuration.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use ssl_async::tokio::{StartHandshake, TlsAcceptor, TlsStream};
/// # use tokio::net::TcpStream;
/// # async fn acceptor_for(name: Option<&str>) -> TlsAcceptor { std::future::pending().await }
/// async fn accept(tcp: TcpStream) -> Result<TlsStream<TcpStream>, ssl_async::SslError> {
///     let start = StartHandshake::read(tcp).await?;
///     let acceptor = acceptor_for(start.client_hello().server_name()).await;
///     start.accept(&acceptor).await
/// }
/// # }
/// ```
///
/// Acceptors that share their [`Shards`](super::Shards) cost no more than their configurations. Each has its own
/// deadline, which begins with the hello read; [`read`](Self::read) itself has 60 seconds, and
/// [`read_within`](Self::read_within) as many as you say.
pub struct StartHandshake<IO> {
    hello: Hello,
    io: IO,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> StartHandshake<IO> {
    /// Waits for a client's hello on `io`, for 60 seconds at most. Reaches no hook, so no shard is visited.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if it is no hello (the alert for that was sent if the peer still listened),
    /// [`SslError::PeerClosed`], [`SslError::Io`], and [`SslError::TimedOut`], of which the peer was told.
    ///
    /// # Panics
    ///
    /// If it has to wait on a runtime of tokio's whose timer is not enabled.
    pub async fn read(io: IO) -> Result<Self, SslError> {
        Self::read_within(io, Some(DEADLINE)).await
    }

    /// As [`read`](Self::read), for as long as `limit`; with `None`, for as long as the client likes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// As [`read`](Self::read), but not with `None`.
    pub async fn read_within(mut io: IO, limit: Option<Duration>) -> Result<Self, SslError> {
        let (mut reader, mut deadline) = (HelloReader::default(), Deadline::default());
        let hello = poll_fn(|cx| match poll_hello(&mut reader, &mut io, cx) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => deadline.poll(limit, cx).map(|late| {
                tell(&mut SyncIo::new(&mut io, cx), &INTERNAL_ERROR);
                Err(SslError::TimedOut(late))
            }),
        });
        let hello = hello.await?;
        Ok(Self { hello, io })
    }

    /// The handshake under the acceptor that was chosen. Goes on from the hello.
    pub fn accept(self, acceptor: &TlsAcceptor) -> Accept<IO> {
        let Self { hello, io } = self;
        let config = Arc::clone(acceptor.config());
        let terms = acceptor.terms().clone();
        let make = packet::create(move || hello.go_on(config), terms.exchange.clone());
        Accept(Handshake::accepted(io, terms, make))
    }
}

impl<IO> StartHandshake<IO> {
    /// What the client asks for: server name, ALPN protocols, signature schemes and more.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.hello.client_hello()
    }

    /// The transport.
    pub fn io(&self) -> &IO {
        &self.io
    }

    /// Gives the client up and the transport back.
    pub fn into_io(self) -> IO {
        self.io
    }
}

impl<IO> fmt::Debug for StartHandshake<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartHandshake").finish_non_exhaustive()
    }
}

fn poll_hello<IO: AsyncRead + AsyncWrite + Unpin>(
    reader: &mut HelloReader,
    io: &mut IO,
    cx: &mut Context<'_>,
) -> Poll<Result<Hello, SslError>> {
    let mut io = SyncIo::new(io, cx);
    loop {
        match reader.take() {
            Ok(Some(hello)) => return Poll::Ready(Ok(hello)),
            Ok(None) => {}
            Err((error, alert)) => {
                tell(&mut io, &alert);
                return Poll::Ready(Err(SslError::Tls(error)));
            }
        }
        match reader.fill(&mut io) {
            Ok(0) => return Poll::Ready(Err(SslError::PeerClosed(ClosedDuring::Handshake))),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => match pending(Err(error)) {
                Ok(_) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error.into())),
            },
        }
    }
}

/// Sends an alert, as far as the transport takes it now.
fn tell(io: &mut impl Write, alert: &[u8]) {
    if let Err(unsent) = io.write_all(alert).and_then(|()| io.flush()) {
        tracing::debug!(%unsent, "ssl.alert_unsent");
    }
}
