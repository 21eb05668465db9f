//! The future of a server's handshake.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::SslError;
use crate::task::endpoint::TlsAcceptor;
use crate::task::handshake::Handshake;
use crate::task::stream::TlsStream;

impl TlsAcceptor {
    /// Makes the future of a handshake with a client on `io`. Dropping it at any time cancels the handshake.
    pub fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (config, way) = self.way();
        Accept(Handshake::server(io, self.options().clone(), config, way))
    }
}

/// Future of a server's handshake, which returns the stream.
///
/// # Panics
///
/// With the panic of a hook; when polled again after it was ready; and when it has to wait on a tokio runtime without a
/// timer, unless the acceptor is [`without_deadline`](TlsAcceptor::without_deadline).
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Accept<IO>(pub(crate) Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Accept<IO> {
    /// Makes a future that returns the transport with the error.
    pub fn into_fallible(self) -> FallibleHandshake<IO> {
        FallibleHandshake(self.0)
    }
}

impl<IO> Accept<IO> {
    /// The transport; `None` once the stream owns it.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io()
    }

    /// The transport; `None` once the stream owns it. Reading from it or writing to it breaks the handshake.
    pub fn get_mut(&mut self) -> Option<&mut IO> {
        self.0.io_mut()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Accept<IO> {
    type Output = Result<TlsStream<IO>, SslError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// Future of a handshake that returns the transport if it fails, without the bytes that the handshake has read. Made by
/// `into_fallible`.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct FallibleHandshake<IO>(pub(crate) Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleHandshake<IO> {
    type Output = Result<TlsStream<IO>, (SslError, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_err(|error| {
            (error, self.0.take_io().expect("a failed handshake owns its transport"))
        })
    }
}

// No field is pinned.
impl<IO> Unpin for Accept<IO> {}
impl<IO> Unpin for FallibleHandshake<IO> {}
