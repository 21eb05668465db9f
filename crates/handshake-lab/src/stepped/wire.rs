//! The network between a client and the server: two pipes in memory whose bytes take their time.
//!
//! ```text
//!   write --> [ open chunk ] --depart--> [ on its way ] --deliver--> [ arrived ] --> read
//! ```
//!
//! What is written gathers in a chunk until the CPU time of the step that wrote it has passed; then it departs.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io::{self, Read, Write},
    rc::Rc,
};

use crate::scenario::ConnectionKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// A connection with both directions.
#[derive(Debug)]
pub(super) struct Wire {
    /// Counted from zero in the order of their opening.
    pub(super) number: u64,
    /// The place of the load that opened it.
    pub(super) place: usize,
    pub(super) worker: usize,
    pub(super) device: usize,
    /// What the connection is like.
    pub(super) kind: ConnectionKind,
    /// The key of its session at the worker.
    pub(super) session: Cell<Option<usize>>,
    /// The server has given it up.
    pub(super) given_up: Cell<bool>,
    to_server: RefCell<Pipe>,
    to_client: RefCell<Pipe>,
}

#[derive(Debug, Default)]
struct Pipe {
    /// Bytes that have arrived and are unread, and behind them those under way.
    bytes: VecDeque<u8>,
    arrived: usize,
    /// Sizes of the chunks under way.
    chunks: VecDeque<usize>,
    /// The last chunk has not departed yet.
    open: bool,
    /// The writer has closed it, behind the last chunk.
    closing: bool,
    /// The reader can see the end.
    closed: bool,
}

/// Chunks ready to depart: the connection, and the end that receives them.
pub(super) type Outbox = RefCell<Vec<(Rc<Wire>, Side)>>;

impl Wire {
    pub(super) fn new(
        number: u64,
        place: usize,
        worker: usize,
        device: usize,
        kind: ConnectionKind,
    ) -> Rc<Self> {
        Rc::new(Self {
            number,
            place,
            worker,
            device,
            kind,
            session: Cell::new(None),
            given_up: Cell::new(false),
            to_server: RefCell::default(),
            to_client: RefCell::default(),
        })
    }

    /// The chunk that gathered for `to` is on its way.
    pub(super) fn depart(&self, to: Side) {
        self.pipe(to).borrow_mut().open = false;
    }

    /// The oldest chunk on its way to `to` arrives.
    pub(super) fn deliver(&self, to: Side) {
        let mut pipe = self.pipe(to).borrow_mut();
        if let Some(size) = pipe.chunks.pop_front() {
            pipe.arrived += size;
        }
        pipe.closed = pipe.closing && pipe.chunks.is_empty();
    }

    fn pipe(&self, to: Side) -> &RefCell<Pipe> {
        match to {
            Side::Server => &self.to_server,
            Side::Client => &self.to_client,
        }
    }
}

/// One end of a connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct End {
    wire: Rc<Wire>,
    side: Side,
    outbox: Rc<Outbox>,
}

impl End {
    pub(super) fn new(wire: &Rc<Wire>, side: Side, outbox: &Rc<Outbox>) -> Self {
        Self { wire: Rc::clone(wire), side, outbox: Rc::clone(outbox) }
    }

    pub(super) fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }

    const fn peer(&self) -> Side {
        match self.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// Adds bytes to the open chunk, or begins one.
    fn gather(&self, put: impl FnOnce(&mut Pipe) -> usize) {
        let mut pipe = self.wire.pipe(self.peer()).borrow_mut();
        let size = put(&mut pipe);
        if pipe.open {
            if let Some(last) = pipe.chunks.back_mut() {
                *last += size;
            }
        } else {
            pipe.open = true;
            pipe.chunks.push_back(size);
            self.outbox.borrow_mut().push((Rc::clone(&self.wire), self.peer()));
        }
    }
}

impl Read for End {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.wire.pipe(self.side).borrow_mut();
        if pipe.arrived == 0 {
            let open = io::Error::from(io::ErrorKind::WouldBlock);
            return if pipe.closed { Ok(0) } else { Err(open) };
        }
        let size = pipe.arrived.min(into.len());
        for (byte, place) in pipe.bytes.drain(..size).zip(into) {
            *place = byte;
        }
        pipe.arrived -= size;
        Ok(size)
    }
}

impl Write for End {
    /// Accepts everything; bytes for a peer that has closed are lost, as on a network.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !data.is_empty() {
            self.gather(|pipe| {
                pipe.bytes.extend(data);
                data.len()
            });
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.gather(|pipe| {
            pipe.closing = true;
            0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{KeyType, Mix, TlsVersion};

    fn read(end: &mut End) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 4];
        end.read(&mut buffer).map(|size| buffer[..size].to_vec())
    }

    #[test]
    fn bytes_arrive_chunk_by_chunk_and_the_end_behind_them() {
        let outbox = Rc::new(Outbox::default());
        let kind = Mix::uniform(TlsVersion::Tls13, KeyType::P256).draw(0);
        let wire = Wire::new(0, 0, 0, 0, kind);
        let mut client = End::new(&wire, Side::Client, &outbox);
        let mut server = End::new(&wire, Side::Server, &outbox);
        client.write_all(b"abcde").unwrap();
        client.write_all(b"f").unwrap();
        assert_eq!(outbox.borrow().len(), 1, "both writes are one chunk");
        wire.depart(Side::Server);
        drop(client);
        assert_eq!(read(&mut server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        wire.deliver(Side::Server);
        assert_eq!(read(&mut server).unwrap(), b"abcd");
        assert_eq!(read(&mut server).unwrap(), b"ef");
        assert_eq!(read(&mut server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        wire.depart(Side::Server);
        wire.deliver(Side::Server);
        assert_eq!(read(&mut server).unwrap(), b"");
    }
}
