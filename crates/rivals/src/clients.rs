//! Clients over loopback: a fixed number at once on one thread, each of which comes again when its handshake is done.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lab_report::output::eprint_line;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection};

use crate::client;
use crate::cpu::{self, Place};
use crate::meter::Meter;

/// Starts the clients on a thread of their own.
///
/// # Errors
///
/// The system's, if it has no thread left.
pub(crate) fn start(
    server: SocketAddr,
    clients: usize,
    config: Arc<ClientConfig>,
    meter: Arc<Meter>,
) -> io::Result<()> {
    thread::Builder::new().name("clients".to_owned()).spawn(move || {
        cpu::pin(Place::Beside);
        if let Err(error) = run(server, clients, &config, &meter) {
            eprint_line(format_args!("the clients ended: {error}"));
        }
    })?;
    Ok(())
}

fn run(
    server: SocketAddr,
    clients: usize,
    config: &Arc<ClientConfig>,
    meter: &Meter,
) -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    let mut all = Vec::with_capacity(clients);
    for number in 0..clients {
        all.push(Client::connect(server, config, &poll, number)?);
    }
    loop {
        meter.client(|| -> io::Result<()> {
            poll.poll(&mut events, Some(Duration::from_millis(100)))?;
            for event in &events {
                let number = event.token().0;
                let Some(done) = all[number].step() else { continue };
                meter.gone(all[number].since, done);
                all[number] = Client::connect(server, config, &poll, number)?;
            }
            Ok(())
        })?;
    }
}

struct Client {
    since: Instant,
    socket: TcpStream,
    tls: ClientConnection,
}

impl Client {
    fn connect(
        server: SocketAddr,
        config: &Arc<ClientConfig>,
        poll: &Poll,
        number: usize,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(server)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(number), both)?;
        Ok(Self { since: Instant::now(), socket, tls: client::connection(config) })
    }

    /// Goes on; when the server has closed, whether the handshake was done.
    fn step(&mut self) -> Option<bool> {
        if self.tls.is_handshaking() {
            match self.tls.complete_io(&mut self.socket) {
                Ok(_) => {}
                Err(error) if waits(&error) => return None,
                Err(_) => return Some(false),
            }
        }
        let mut rest = [0; 1024];
        loop {
            match self.socket.read(&mut rest) {
                Ok(0) => return Some(true),
                Ok(_) => {}
                Err(error) if waits(&error) => return None,
                // The server has closed without reading everything, and the handshake was done before.
                Err(_) => return Some(true),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // With a reset, so that no port waits for late packets.
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
