//! Adapter from a task's asynchronous transport to the non-blocking `Read` and `Write` that rustls uses.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice, Read, Write};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that returns `WouldBlock` where the task has to wait, with the task's waker registered.
pub(crate) struct SyncIo<'a, 'b, IO> {
    io: &'a mut IO,
    cx: &'a mut Context<'b>,
}

impl<'a, 'b, IO> SyncIo<'a, 'b, IO> {
    pub(crate) fn new(io: &'a mut IO, cx: &'a mut Context<'b>) -> Self {
        Self { io, cx }
    }
}

/// Turns `Pending` into the error `WouldBlock`.
fn from_poll<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Turns the error `WouldBlock` into `Pending`.
pub(crate) fn to_poll(result: io::Result<()>) -> io::Result<Poll<()>> {
    match result {
        Ok(()) => Ok(Poll::Ready(())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Poll::Pending),
        Err(error) => Err(error),
    }
}

impl<IO: AsyncRead + Unpin> Read for SyncIo<'_, '_, IO> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(into);
        from_poll(Pin::new(&mut *self.io).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl<IO: AsyncWrite + Unpin> Write for SyncIo<'_, '_, IO> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        from_poll(Pin::new(&mut *self.io).poll_write(self.cx, data))
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        from_poll(Pin::new(&mut *self.io).poll_write_vectored(self.cx, data))
    }

    fn flush(&mut self) -> io::Result<()> {
        from_poll(Pin::new(&mut *self.io).poll_flush(self.cx))
    }
}
