//! The HTTPS server of `lab serve`: the same workers and sessions as in the scenarios, a page behind them.

mod chain;
mod identity;
mod offload;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use ssl_async::SslContext;

use crate::{
    keys,
    report::Ledger,
    run::{Device, ledger},
    scenario,
    server::{Ending, LiveCounters, Server, ServerPlan, Service},
};

pub use identity::{Identity, IdentityError};
pub use offload::Threads;

use offload::Offload;

/// Where the server's key is used.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// In the worker's own thread.
    Inline,
    /// On threads that may block.
    Threads(Threads),
    /// On a simulated device.
    Sim(scenario::Device),
}

/// A server that can be started.
#[derive(Debug)]
pub struct ServePlan {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Certificate and key.
    pub identity: Identity,
    /// Where the key is used.
    pub engine: EngineChoice,
    /// Event loops.
    pub workers: usize,
    /// How long a handshake may take. It has to be longer than the key does.
    pub handshake_timeout: Duration,
}

/// A server that could not be started or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("--listen {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why, and what to do.
        reason: String,
    },
    /// The device cannot be built so.
    #[error("--engine sim: {0}")]
    Device(#[from] sim_engine::SimError),
    /// rustls does not take certificate and key.
    #[error("--cert and --key: {0}; give a certificate and the key that it was made for")]
    Tls(#[from] rustls::Error),
    /// The system has no thread or descriptor left.
    #[error("the server cannot run: {0}")]
    System(#[from] io::Error),
}

/// A server that runs.
#[derive(Debug)]
pub struct Serving {
    server: Server,
    offload: Option<Offload>,
    drain: Duration,
}

/// What a server did, printed as one line of JSON when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServeReport {
    /// Handshakes completed.
    pub handshakes: u64,
    /// Sessions that failed, for whatever reason but the peer's hanging up.
    pub failed: u64,
    /// Sessions whose peer hung up, before or after the handshake.
    pub hung_up: u64,
    /// Sessions still there when the time to drain was over.
    pub abandoned: u64,
    /// Workers that did not end; their accounts are not in here.
    pub stuck: u64,
    /// HTTP requests answered.
    pub requests: u64,
    /// Operations that the device completed.
    pub ops: u64,
    /// Operations given up because their session ended.
    pub cancelled: u64,
    /// What is left over (all zero if all is well), and what was held at most.
    pub ledger: Ledger,
}

/// How long sessions under way may take to end, beside the device's latency.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a worker may take to notice that the drain is over.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Operations that may wait for the device's ring: as many as connections of a busy server.
const QUEUE_BOUND: usize = 65_536;

impl Serving {
    /// Listens and serves.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn start(plan: ServePlan) -> Result<Self, ServeError> {
        let ServePlan { listen, identity, engine, workers, handshake_timeout } = plan;
        let mut drain = DRAIN;
        let (offload, name) = match &engine {
            EngineChoice::Inline => (None, "inline"),
            EngineChoice::Threads(threads) => {
                drain += threads.latency * 2;
                let keys = Arc::clone(&identity.keys);
                (Some(Offload::threads(threads, QUEUE_BOUND, keys)), "threads")
            }
            EngineChoice::Sim(device) => {
                drain += device.latency() * 2;
                let keys = Arc::clone(&identity.keys);
                let terms = scenario::EngineTerms::default();
                let device = Device::start(device, &[], 1, QUEUE_BOUND, keys, &terms)?;
                (Some(Offload::Sim(device)), "sim")
            }
        };
        let key = match &offload {
            None => keys::in_place(Arc::clone(&identity.keys), identity.handle.clone()),
            Some(offload) => offload.signing_key(identity.handle.clone()),
        };
        let config = keys::server_config(identity.chain, key)?;
        let listener = listen_on(listen)?;
        let server = Server::start(
            &listener,
            ServerPlan {
                workers,
                wake: scenario::Wake::Ready,
                context: SslContext::server(Arc::new(config)),
                service: Service::Page { engine: name.into() },
                unprompted_every: None,
                collector: None,
                handshake_timeout: Some(handshake_timeout),
            },
        )?;
        Ok(Self { server, offload, drain })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Counters to look at while it runs.
    #[must_use]
    pub fn live(&self) -> &Arc<LiveCounters> {
        self.server.live()
    }

    /// Takes no new connection, lets those there end in good order, and ends.
    ///
    /// # Errors
    /// What a worker failed with.
    pub fn drain(self) -> io::Result<ServeReport> {
        let requests = Arc::clone(self.server.live());
        let ended = self.server.end(Ending::Drain(self.drain), LAST_PATIENCE)?;
        let workers = ended.workers;
        let snapshot = self.offload.map(|offload| offload.end(self.drain));
        let engine = snapshot.as_ref();
        Ok(ServeReport {
            handshakes: workers.iter().map(|worker| worker.handshakes).sum(),
            failed: workers.iter().map(|worker| worker.failed).sum(),
            hung_up: workers.iter().map(|worker| worker.hung_up).sum(),
            abandoned: workers.iter().map(|worker| worker.abandoned).sum(),
            stuck: ended.stuck,
            requests: requests.requests(),
            ops: engine.map_or(0, |engine| engine.completed),
            cancelled: engine.map_or(0, |engine| engine.cancelled),
            ledger: ledger(&workers, engine.as_slice()),
        })
    }
}

fn listen_on(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let refuse = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "the port is in use; stop whoever uses it or give port 0".to_owned()
            }
            io::ErrorKind::PermissionDenied => "not permitted; give a port above 1023".to_owned(),
            io::ErrorKind::AddrNotAvailable => {
                "no such address on this machine; give 127.0.0.1 or one of its own".to_owned()
            }
            _ => format!("{error}; give another address"),
        };
        ServeError::Listen { address, reason }
    };
    let listener = TcpListener::bind(address).map_err(refuse)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| refuse(error.into()))?;
    Ok(listener)
}
