//! The server's side.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::SslError;
use crate::task::endpoint::TlsAcceptor;
use crate::task::handshake::Handshake;
use crate::task::stream::TlsStream;

impl TlsAcceptor {
    /// The handshake with a client on `io`, to be awaited. Nothing happens before that.
    ///
    /// The future may be dropped at any await; a parked packet is cancelled.
    pub fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Accept(Handshake::server(io, self.terms().clone(), Arc::clone(self.config())))
    }
}

/// A server's handshake: ready with the stream, or with why there is none.
///
/// # Panics
///
/// With the panic of a hook, and when polled again after it was ready. If it has to wait under a deadline, which is so by default,
/// on a runtime of tokio's whose timer is not enabled.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Accept<IO>(pub(crate) Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Accept<IO> {
    /// The same, with the transport in the error.
    pub fn into_fallible(self) -> FallibleHandshake<IO> {
        FallibleHandshake(self.0)
    }
}

impl<IO> Accept<IO> {
    /// The transport; `None` once the stream has it.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io()
    }

    /// The transport; `None` once the stream has it. Reading from it or writing to it breaks the handshake.
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

/// A handshake that gives the transport back if it fails. Made by `into_fallible`. What the handshake has read from the
/// transport is not read again.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct FallibleHandshake<IO>(pub(crate) Handshake<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleHandshake<IO> {
    type Output = Result<TlsStream<IO>, (SslError, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_err(|error| {
            (error, self.0.take_io().expect("a handshake that failed still has its transport"))
        })
    }
}

/// Nothing in them is ever pinned.
impl<IO> Unpin for Accept<IO> {}
impl<IO> Unpin for FallibleHandshake<IO> {}
