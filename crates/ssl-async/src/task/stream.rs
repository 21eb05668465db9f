//! An established TLS connection as an asynchronous stream.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, RawFd};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{ClosedDuring, SslError};
use crate::id::SslId;
use crate::read_ahead::ReadAhead;
use crate::rustls23::{Connection, Tls};
use crate::task::rewind::Rewind;
use crate::task::sync_io::{SyncIo, to_poll};

/// A TLS connection after its handshake, on the server or the client. It is `Send` if its transport is, and can be split
/// with `tokio::io::split`.
///
/// Records are processed on the task, because none of them reaches a hook that may pause (see
/// [the module](super#after-the-handshake)).
///
/// Reading returns `Ok(0)` after the peer's `close_notify`, and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the
/// transport ends without one. Shutting down sends `close_notify` and shuts the transport down for writing; data from the
/// peer can still be read.
pub struct TlsStream<IO> {
    id: SslId,
    io: IO,
    tls: Tls,
    /// Read but not processed: during the last packet of the handshake, or after `close_notify`.
    ahead: ReadAhead,
    /// The error that ended the connection. Plaintext from before it is read first.
    error: Option<SslError>,
    /// Whether the transport may hold bytes that it has not sent.
    unflushed: bool,
    /// The task that waits until the transport accepts more, if one does.
    blocked: Option<Blocked>,
    shut_down: bool,
}

/// The task that found the transport full last, and is woken when it accepts more.
enum Blocked {
    /// The task that wrote, flushed or shut down. The transport keeps one waker for writing: a reader that has something to
    /// send meanwhile sends it with this one, or it would take the wake. The task may have given up what it waited for.
    Writer(Waker),
    /// The task that reads, with an answer or an alert.
    Reader,
}

/// The task for which something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Writer,
    Reader,
}

impl<IO> TlsStream<IO> {
    pub(crate) fn new(id: SslId, io: IO, tls: Tls, ahead: ReadAhead) -> Self {
        let error = None;
        Self { id, io, tls, ahead, error, unflushed: false, blocked: None, shut_down: false }
    }

    /// The transport, and the connection with its protocol version, cipher suite, ALPN protocol and peer certificates.
    pub fn get_ref(&self) -> (&IO, &Connection) {
        (&self.io, self.tls.connection())
    }

    /// As [`get_ref`](Self::get_ref), mutable: for buffer limits and key updates. Reading from the transport or writing to it
    /// breaks the connection.
    pub fn get_mut(&mut self) -> (&mut IO, &mut Connection) {
        (&mut self.io, self.tls.connection_mut())
    }

    /// Splits the stream into its transport and its connection.
    ///
    /// Bytes that were read from the transport and not processed are read first from the [`Rewind`]: those after
    /// `close_notify`, or those after the record that completed the handshake if nothing was read since. So another
    /// protocol can follow after `close_notify`, and the connection can also continue without the stream.
    pub fn into_inner(self) -> (Rewind<IO>, Connection) {
        (Rewind::new(self.ahead.into_bytes(), self.io), self.tls.into_connection())
    }

    /// The server name that the client sent (SNI); `None` on a client.
    pub fn server_name(&self) -> Option<&str> {
        self.tls.server_name()
    }

    /// Reads early data, which the client sent with its hello and an attacker may have replayed. Returns `Ok(0)` at its end,
    /// and on a client. Requires `ServerConfig::max_early_data_size`.
    ///
    /// # Errors
    ///
    /// None at present.
    pub fn read_early_data(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.tls.read_early(into)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Reads and processes records until there is plaintext, or its end.
    fn poll_plaintext(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.blocked.is_some() {
            self.send_from_read(cx);
        }
        loop {
            match self.tls.plaintext() {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock && self.error.is_none() => {
                    return Poll::Ready(Err(error));
                }
                Err(_) => {}
            }
            if let Some(error) = &self.error {
                return Poll::Ready(Err(error.clone().into()));
            }
            let mut io = SyncIo::new(&mut self.io, cx);
            let read = self.tls.fill(&mut self.ahead.established(&mut io));
            match read {
                Ok(_) => self.process(cx),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    ready!(to_poll(Err(error))?);
                }
            }
        }
    }

