//! A transport in memory that never blocks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    closed: bool,
}

/// One end. Dropping it, or `close`, ends the other end's reads.
pub(crate) struct Pipe {
    incoming: Rc<RefCell<Direction>>,
    outgoing: Rc<RefCell<Direction>>,
}

/// A pair of connected ends.
pub(crate) fn pipe() -> (Pipe, Pipe) {
    let (a, b) = (Rc::default(), Rc::default());
    let left = Pipe { incoming: Rc::clone(&a), outgoing: Rc::clone(&b) };
    (left, Pipe { incoming: b, outgoing: a })
}

impl Pipe {
    /// Bytes that have arrived and were not read.
    pub(crate) fn peek(&self) -> Vec<u8> {
        self.incoming.borrow().bytes.iter().copied().collect()
    }

    pub(crate) fn close(&mut self) {
        self.outgoing.borrow_mut().closed = true;
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.bytes.is_empty() {
            let closed = incoming.closed;
            return if closed { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        incoming.bytes.read(into)
    }
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.incoming.borrow().closed && Rc::strong_count(&self.outgoing) == 1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.outgoing.borrow_mut().bytes.extend(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.close();
    }
}
