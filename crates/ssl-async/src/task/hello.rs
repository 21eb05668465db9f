//! The client's hello, in hand before the configuration is chosen.

use core::fmt;
use core::future::poll_fn;
use core::task::{Poll, ready};
use core::time::Duration;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::accept::read_hello;
use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::id::SslId;
use crate::read_ahead::ReadAhead;
use crate::records::INTERNAL_ERROR;
use crate::rustls23::{ClientHello, Hello, HelloReader};
use crate::task::accept::Accept;
use crate::task::endpoint::TlsAcceptor;
use crate::task::handshake::{DEADLINE, Deadline, Handshake};
use crate::task::rewind::Rewind;
use crate::task::sync_io::SyncIo;

/// A client's hello, with its transport. Choose a configuration by it, by an `.await` if need be, and go on with the
/// acceptor of that configuration.
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
/// Acceptors that share their [`Shards`](super::Shards) cost no more than their configurations. Each has its own
/// deadline, which begins with the hello read; [`read`](Self::read) itself has 60 seconds, and
/// [`read_within`](Self::read_within) takes another limit.
pub struct StartHandshake<IO> {
    hello: Hello,
    /// What was read behind the hello.
    ahead: ReadAhead,
    io: IO,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> StartHandshake<IO> {
    /// Waits for a client's hello on `io`, for 60 seconds at most. Reaches no hook, so no shard is visited.
    ///
    /// What is no hello gets its alert before this returns, however little the transport takes at a time.
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
        let (mut reader, mut ahead) = (HelloReader::default(), ReadAhead::default());
        let (mut deadline, mut alert) = (Deadline::default(), None::<FinalAlert>);
        let id = SslId::next();
        let hello = poll_fn(|cx| {
            loop {
                if let Some(alert) = &mut alert {
                    let late = match alert.send(id, &mut SyncIo::new(&mut io, cx), &mut ahead) {
                        true => Poll::Ready(()),
                        false => deadline.poll(limit, cx).map(drop),
                    };
                    return late.map(|()| Err(alert.error.clone()));
                }
                match read_hello(&mut reader, &mut ahead, &mut SyncIo::new(&mut io, cx)) {
                    Ok(Ok(hello)) => return Poll::Ready(Ok(hello)),
                    Ok(Err(refusal)) => alert = Some(refusal),
                    Err(_would_block) => {
                        let late = ready!(deadline.poll(limit, cx));
                        let bytes = INTERNAL_ERROR.to_vec();
                        let mut told = FinalAlert::new(bytes, SslError::TimedOut(late));
                        let _as_far_as_it_goes =
                            told.send(id, &mut SyncIo::new(&mut io, cx), &mut ahead);
                        return Poll::Ready(Err(told.error));
                    }
                }
            }
        });
        let hello = hello.await?;
        Ok(Self { hello, ahead, io })
    }

    /// The handshake under the acceptor that was chosen. Goes on from the hello.
    pub fn accept(self, acceptor: &TlsAcceptor) -> Accept<IO> {
        let Self { hello, ahead, io } = self;
        let (terms, config) = (acceptor.terms().clone(), Arc::clone(acceptor.config()));
        Accept(Handshake::accepted(io, ahead, terms, config, hello))
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

    /// Gives the client up and the transport back. The hello, and what came behind it, is the first that is read from the
    /// [`Rewind`]: a proxy hands it to another server.
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
