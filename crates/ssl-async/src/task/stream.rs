//! A TLS connection as a stream.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice, Write};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::error::SslError;
use crate::id::SslId;
use crate::read_ahead::ReadAhead;
use crate::rustls23::{Connection, Tls};
use crate::task::handshake::pending;
use crate::task::rewind::Rewind;
use crate::task::sync_io::SyncIo;

/// A TLS connection after its handshake, a server's or a client's. Implements `AsyncRead`, `AsyncBufRead` and
/// `AsyncWrite`, is `Send` if its transport is, and splits with `tokio::io::split`.
///
/// Records are processed on the task: none of them reaches a hook that may pause (see [the module](super#after-the-handshake)).
///
/// Reading ends with `Ok(0)` at the peer's `close_notify`, and with [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if
/// the transport ends without one. Shutting down sends `close_notify` and closes the sending side; what the peer still
/// sends can be read.
pub struct TlsStream<IO> {
    id: SslId,
    io: IO,
    tls: Tls,
    /// Read and not processed: while the last packet of the handshake was away, or behind `close_notify`.
    ahead: ReadAhead,
    /// What broke the connection. Plaintext from before it is read first.
    broken_by: Option<SslError>,
    /// Whether the transport holds something that it may not have sent.
    unflushed: bool,
    /// The transport took no more, and wakes whoever writes. A read must not write then: it would be woken instead.
    blocked: bool,
    shut_down: bool,
}

impl<IO> TlsStream<IO> {
    pub(crate) fn new(id: SslId, io: IO, tls: Tls, ahead: ReadAhead) -> Self {
        let broken_by = None;
        Self { id, io, tls, ahead, broken_by, unflushed: false, blocked: false, shut_down: false }
    }

    /// The transport, and the connection: protocol version, cipher suite, ALPN, the peer's certificates.
    pub fn get_ref(&self) -> (&IO, &Connection) {
        (&self.io, self.tls.connection())
    }

    /// The same, to be changed: exporter, buffer limits, key update. Reading from the transport or writing to it breaks the
    /// connection.
    pub fn get_mut(&mut self) -> (&mut IO, &mut Connection) {
        (&mut self.io, self.tls.connection_mut())
    }

    /// Gives both. What was read from the transport and not processed is the first that is read from the [`Rewind`]: what
    /// comes behind `close_notify`, if that was received, or behind the record that completed the handshake, if nothing was
    /// read since.
    ///
    /// So another protocol may begin there, and the connection may go on by itself as well: the records that it has read
    /// are processed or in its buffer, and the others are in the [`Rewind`].
    pub fn into_inner(self) -> (Rewind<IO>, Connection) {
        (Rewind::new(self.ahead.into_bytes(), self.io), self.tls.into_connection())
    }

    /// The name that the client asked for (SNI); `None` on a client.
    pub fn server_name(&self) -> Option<&str> {
        self.tls.server_name()
    }

    /// Reads what the client sent with its hello, before the handshake was done: early data, which somebody may have
    /// recorded and sent again. `Ok(0)` when there is no more, and on a client. Needs
    /// `ServerConfig::max_early_data_size`.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn read_early_data(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.tls.read_early(into)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Reads and processes until there is plaintext, or its end.
    fn poll_plaintext(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.tls.plaintext() {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error)
                    if error.kind() != io::ErrorKind::WouldBlock && self.broken_by.is_none() =>
                {
                    return Poll::Ready(Err(error));
                }
                Err(_) => {}
            }
            if let Some(error) = &self.broken_by {
                return Poll::Ready(Err(error.clone().into()));
            }
            let mut io = SyncIo::new(&mut self.io, cx);
            let read = self.tls.fill(&mut self.ahead.established(&mut io));
            match read {
                Ok(_) => self.process(cx),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    ready!(pending(Err(error))?);
                }
            }
        }
    }

    fn process(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = self.tls.process_data() {
            tracing::debug!(ssl = self.id.as_u64(), %error, "ssl.failed");
            self.broken_by = Some(SslError::Tls(error));
        }
        // An answer to a key update, or the alert that is due. The next write sends it if this does not, and meets the error
        // of a transport that takes nothing any more: what the peer has sent is read nevertheless.
        if !self.blocked {
            let _next_write_tells = self.poll_send(cx);
        }
    }

    /// Sends what the connection has to send, into the transport.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if !self.tls.wants_write() {
            return Ok(Poll::Ready(()));
        }
        self.unflushed = true;
        let sent = pending(self.tls.flush(&mut SyncIo::new(&mut self.io, cx)))?;
        self.blocked = sent.is_pending();
        Ok(sent)
    }

    fn poll_write_by(
        &mut self,
        cx: &mut Context<'_>,
        is_empty: bool,
        take: impl Fn(&mut Tls) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // The peer reads nothing that comes behind our `close_notify`.
        if self.shut_down {
            return Poll::Ready(Err(SslError::ShutDown.into()));
        }
        loop {
            let taken = take(&mut self.tls)?;
            let sent = self.poll_send(cx)?;
            if taken > 0 || is_empty {
                return Poll::Ready(Ok(taken));
            }
            // Nothing was taken because what was taken before has not left yet.
            ready!(sent);
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_plaintext(cx))?;
        let n = this.tls.read(into.initialize_unfilled())?;
        into.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<IO> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_plaintext(cx))?;
        Poll::Ready(this.tls.plaintext())
    }

    fn consume(self: Pin<&mut Self>, n: usize) {
        self.get_mut().tls.consume(n);
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    /// Takes data to be sent, and sends as much as the transport takes now; the rest goes with later calls, or with a
    /// flush.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_by(cx, data.is_empty(), |tls| tls.write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let is_empty = data.iter().all(|piece| piece.is_empty());
        self.get_mut().poll_write_by(cx, is_empty, |tls| tls.write_vectored(data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx)?);
        if this.unflushed {
            ready!(pending(SyncIo::new(&mut this.io, cx).flush())?);
            this.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut_down {
            self.tls.send_close_notify();
            self.shut_down = true;
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("ssl", &self.id.as_u64()).finish_non_exhaustive()
    }
}
