//! The load generator: many verifying TLS clients on one thread of their own, in a closed loop over loopback TCP.
//!
//! A client opens a connection, completes the handshake, waits for the server's `close_notify` and hangs up; then its
//! place opens the next. The latency recorded is that of the handshake alone, from opening the connection. The CPU time
//! of this thread is counted apart from the server's.

mod client;
mod clients;
mod kinds;
mod limit;
mod verify;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lab_report::Progress;
use lab_report::recording::{DurationHistogram, Outcomes};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    cpu::{thread_cpu, thread_processor_wait},
    scenario::{ConnectionKind, HangUps},
};
pub use client::{ClientError, TlsClient};
pub use clients::Clients;
pub use kinds::{ByKind, KindCount};

pub use limit::{FileLimitError, raise_file_limit};
pub use verify::{Verified, client_config, client_config_over, is_bad_signature};

#[derive(Debug, Clone)]
pub struct LoadPlan {
    pub target: SocketAddr,
    /// Connections kept open at the same time.
    pub connections: usize,
    /// Handshakes of each connection, one after the other; `None` for all that fit into the time.
    pub rounds: Option<u64>,
    /// After this no handshake begins.
    pub time_box: Duration,
    /// How long handshakes under way may then still take; what is not done by then is given up.
    pub drain: Duration,
    /// Which clients hang up as soon as they have said hello.
    pub hang_ups: Option<HangUps>,
    pub clients: Arc<Clients>,
    pub stop: Option<Progress>,
}

#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    pub handshakes: u64,
    pub failed: u64,
    /// Clients that hung up on purpose, in the middle of the handshake.
    pub hung_up: u64,
    /// Clients that came when the maximum of connections was open.
    pub turned_away: u64,
    /// Handshakes that were given up at the end.
    pub unfinished: u64,
    /// From the first connection to the end of the last handshake, or to the end of the time when some were given up.
    pub elapsed: Duration,
    /// Of the completed handshakes.
    pub latency: DurationHistogram,
    pub kinds: ByKind,
    /// CPU time of the load generator's thread.
    pub cpu: Duration,
    /// Time that the load generator's thread was ready to run without a processor; `None` in virtual time and where the
    /// system does not tell.
    pub processor_wait: Option<Duration>,
    /// What failures said, with how often each was seen.
    pub failures: BTreeMap<String, u64>,
    /// What ended when.
    pub outcomes: Outcomes,
}

/// Longest sleep of the loop; keeps the ends of the time box and of the drain in sight.
const TICK: Duration = Duration::from_millis(50);

/// Runs the clients to the end on the calling thread.
///
/// # Errors
/// When the poller cannot be made or fails; failures of single connections are counted instead.
pub fn run(plan: &LoadPlan) -> io::Result<LoadReport> {
    let mut generator = Generator::new(plan)?;
    for place in 0..plan.connections {
        generator.open(place);
    }
    let mut events = Events::with_capacity(1024);
    while generator.open_places > 0 {
        if generator.begun.elapsed() >= plan.time_box + plan.drain
            || plan.stop.as_ref().is_some_and(Progress::is_interrupted)
        {
            generator.give_up();
            break;
        }
        match generator.poll.poll(&mut events, Some(TICK)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        for event in &events {
            generator.drive(event.token().0);
        }
    }
    Ok(generator.report())
}

/// The clients by their places.
struct Generator<'a> {
    plan: &'a LoadPlan,
    poll: Poll,
    begun: Instant,
    cpu_before: Duration,
    processor_wait_before: Option<Duration>,
    places: Vec<ClientPlace>,
    /// Places that still have a client or are about to have one.
    open_places: usize,
    opened: u64,
    last_end: Duration,
    report: LoadReport,
}

