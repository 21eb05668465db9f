//! Clients in an open loop: they arrive at a fixed rate, whether the server keeps up or not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handshake_lab::{certs::SERVER_NAME, cpu::thread_cpu, load::TlsClient};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustls::{ClientConfig, pki_types::ServerName};

/// The arrivals.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    pub(crate) target: SocketAddr,
    /// Arrivals a second.
    pub(crate) rate: f64,
    /// For how long.
    pub(crate) time: Duration,
    /// The most clients at once; later ones are turned away.
    pub(crate) cap: usize,
    pub(crate) config: Arc<ClientConfig>,
}

/// Counts of the clients.
#[derive(Debug, Default)]
pub(crate) struct Paced {
    pub(crate) handshakes: u64,
    pub(crate) failed: u64,
    /// Clients that came when the cap was reached.
    pub(crate) turned_away: u64,
    /// CPU time of the calling thread.
    pub(crate) cpu: Duration,
}

/// How long clients under way are waited for at the end.
const DRAIN: Duration = Duration::from_millis(250);

/// Runs the clients on the calling thread.
pub(crate) fn run(pace: &Pace) -> io::Result<Paced> {
    let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let mut places: Vec<Option<TlsClient<TcpStream>>> = Vec::new();
    places.resize_with(pace.cap, || None);
    let mut free: Vec<usize> = (0..pace.cap).collect();
    let (begun, cpu_before) = (Instant::now(), thread_cpu());
    let (mut arrived, mut paced) = (0_u64, Paced::default());
    loop {
        let now = begun.elapsed();
        let due = (now.min(pace.time).as_secs_f64() * pace.rate) as u64;
        for _ in arrived..due {
            let Some(place) = free.pop() else {
                paced.turned_away += 1;
                continue;
            };
            let mut socket = TcpStream::connect(pace.target)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut socket, Token(place), both)?;
            let client = TlsClient::new(socket, &pace.config, &name).map_err(io::Error::other)?;
            places[place] = Some(client);
        }
        arrived = arrived.max(due);
        let over = now >= pace.time;
        if over && (free.len() == pace.cap || now >= pace.time + DRAIN) {
            paced.cpu = thread_cpu().saturating_sub(cpu_before);
            return Ok(paced);
        }
        match poll.poll(&mut events, Some(Duration::from_millis(1))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let place = event.token().0;
            let Some(client) = &mut places[place] else { continue };
            match client.drive() {
                Ok(false) => continue,
                Ok(true) => paced.handshakes += 1,
                Err(_) => paced.failed += 1,
            }
            // With a reset, as in the closed loop.
            let _ =
                rustix::net::sockopt::set_socket_linger(&client.transport, Some(Duration::ZERO));
            places[place] = None;
            free.push(place);
        }
    }
}
