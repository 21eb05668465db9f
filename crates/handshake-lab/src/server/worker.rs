//! The event loop of one worker thread.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::Arc,
    time::Duration,
};

use job_core::JobPool;
use mio::{
    Events, Interest, Poll, Token,
    event::Event,
    net::{TcpListener, TcpStream},
    unix::SourceFd,
};
use ssl_async::{Ssl, SslError};
use wait_ctx::{ReadyQueue, ReadySender, Route};

use super::{
    Control, ServerPlan,
    connection::{Connection, Progress},
    service::LiveCounters,
    slots::Slots,
    tally::{SessionChecks, WorkerReport},
};
use crate::{cpu::thread_cpu, plant};

/// The owner of the server says something.
pub(super) const CONTROL: Token = Token(usize::MAX);
/// The ready queue has something.
const READY: Token = Token(usize::MAX - 1);
/// The listening socket has something.
const LISTENER: Token = Token(usize::MAX - 2);

/// Connections accepted and handshakes begun in one turn of the loop. Small, so that a worker that blocks in each finishes
/// those under way before it begins too many; large enough that a turn's poll is shared.
const NEW_A_TURN: usize = 8;

/// One worker. It stays on the thread that runs it, for its jobs do.
#[derive(Debug)]
pub(super) struct Worker {
    poll: Poll,
    /// `None` once the worker drains.
    listener: Option<TcpListener>,
    plan: Arc<ServerPlan>,
    control: Arc<Control>,
    live: Arc<LiveCounters>,
    pool: JobPool,
    ready: ReadyQueue,
    sender: ReadySender,
    connections: Slots<Connection>,
    /// Connections whose first bytes have come and have not been looked at.
    fresh: VecDeque<usize>,
    /// Connections that wait for a job.
    starved: VecDeque<usize>,
    /// More connections may be waiting to be accepted than were in the last turn.
    more_to_accept: bool,
    /// A connection could not be accepted for want of descriptors; tried again when one has closed.
    out_of_descriptors: bool,
    report: WorkerReport,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        plan: Arc<ServerPlan>,
        control: Arc<Control>,
        live: Arc<LiveCounters>,
    ) -> io::Result<Self> {
        let ready = ReadyQueue::new()?;
        let sender = ready.sender();
        let pool = JobPool::new();
        let readable = Interest::READABLE;
        poll.registry().register(&mut listener, LISTENER, readable)?;
        poll.registry().register(&mut SourceFd(&ready.as_fd().as_raw_fd()), READY, readable)?;
        let report = WorkerReport {
            accepted: 0,
            handshakes: 0,
            failed: 0,
            hung_up: 0,
            abandoned: 0,
            turns: 0,
            parks: 0,
            tokens: 0,
            resumes: 0,
            unprompted_resumes: 0,
            fd_writes: 0,
            sessions: SessionChecks::default(),
            cpu: Duration::ZERO,
            pool: pool.stats(),
            failures: BTreeMap::new(),
        };
        Ok(Self {
            poll,
            listener: Some(listener),
            plan,
            control,
            live,
            pool,
            ready,
            sender,
            connections: Slots::new(),
            fresh: VecDeque::new(),
            starved: VecDeque::new(),
            more_to_accept: false,
            out_of_descriptors: false,
            report,
        })
    }

    /// Serves until the owner says otherwise.
    pub(super) fn run(mut self) -> io::Result<WorkerReport> {
        let cpu_before = thread_cpu();
        let mut events = Events::with_capacity(256);
        let mut tokens = Vec::new();
        while !self.is_over() {
            self.report.turns += 1;
            self.completions(&mut tokens);
            // Asleep only when the ready queue is really empty; then a push writes its descriptor.
            let sleeps =
                self.ready.prepare_sleep() && !self.more_to_accept && self.fresh.is_empty();
            let timeout = if sleeps { None } else { Some(Duration::ZERO) };
            let polled = self.poll.poll(&mut events, timeout);
            self.ready.awake();
            match polled {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                // Completions before new work: their stacks and sessions are the ones still warm.
                self.completions(&mut tokens);
                if self.control.abandoned() {
                    break;
                }
                self.event(event);
            }
            if self.more_to_accept {
                self.accept();
            }
            self.begin_some(&mut tokens);
        }
        self.report.abandoned = self.connections.len() as u64;
        for key in self.connections.keys() {
            self.connections.remove(key);
        }
        self.report.fd_writes = self.ready.fd_writes();
        self.report.pool = self.pool.stats();
        self.report.cpu = thread_cpu().saturating_sub(cpu_before);
        Ok(self.report)
    }

    fn is_over(&mut self) -> bool {
        if self.control.abandoned() {
            return true;
        }
        if self.control.draining() && self.listener.is_some() {
            self.begin_drain();
        }
        self.listener.is_none() && self.connections.len() == 0
    }

    fn begin_drain(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            // Fails only if it was never registered.
            let _ = self.poll.registry().deregister(&mut listener);
        }
        for key in self.connections.keys() {
            if self.connections.by_key(key).is_some_and(Connection::close_if_idle) {
                self.advance(key);
            }
        }
    }

    /// Resumes every session that a completion has woken.
    fn completions(&mut self, tokens: &mut Vec<wait_ctx::Token>) {
        self.ready.drain(tokens);
        for token in tokens.drain(..) {
            self.report.tokens += 1;
            let Some(connection) = self.connections.by_key(token.0) else { continue };
            connection.tally.tokens += 1;
            if connection.ssl.waiting_for_async() {
                connection.tally.resumes += 1;
                self.report.resumes += 1;
                self.advance(token.0);
            }
            // A job has probably ended, so there is one for somebody who waits.
            if let Some(key) = self.starved.pop_front() {
                self.advance(key);
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event.token() {
            CONTROL | READY => {}
            LISTENER => self.more_to_accept = true,
            Token(key) => {
                let Some(connection) = self.connections.by_key(key) else { return };
                if connection.ssl.waiting_for_async() {
                    // Not resumed: only looked after, so that a peer that hangs up is noticed.
                    if let Err(error) = connection.ssl.watch_peer() {
                        self.fail(key, &error);
                    }
                } else if connection.begun {
                    self.advance(key);
                } else if event.is_readable() || event.is_read_closed() || event.is_error() {
                    connection.begun = true;
                    self.fresh.push_back(key);
                }
            }
        }
    }

    /// Begins a few handshakes; the rest keep until those under way have had their turn, so that a flood of new ones
    /// does not starve them.
    fn begin_some(&mut self, tokens: &mut Vec<wait_ctx::Token>) {
        for _ in 0..NEW_A_TURN {
            let Some(key) = self.fresh.pop_front() else { return };
            self.advance(key);
            self.completions(tokens);
            if self.control.abandoned() {
                return;
            }
        }
    }

    /// Accepts a few connections, for the same reason.
    fn accept(&mut self) {
        for _ in 0..NEW_A_TURN {
            let Some(listener) = &self.listener else { break };
            match listener.accept() {
                Ok((socket, _)) => self.welcome(socket),
                // The peer was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::warn!(%error, "accept.failed");
                        self.out_of_descriptors = true;
                    }
                    self.more_to_accept = false;
                    return;
                }
            }
        }
        self.more_to_accept = self.listener.is_some();
    }

    fn welcome(&mut self, mut socket: TcpStream) {
        self.report.accepted += 1;
        // Without it the last flight can wait for a delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let (registry, sender) = (self.poll.registry(), &self.sender);
        let (context, pool) = (&self.plan.context, &self.pool);
        let inserted = self.connections.insert_with(|key| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut socket, Token(key), interest).ok()?;
            let ssl = Ssl::accept(context, pool, socket).ok()?;
            let route = Route::Ready(sender.clone(), wait_ctx::Token(key));
            ssl.wait_ctx().notifier().set_route(route);
            Some(Connection::new(ssl))
        });
        if inserted.is_none() {
            self.report.failed += 1;
            self.live.failure();
            *self.report.failures.entry("no session could be made".to_owned()).or_default() += 1;
        }
    }

    /// Goes on with a connection as far as it can.
    fn advance(&mut self, key: usize) {
        let Some(connection) = self.connections.by_key(key) else { return };
        let parked_before = connection.ssl.waiting_for_async();
        let established_before = connection.established();
        let mut result = connection.advance(&self.plan.service, &self.live);
        if self.control.draining()
            && matches!(result, Ok(Progress::Waits))
            && connection.close_if_idle()
        {
            result = connection.advance(&self.plan.service, &self.live);
        }
        if connection.established() && !established_before {
            self.report.handshakes += 1;
        }
        match result {
            Ok(Progress::Ended) => self.end(key, false),
            Ok(Progress::WaitsForJob) => self.starved.push_back(key),
            Ok(Progress::Waits) => {
                if connection.ssl.waiting_for_async() && !parked_before {
                    connection.tally.parks += 1;
                    self.report.parks += 1;
                    self.parked(key);
                }
            }
            Err(error) => self.fail(key, &error),
        }
    }

    /// A session has just parked: now and then it is resumed once more without a wake.
    fn parked(&mut self, key: usize) {
        let Some(connection) = self.connections.by_key(key) else { return };
        if plant::spin_resume() {
            connection.tally.resumes += 2;
            self.report.resumes += 2;
            self.advance(key);
            self.advance(key);
            return;
        }
        let parks = self.report.parks;
        let due = self.plan.unprompted_every.is_some_and(|every| parks.is_multiple_of(every));
        if due {
            connection.tally.unprompted += 1;
            self.report.unprompted_resumes += 1;
            self.advance(key);
        }
    }

    fn fail(&mut self, key: usize, error: &SslError) {
        let hung_up = match error {
            SslError::PeerClosed(_) => true,
            SslError::Io(error) => is_hang_up(error),
            _ => false,
        };
        if hung_up {
            self.report.hung_up += 1;
        } else {
            self.report.failed += 1;
        }
        self.live.failure();
        let ssl = self.connections.by_key(key).map(|connection| connection.ssl.id().as_u64());
        tracing::debug!(ssl, %error, "connection.failed");
        *self.report.failures.entry(error.to_string()).or_default() += 1;
        self.end(key, !hung_up);
    }

    fn end(&mut self, key: usize, harmed: bool) {
        if let Some(connection) = self.connections.remove(key) {
            self.report.sessions.take(&connection.tally, harmed);
        }
        self.more_to_accept |= std::mem::take(&mut self.out_of_descriptors);
    }
}

/// Whether an error of the transport means that the peer went away.
fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
}