#[derive(Debug, Default)]
struct ClientPlace {
    client: Option<TlsClient<TcpStream>>,
    kind: Option<ConnectionKind>,
    rounds_begun: u64,
    opened: Duration,
    /// How long its handshake took, once that is done.
    took: Option<Duration>,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a LoadPlan) -> io::Result<Self> {
        let mut places = Vec::new();
        places.resize_with(plan.connections, ClientPlace::default);
        Ok(Self {
            plan,
            poll: Poll::new()?,
            begun: Instant::now(),
            cpu_before: thread_cpu(),
            processor_wait_before: thread_processor_wait(),
            places,
            open_places: plan.connections,
            opened: 0,
            last_end: Duration::ZERO,
            report: LoadReport::default(),
        })
    }

    /// Opens the next connection of a place, or closes the place for good.
    fn open(&mut self, place: usize) {
        // A connection that fails at once is followed by the next; the rounds or the time bound the loop.
        loop {
            let done =
                self.plan.rounds.is_some_and(|rounds| self.places[place].rounds_begun >= rounds);
            if done || self.begun.elapsed() >= self.plan.time_box {
                self.open_places -= 1;
                return;
            }
            self.places[place].rounds_begun += 1;
            self.places[place].opened = self.begun.elapsed();
            self.places[place].took = None;
            self.places[place].kind = None;
            match self.connect(place) {
                Ok(client) => {
                    self.places[place].client = Some(client);
                    return;
                }
                Err(error) => self.fail(place, &error),
            }
        }
    }

    fn connect(&mut self, place: usize) -> Result<TlsClient<TcpStream>, ClientError> {
        let mut socket = TcpStream::connect(self.plan.target)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(place), interest)?;
        let number = self.opened;
        let kind = self.plan.clients.kind(number);
        self.places[place].kind = Some(kind);
        self.opened += 1;
        let mut client = self.plan.clients.client(kind, socket)?;
        client.hangs_up = self.plan.hang_ups.is_some_and(|hang_ups| hang_ups.strike(number));
        Ok(client)
    }

    fn drive(&mut self, place: usize) {
        let begun = self.begun;
        let ClientPlace { client, kind, opened, took, .. } = &mut self.places[place];
        // An event of a connection that ended earlier in this batch.
        let Some(client) = client else { return };
        let driven = client.drive();
        if client.is_established() && took.is_none() {
            *took = Some(begun.elapsed().saturating_sub(*opened));
        }
        match driven {
            Ok(false) if client.hangs_up && client.has_said_hello() => {
                self.report.hung_up += 1;
            }
            Ok(false) => return,
            Ok(true) => {
                self.report.handshakes += 1;
                let took = took.unwrap_or_default();
                self.report.latency.record(took);
                if let Some(kind) = kind {
                    let kind = ConnectionKind { resumed: client.has_resumed(), ..*kind };
                    self.report.kinds.done(kind, Some(took));
                }
                self.report.outcomes.handshake(begun.elapsed(), took);
            }
            Err(error) => self.fail(place, &error),
        }
        self.last_end = self.begun.elapsed();
        self.hang_up(place);
        self.open(place);
    }

    fn fail(&mut self, place: usize, error: &ClientError) {
        tracing::debug!(%error, "client.failed");
        self.report.failed += 1;
        if let Some(kind) = self.places[place].kind {
            self.report.kinds.failed(kind);
        }
        self.report.outcomes.failure(self.begun.elapsed());
        *self.report.failures.entry(error.to_string()).or_default() += 1;
    }

    /// Closes a place's connection at once (with a reset): the server has closed its end, or is to notice.
    fn hang_up(&mut self, place: usize) {
        if let Some(client) = self.places[place].client.take() {
            // Without the reset a busy run would use up the ephemeral ports with connections in TIME_WAIT.
            let _ =
                rustix::net::sockopt::set_socket_linger(&client.transport, Some(Duration::ZERO));
        }
    }

    fn give_up(&mut self) {
        for place in 0..self.places.len() {
            if self.places[place].client.is_some() {
                self.report.unfinished += 1;
                self.hang_up(place);
            }
        }
        self.open_places = 0;
        self.last_end = self.begun.elapsed();
    }

    fn report(mut self) -> LoadReport {
        self.report.elapsed = self.last_end;
        self.report.cpu = thread_cpu().saturating_sub(self.cpu_before);
        self.report.processor_wait = thread_processor_wait()
            .zip(self.processor_wait_before)
            .map(|(now, before)| now.saturating_sub(before));
        self.report
    }
}