    /// Completes a handshake that was begun in this stream. Hooks run on the task.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // Read even if the transport accepts no more bytes now.
            let flushed = Pin::new(&mut *self).poll_flush(cx)?;
            if !self.tls.is_handshaking() {
                return flushed.map(Ok);
            }
            if let Some(error) = &self.error {
                return Poll::Ready(Err(error.clone().into()));
            }
            match self.tls.fill(&mut SyncIo::new(&mut self.io, cx)) {
                Ok(0) => self.error = Some(SslError::PeerClosed(ClosedDuring::Handshake)),
                Ok(_) => self.process(cx),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    ready!(to_poll(Err(error))?);
                }
            }
        }
    }

    /// Ends a handshake that was begun in this stream and has taken longer than `limit`. No alert is sent.
    pub(crate) fn time_out(&mut self, limit: Duration) -> io::Error {
        let error = SslError::TimedOut(limit);
        self.error = Some(error.clone());
        error.into()
    }

    /// Takes a client's early data, as much as is allowed.
    pub(crate) fn write_early(&mut self, data: &[u8]) -> io::Result<usize> {
        self.tls.write_early(data)
    }

    pub(crate) fn is_early_data_accepted(&mut self) -> bool {
        self.tls.is_early_data_accepted()
    }

    fn process(&mut self, cx: &mut Context<'_>) {
        if let Err(error) = self.tls.process_data() {
            tracing::debug!(ssl = self.id.as_u64(), %error, "ssl.failed");
            self.error = Some(SslError::Tls(error));
        }
        self.send_from_read(cx);
    }

    /// Sends what a reader has to send, which is the answer to a key update or an alert, and what a writer has left before
    /// it. An error is not returned here, where it would hide data from the peer: the next write returns it.
    fn send_from_read(&mut self, cx: &mut Context<'_>) {
        if !self.tls.wants_write() {
            return;
        }
        match self.blocked.take() {
            Some(Blocked::Writer(waker)) => {
                let sent = self.poll_send(&mut Context::from_waker(&waker), Sender::Writer);
                if !matches!(sent, Ok(Poll::Pending)) {
                    // The transport owes the writer no wake any more.
                    waker.wake();
                }
            }
            Some(Blocked::Reader) | None => drop(self.poll_send(cx, Sender::Reader)),
        }
    }

    /// Writes the connection's pending records to the transport.
    fn poll_send(&mut self, cx: &mut Context<'_>, sender: Sender) -> io::Result<Poll<()>> {
        if !self.tls.wants_write() {
            return Ok(Poll::Ready(()));
        }
        self.unflushed = true;
        self.blocked = None;
        let sent = to_poll(self.tls.flush(&mut SyncIo::new(&mut self.io, cx)))?;
        if sent.is_pending() {
            self.blocked = Some(match sender {
                Sender::Writer => Blocked::Writer(cx.waker().clone()),
                Sender::Reader => Blocked::Reader,
            });
        }
        Ok(sent)
    }

    fn poll_write_by(
        &mut self,
        cx: &mut Context<'_>,
        is_empty: bool,
        take: impl Fn(&mut Tls) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // The peer ignores records after our `close_notify`.
        if self.shut_down {
            if is_empty {
                return Poll::Ready(Ok(0));
            }
            return Poll::Ready(Err(SslError::ShutDown.into()));
        }
        loop {
            let taken = take(&mut self.tls)?;
            let sent = self.poll_send(cx, Sender::Writer)?;
            if taken > 0 || is_empty {
                return Poll::Ready(Ok(taken));
            }
            // Nothing was taken because the buffer is full of records that are not sent.
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
    /// Encrypts data and sends as much as the transport accepts now. Later calls, or a flush, send the rest.
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
        ready!(this.poll_send(cx, Sender::Writer)?);
        if this.unflushed {
            this.blocked = None;
            let flushed = to_poll(SyncIo::new(&mut this.io, cx).flush())?;
            if flushed.is_pending() {
                this.blocked = Some(Blocked::Writer(cx.waker().clone()));
            }
            ready!(flushed);
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

impl<IO: AsRawFd> AsRawFd for TlsStream<IO> {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("ssl", &self.id.as_u64()).finish_non_exhaustive()
    }
}
