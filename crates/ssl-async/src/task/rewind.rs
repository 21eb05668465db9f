//! A transport with bytes that were already read from it.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport with bytes that were read from it and not used. They are read first; writes go to the transport.
///
/// Made by [`TlsStream::into_inner`](super::TlsStream::into_inner) and [`StartHandshake::into_io`](super::StartHandshake::into_io).
#[derive(Debug)]
pub struct Rewind<IO> {
    /// The bytes, of which the first `taken` were read.
    unread: Vec<u8>,
    taken: usize,
    io: IO,
}

impl<IO> Rewind<IO> {
    pub(crate) fn new(unread: Vec<u8>, io: IO) -> Self {
        Self { unread, taken: 0, io }
    }

    /// The bytes that are read before those of the transport.
    pub fn unread(&self) -> &[u8] {
        &self.unread[self.taken..]
    }

    /// The transport.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// The transport. Reading from it directly skips [`unread`](Self::unread).
    pub fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The transport, and the bytes that precede its own.
    pub fn into_parts(mut self) -> (IO, Vec<u8>) {
        self.unread.drain(..self.taken);
        (self.io, self.unread)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewind<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread().is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, into);
        }
        let n = this.unread().len().min(into.remaining());
        into.put_slice(&this.unread()[..n]);
        this.taken += n;
        if this.unread().is_empty() {
            (this.unread, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewind<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
