//! The event loop on mio under the servers that have one: readiness, accepting, and the heartbeat.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::heartbeat::Beat;
use crate::incoming::Incoming;
use crate::site::Site;
use crate::wire::Connection;

const LISTENER: usize = usize::MAX - 1;
const BEAT: usize = usize::MAX - 2;
/// Of a descriptor that only ends the wait.
pub const WAKES: usize = usize::MAX - 3;

/// An event loop.
#[derive(Debug)]
pub struct EventLoop {
    poll: Poll,
    events: Events,
    incoming: Incoming,
    listener: Option<TcpListener>,
    /// Whether the listener may have a connection.
    acceptable: bool,
    beat: Beat,
}

// [user code]
impl EventLoop {
    /// An event loop for these connections.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn new(site: &Site, incoming: Incoming) -> io::Result<Self> {
        let poll = Poll::new()?;
        let listener = match &incoming {
            Incoming::Memory(_) => None,
            Incoming::Loopback(listener) => {
                listener.set_nonblocking(true)?;
                let mut listener = TcpListener::from_std(listener.try_clone()?);
                poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
                Some(listener)
            }
        };
        let beat = site.heartbeat.timer()?;
        let (events, acceptable) = (Events::with_capacity(64), true);
        let this = Self { poll, events, incoming, listener, acceptable, beat };
        this.watch(&this.beat, BEAT)?;
        Ok(this)
    }

    /// Waits for this descriptor, too.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn watch(&self, fd: &impl AsFd, token: usize) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), Token(token), Interest::READABLE)
    }

    /// The next connection, whose events get `token`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn accept(&mut self, token: usize) -> io::Result<Option<Connection<TcpStream>>> {
        if let Some(wire) = self.incoming.accept_in_memory() {
            return Ok(Some(Connection::Memory(wire)));
        }
        let Some(listener) = self.listener.as_ref().filter(|_| self.acceptable) else {
            return Ok(None);
        };
        match listener.accept() {
            Ok((mut socket, _)) => {
                socket.set_nodelay(true)?;
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut socket, Token(token), both)?;
                Ok(Some(Connection::Loopback(socket)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.acceptable = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Appends the tokens of connections that something has happened to; waits for the first if it may `sleep`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn wait(&mut self, sleep: bool, ready: &mut Vec<usize>) -> io::Result<()> {
        let timeout = if sleep { None } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            match event.token().0 {
                LISTENER => self.acceptable = true,
                BEAT | WAKES => {}
                token => ready.push(token),
            }
        }
        self.tick();
        Ok(())
    }

    /// Does what is due by the clock. Called between two sessions, so that none of it waits for a batch of them.
    pub fn tick(&mut self) {
        self.beat.tick();
    }
}
// [end of user code]
