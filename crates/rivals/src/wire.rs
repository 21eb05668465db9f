//! A wire in memory with a client at its other end. The client runs inside the server's reads and writes, on the server's
//! thread; its CPU time is measured and left out of the server's. On tokio reads and writes use up a task's budget, as those of
//! sockets do.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustls::ClientConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use crate::incoming::Crowd;

/// The server's end of a connection.
#[derive(Debug)]
pub enum Connection<T> {
    Memory(Wire),
    Loopback(T),
}

/// A connection in memory.
#[derive(Debug)]
pub struct Wire {
    /// Absent if the hello is played and nothing follows.
    client: Option<Box<ClientConnection>>,
    to_server: Vec<u8>,
    /// How much of it the server has read.
    read: usize,
    failed: bool,
    since: Instant,
    crowd: Arc<Crowd>,
}

impl Wire {
    /// `since` is when the client arrived.
    pub(crate) fn new(
        crowd: Arc<Crowd>,
        since: Instant,
        client: Option<Box<ClientConnection>>,
        hello: Vec<u8>,
    ) -> Self {
        Self { client, to_server: hello, read: 0, failed: false, since, crowd }
    }
}

/// Moves what the client has to say to `into`.
pub(crate) fn say(client: &mut ClientConnection, into: &mut Vec<u8>) {
    while client.wants_write() {
        client.write_tls(into).expect("memory does not fail");
    }
}

/// Lets the client hear `flight`, and moves its answer to `into`.
fn hear(client: &mut ClientConnection, mut flight: &[u8], into: &mut Vec<u8>) -> bool {
    while !flight.is_empty() {
        client.read_tls(&mut flight).expect("memory does not fail");
        if client.process_new_packets().is_err() {
            return false;
        }
    }
    say(client, into);
    true
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut waiting = &self.to_server[self.read..];
        if waiting.is_empty() {
            return if self.failed { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let size = waiting.read(into)?;
        self.read += size;
        if self.read == self.to_server.len() {
            // What is on the wire is not the server's to hold.
            self.to_server = Vec::new();
            self.read = 0;
        }
        Ok(size)
    }
}

impl Write for Wire {
    fn write(&mut self, flight: &[u8]) -> io::Result<usize> {
        if let Some(client) = &mut self.client {
            let to_server = &mut self.to_server;
            self.failed |= !self.crowd.meter().client(|| hear(client, flight, to_server));
        }
        Ok(flight.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        // The server has read the client's last flight.
        let done = !client.is_handshaking() && !self.failed && self.to_server.is_empty();
        self.crowd.meter().client(|| drop(client));
        self.crowd.gone(self.since, done);
    }
}

impl<T: Read> Read for Connection<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(wire) => wire.read(into),
            Self::Loopback(socket) => socket.read(into),
        }
    }
}

impl<T: Write> Write for Connection<T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Memory(wire) => wire.write(data),
            Self::Loopback(socket) => socket.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(wire) => {
                let budget = ready!(coop::poll_proceed(cx));
                // Nothing comes but after a write, so that nothing need be woken.
                let Ok(size) = wire.read(into.initialize_unfilled()) else { return Poll::Pending };
                budget.made_progress();
                into.advance(size);
                Poll::Ready(Ok(()))
            }
            Self::Loopback(socket) => Pin::new(socket).poll_read(cx, into),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Memory(wire) => {
                ready!(coop::poll_proceed(cx)).made_progress();
                Poll::Ready(wire.write(data))
            }
            Self::Loopback(socket) => Pin::new(socket).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(_) => Poll::Ready(Ok(())),
            Self::Loopback(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(_) => Poll::Ready(Ok(())),
            Self::Loopback(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
