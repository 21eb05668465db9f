//! Both ends of a held handshake's connection, in memory.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    rc::Rc,
};

/// What has been sent between a server and a client that is still there.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedWire(Rc<RefCell<HeldWire>>);

#[derive(Debug, Default)]
struct HeldWire {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl SharedWire {
    /// Takes what the client has sent.
    pub(super) fn take_sent(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().to_server)
    }
}

/// The server's end. Without a client nothing more comes, and what is sent is lost.
#[derive(Debug)]
pub(super) struct ServerEnd {
    /// The hello, until it is read.
    pub(super) hello: Vec<u8>,
    pub(super) wire: Option<SharedWire>,
}

/// The client's end.
#[derive(Debug)]
pub(super) struct ClientEnd(pub(super) SharedWire);

impl Read for ServerEnd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.hello.is_empty() {
            return take(&mut self.hello, into);
        }
        let Some(wire) = &self.wire else { return Err(io::ErrorKind::WouldBlock.into()) };
        take(&mut wire.0.borrow_mut().to_server, into)
    }
}

impl Write for ServerEnd {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(wire) = &self.wire {
            wire.0.borrow_mut().to_client.extend_from_slice(data);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for ClientEnd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        take(&mut self.0.0.borrow_mut().to_client, into)
    }
}

impl Write for ClientEnd {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.0.borrow_mut().to_server.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from the front of `bytes`, and gives their memory back with the last of them.
fn take(bytes: &mut Vec<u8>, into: &mut [u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let size = bytes.as_slice().read(into)?;
    if size == bytes.len() {
        *bytes = Vec::new();
    } else {
        bytes.drain(..size);
    }
    Ok(size)
}
