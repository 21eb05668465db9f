//! Where a server's connections come from: clients in memory, or a listener on loopback. Both are a closed loop: when a
//! client's handshake is done, the next one arrives.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::task::coop;

use crate::client;
use crate::meter::Meter;
use crate::site::Site;
use crate::wire::{Connection, Wire, say};

/// The size of what a server signs in TLS 1.3 with SHA-256.
const SIGNED: usize = 130;

/// The connections of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Incoming {
    Memory(Arc<Crowd>),
    Loopback(Arc<TcpListener>),
}

/// Clients in memory.
#[derive(Debug)]
pub struct Crowd {
    /// When each that waits to be accepted arrived.
    waiting: Mutex<VecDeque<Instant>>,
    arrived: Condvar,
    notify: Notify,
    config: Arc<ClientConfig>,
    /// Played to every server, if there are no clients.
    played: Option<Vec<u8>>,
    /// Whose key signs once for each client. The signatures are thrown away.
    unasked: Option<Arc<Site>>,
    closed: AtomicBool,
    meter: Arc<Meter>,
}

impl Crowd {
    /// Clients that use `config`.
    pub(crate) fn new(config: Arc<ClientConfig>, meter: Arc<Meter>) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            notify: Notify::new(),
            config,
            played: None,
            unasked: None,
            closed: AtomicBool::new(false),
            meter,
        }
    }

    /// No clients, only a hello that was said once.
    pub(crate) fn played(config: Arc<ClientConfig>, meter: Arc<Meter>) -> Self {
        let mut hello = Vec::new();
        say(&mut client::connection(&config), &mut hello);
        Self { played: Some(hello), ..Self::new(config, meter) }
    }

    /// The site's key signs once for each client, although the server does not ask it: a processor is slower while the one beside
    /// it is at work, and such a server is to be no exception.
    pub(crate) fn with_busy_key(self, site: &Arc<Site>) -> Self {
        Self { unasked: Some(Arc::clone(site)), ..self }
    }

    /// This number of clients arrive.
    pub(crate) fn arrive(&self, clients: usize) {
        let now = Instant::now();
        self.waiting().extend((0..clients).map(|_| now));
        self.arrived.notify_all();
        self.notify.notify_one();
    }

    /// No client replaces one that leaves, from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// A client that arrived at `since` leaves; the next one takes its place.
    pub(crate) fn gone(&self, since: Instant, done: bool) {
        self.meter.gone(since, done);
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        self.waiting().push_back(Instant::now());
        self.arrived.notify_one();
        self.notify.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, since: Instant) -> Wire {
        let crowd = Arc::clone(self);
        if let Some(hello) = &self.played {
            return Wire::new(crowd, since, None, hello.clone());
        }
        let mut hello = Vec::new();
        let client = self.meter.client(|| {
            let mut client = Box::new(client::connection(&self.config));
            say(&mut client, &mut hello);
            if let Some(site) = &self.unasked {
                site.ask(vec![0; SIGNED], drop);
            }
            client
        });
        Wire::new(crowd, since, Some(client), hello)
    }

    fn accept_now(self: &Arc<Self>) -> Option<Wire> {
        let since = self.waiting().pop_front()?;
        Some(self.connect(since))
    }

    fn accept(self: &Arc<Self>) -> Wire {
        let mut waiting = self.waiting();
        loop {
            if let Some(since) = waiting.pop_front() {
                drop(waiting);
                return self.connect(since);
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    async fn accept_async(self: &Arc<Self>) -> Wire {
        loop {
            // As a listener does: an accept loop that never had to wait would keep its runtime from everything else.
            coop::consume_budget().await;
            if let Some(wire) = self.accept_now() {
                return wire;
            }
            self.notify.notified().await;
        }
    }
}

impl Incoming {
    /// Waits for the next connection, as threads do.
    ///
    /// # Errors
    ///
    /// The listener's.
    pub fn accept(&self) -> io::Result<Connection<TcpStream>> {
        match self {
            Self::Memory(crowd) => Ok(Connection::Memory(crowd.accept())),
            Self::Loopback(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                Ok(Connection::Loopback(socket))
            }
        }
    }

    /// For an accept loop on tokio.
    ///
    /// # Errors
    ///
    /// The system's, if the listener cannot be registered.
    pub fn on_tokio(&self) -> io::Result<TokioIncoming> {
        Ok(match self {
            Self::Memory(crowd) => TokioIncoming::Memory(Arc::clone(crowd)),
            Self::Loopback(listener) => {
                listener.set_nonblocking(true)?;
                let listener = listener.try_clone()?;
                TokioIncoming::Loopback(tokio::net::TcpListener::from_std(listener)?)
            }
        })
    }

    /// For an event loop: a connection, if there is one.
    pub(crate) fn accept_in_memory(&self) -> Option<Wire> {
        match self {
            Self::Memory(crowd) => crowd.accept_now(),
            Self::Loopback(_) => None,
        }
    }
}

/// The connections of a server on tokio.
#[derive(Debug)]
pub enum TokioIncoming {
    Memory(Arc<Crowd>),
    Loopback(tokio::net::TcpListener),
}

impl TokioIncoming {
    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// The listener's.
    pub async fn accept(&self) -> io::Result<Connection<tokio::net::TcpStream>> {
        match self {
            Self::Memory(crowd) => Ok(Connection::Memory(crowd.accept_async().await)),
            Self::Loopback(listener) => {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok(Connection::Loopback(socket))
            }
        }
    }
}
