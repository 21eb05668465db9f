//! A server's handshake that reads the client's hello before the configuration is chosen.

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::accept::read_hello;
use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::id::SslId;
use crate::read_ahead::ReadAhead;
use crate::records::INTERNAL_ERROR;
use crate::rustls23::{ClientHello, Hello, HelloReader};
use crate::task::accept::Accept;
use crate::task::deadline::{DEFAULT_DEADLINE, Deadline};
use crate::task::endpoint::TlsAcceptor;
use crate::task::handshake::Handshake;
use crate::task::rewind::Rewind;
use crate::task::sync_io::SyncIo;

/// A client's hello, with its transport. Choose a configuration by the hello, with `.await` if necessary, and continue with
/// the acceptor of that configuration.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// # use ssl_async::task::{StartHandshake, TlsAcceptor, TlsStream};
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
/// Acceptors are cheap if they share their [`Shards`](super::Shards). The deadline of [`read`](Self::read) is 60 seconds,
/// that of [`read_within`](Self::read_within) its argument; the acceptor's deadline begins with [`accept`](Self::accept).
pub struct StartHandshake<IO> {
    hello: Hello,
    /// Bytes read after the hello.
    ahead: ReadAhead,
    io: IO,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> StartHandshake<IO> {
    /// Waits for a client's hello on `io`, for 60 seconds at most. Uses no shard, because reading a hello reaches no hook.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the client sent something else, and [`SslError::TimedOut`], each after an alert to the peer;
    /// [`SslError::PeerClosed`]; [`SslError::Io`].
    ///
    /// # Panics
    ///
    /// If it has to wait on a tokio runtime without a timer.
    pub async fn read(io: IO) -> Result<Self, SslError> {
        Self::read_within(io, Some(DEFAULT_DEADLINE)).await
    }

    /// As [`read`](Self::read), with the deadline `limit`, or without one if it is `None`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Panics
    ///
    /// As [`read`](Self::read), unless `limit` is `None`.
    pub async fn read_within(mut io: IO, limit: Option<Duration>) -> Result<Self, SslError> {
        let mut reading = ReadingHello::default();
        let hello = poll_fn(|cx| reading.poll(&mut io, limit, cx)).await?;
        Ok(Self { hello, ahead: reading.into_ahead(), io })
    }

    /// Makes the future of the handshake with the chosen acceptor, which continues after the hello.
    pub fn accept(self, acceptor: &TlsAcceptor) -> Accept<IO> {
        let Self { hello, ahead, io } = self;
        let (config, way) = acceptor.way();
        let options = acceptor.options().clone();
        Accept(Handshake::after_hello(io, ahead, options, config, way, hello))
    }
}

impl<IO> StartHandshake<IO> {
    /// The client's hello: server name, ALPN protocols, signature schemes and more.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.hello.client_hello()
    }

    /// The transport.
    pub fn io(&self) -> &IO {
        &self.io
    }

    /// Ends the handshake and returns the transport. The hello, and bytes read after it, are read first from the [`Rewind`],
    /// so a proxy can forward the connection to another server.
    pub fn into_io(mut self) -> Rewind<IO> {
        self.ahead.unread(self.hello.into_bytes());
        Rewind::new(self.ahead.into_bytes(), self.io)
    }
}

impl<IO> fmt::Debug for StartHandshake<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartHandshake").finish_non_exhaustive()
    }
}

/// The reading of a hello, and the alert for one that is refused.
pub(crate) struct ReadingHello {
    reader: HelloReader,
    ahead: ReadAhead,
    deadline: Deadline,
    alert: Option<FinalAlert>,
    id: SslId,
}

impl Default for ReadingHello {
    fn default() -> Self {
        let (reader, ahead) = (HelloReader::default(), ReadAhead::default());
        Self { reader, ahead, deadline: Deadline::default(), alert: None, id: SslId::next() }
    }
}

impl ReadingHello {
    /// Ready with the hello, or with the error once the alert for it has left, within `limit`.
    pub(crate) fn poll<IO: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        limit: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Hello, SslError>> {
        loop {
            if let Some(alert) = &mut self.alert {
                let late = match alert.send(self.id, &mut SyncIo::new(io, cx), &mut self.ahead) {
                    true => Poll::Ready(()),
                    false => self.deadline.poll(limit, cx).map(drop),
                };
                return late.map(|()| Err(alert.error.clone()));
            }
            match read_hello(&mut self.reader, &mut self.ahead, &mut SyncIo::new(io, cx)) {
                Ok(Ok(hello)) => return Poll::Ready(Ok(hello)),
                Ok(Err(refusal)) => self.alert = Some(refusal),
                Err(_would_block) => {
                    let late = ready!(self.deadline.poll(limit, cx));
                    let bytes = INTERNAL_ERROR.to_vec();
                    let mut alert = FinalAlert::new(bytes, SslError::TimedOut(late));
                    // As much as the transport accepts now.
                    let _ = alert.send(self.id, &mut SyncIo::new(io, cx), &mut self.ahead);
                    return Poll::Ready(Err(alert.error));
                }
            }
        }
    }

    /// What was read after the hello.
    pub(crate) fn into_ahead(self) -> ReadAhead {
        self.ahead
    }
}
