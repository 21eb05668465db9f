//! Plain rustls on one thread and an event loop, with whatever key it is given: the key blocks the thread as long as it
//! takes.

use std::io;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::SigningKey;
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;

use crate::Problem;
use crate::event_loop::EventLoop;
use crate::incoming::Incoming;
use crate::site::Site;
use crate::wire::Connection;

// [user code]
struct Session {
    tls: Box<ServerConnection>,
    io: Connection<TcpStream>,
}

impl Session {
    fn new(config: &Arc<ServerConfig>, io: Connection<TcpStream>) -> Result<Self, rustls::Error> {
        Ok(Self { tls: Box::new(ServerConnection::new(Arc::clone(config))?), io })
    }

    /// Goes on with the handshake; whether the session is over, done or failed.
    fn step(&mut self) -> bool {
        // `complete_io` is content with a part of the handshake, too.
        while self.tls.is_handshaking() {
            if let Err(error) = self.tls.complete_io(&mut self.io) {
                return error.kind() != io::ErrorKind::WouldBlock;
            }
        }
        true
    }
}

/// Serves with this key.
pub(crate) fn serve(
    site: &Site,
    incoming: &Incoming,
    key: Arc<dyn SigningKey>,
) -> Result<(), Problem> {
    let config = site.rustls_config(default_provider(), key)?;
    let mut events = EventLoop::new(site, incoming.clone())?;
    let (mut sessions, mut ready) = (Slab::new(), Vec::new());
    loop {
        while let Some(io) = events.accept(sessions.vacant_key())? {
            let mut session = Session::new(&config, io)?;
            if !session.step() {
                sessions.insert(session);
            }
            events.tick();
        }
        events.wait(true, &mut ready)?;
        for token in ready.drain(..) {
            if sessions.get_mut(token).is_some_and(Session::step) {
                sessions.remove(token);
            }
            events.tick();
        }
    }
}
// [end of user code]
