//! The HTTPS server of `lab serve`: the same workers and sessions as in the scenarios, a page behind them.

mod certificates;
mod chain;
mod files;
mod identity;
pub(crate) mod log;
mod metrics;
mod offload;
mod token;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crypto_ops::{KeyHandle, SoftwareKeys};

use lab_report::Ledger;
use serde::Serialize;
use ssl_async::SslContext;

use crate::{
    evidence::ledger,
    keys,
    run::Device,
    scenario,
    server::{Limits, LiveCounters, Server, ServerPlan, Service, StopOrder, Timeouts},
};

pub use files::CertFiles;
pub use identity::{Identity, IdentityError};
pub use offload::Threads;
pub use token::TokenPlan;

use certificates::{Current, ReplacedKeys};
use metrics::{Metrics, MetricsSource};
use offload::Offload;
use token::OpenToken;

/// Where the server's key is used.
#[derive(Debug, Clone)]
pub enum EngineChoice {
    /// In the worker's own thread.
    Inline,
    /// On threads that may block.
    Threads(Threads),
    /// On a simulated device.
    Sim(scenario::DeviceSpec),
    /// In a PKCS#11 token, which has the key; then there are no identities.
    Token(TokenPlan),
}

#[derive(Debug)]
pub struct ServePlan {
    /// Where to listen: the first of these addresses that can be had; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// Where to tell metrics and health, over HTTP without TLS; nowhere if there is no address.
    pub metrics: Vec<SocketAddr>,
    /// At least one, all with the same key store. The first is for clients that name no host of the others, too.
    pub identities: Vec<Identity>,
    pub engine: EngineChoice,
    /// Event loops.
    pub workers: usize,
    /// How long sessions may wait for their peers.
    pub limits: Limits,
    /// How long a drain may take. It ends with the last session.
    pub drain: Duration,
}

/// A server that could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{option} {address}: {reason}")]
    Listen {
        /// `--listen` or `--metrics`.
        option: &'static str,
        address: SocketAddr,
        reason: String,
    },
    #[error("--engine sim: {0}")]
    Device(#[from] sim_engine::SimError),
    #[error("--cert and --key: {0}; give a certificate and the key that it was made for")]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Certificates(#[from] IdentityError),
    #[error("--key: {0}")]
    Token(#[from] pkcs11_engine::OpenError),
    #[error("the server cannot run: {source}{}", raise(source))]
    System {
        #[from]
        source: io::Error,
    },
}

/// The command that mends a want of descriptors.
fn raise(error: &io::Error) -> &'static str {
    // EMFILE and ENFILE.
    if matches!(error.raw_os_error(), Some(23 | 24)) {
        "; raise the limit of open files, for instance with `ulimit -n 65536`"
    } else {
        ""
    }
}

#[derive(Debug)]
pub struct Serving {
    server: Server,
    offload: Option<Offload>,
    drain: Duration,
    certificates: Current,
    keys: Arc<SoftwareKeys>,
    replaced: ReplacedKeys,
    begun: Instant,
    handshake_limit: Duration,
    /// Told until the last session has ended.
    metrics: Option<Metrics>,
}

/// What a server did, printed as one line of JSON when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServeReport {
    pub handshakes: u64,
    /// Sessions that failed, for whatever reason but the peer's hanging up.
    pub failed: u64,
    /// Sessions whose peer hung up, before or after the handshake.
    pub hung_up: u64,
    /// Sessions that waited for their peers longer than they may, by what for.
    pub timed_out: Timeouts,
    /// Sessions still there when the time to drain was over.
    pub abandoned: u64,
    /// Workers that did not end; their accounts are not in here.
    pub stuck: u64,
    pub requests: u64,
    pub ops: u64,
    /// Operations given up because their session ended.
    pub cancelled: u64,
    /// Of these, those that the device still worked on at the end. Nothing waits for them.
    pub in_device: u64,
    /// Whether a call of a token's module had not returned. Then only `_exit` ends the process safely.
    pub is_in_module: bool,
    /// What is left over (all zero if all is well), and what was held at most.
    pub ledger: Ledger,
}

/// How long the device may take, after the last session has ended, for operations that nothing waits for.
const DEVICE_PATIENCE: Duration = Duration::from_millis(100);

/// How long a worker may take to notice that the drain is over.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Operations that may wait for the device's ring: the connections of a busy server.
const QUEUE_BOUND: usize = 65_536;

impl Serving {
    /// Listens and serves.
    pub fn start(plan: ServePlan) -> Result<Self, ServeError> {
        let ServePlan { listen, metrics, identities, engine, workers, limits, drain } = plan;
        let keys = identities.first().map(|first| Arc::clone(&first.keys)).unwrap_or_default();
        let mut of_token = None;
        let (offload, name) = match &engine {
            EngineChoice::Inline => (None, "inline"),
            EngineChoice::Threads(threads) => {
                (Some(Offload::threads(threads, QUEUE_BOUND, Arc::clone(&keys))), "threads")
            }
            EngineChoice::Sim(device) => {
                let options = scenario::EngineOptions::default();
                let keys = Arc::clone(&keys);
                let device = Device::start(device, &[], 1, QUEUE_BOUND, keys, &options)?;
                (Some(Offload::Sim(device)), "sim")
            }
            EngineChoice::Token(plan) => {
                let (token, key) = OpenToken::open(plan)?;
                of_token = Some((key, plan.certificate.as_deref()));
                (Some(Offload::Token(token)), "pkcs11")
            }
        };
        let certificates = match &of_token {
            Some((key, file)) => Current::of_key(key, *file),
            None => {
                Current::new(identities, |handle| signing_key(offload.as_ref(), &keys, handle))?
            }
        };
        let config = keys::https_config(Arc::clone(certificates.store()) as _)?;
        let listener = listen_on("--listen", &listen)?;
        let metrics_listener = match metrics.is_empty() {
            true => None,
            false => Some(listen_on("--metrics", &metrics)?),
        };
        let server = Server::start(
            &listener,
            ServerPlan {
                workers,
                wake: scenario::Wake::Ready,
                context: SslContext::server(Arc::new(config)),
                service: Service::Page { engine: name.into() },
                unprompted_every: None,
                collector: None,
                limits,
            },
        )?;
        let source = MetricsSource {
            live: Arc::clone(server.live()),
            engine: offload.as_ref().map(Offload::engine),
        };
        let metrics =
            metrics_listener.map(|listener| Metrics::start(listener, source)).transpose()?;
        Ok(Self {
            server,
            offload,
            drain,
            certificates,
            keys,
            replaced: ReplacedKeys::default(),
            begun: Instant::now(),
            handshake_limit: limits.handshake.unwrap_or(Duration::MAX),
            metrics,
        })
    }

    /// Reads certificates and keys anew, as a whole, and returns how many there are. Handshakes that begin from now on get
    /// them; those under way, also parked ones, go on with what they have.
    ///
    /// # Errors
    /// Why the files are of no use; the server then keeps the certificates and keys that it has.
    pub fn reload(&mut self, files: &CertFiles) -> Result<usize, IdentityError> {
        let identities = files.load(&self.keys, self.certificates.keys())?;
        let handles: Vec<KeyHandle> = identities.iter().map(|one| one.handle.clone()).collect();
        let sign = |handle: &KeyHandle| signing_key(self.offload.as_ref(), &self.keys, handle);
        let now = self.begun.elapsed();
        match self.certificates.replace(identities, sign) {
            Ok(replaced) => {
                replaced.into_iter().for_each(|key| self.replaced.add(now, key));
                self.forget_replaced_keys();
                Ok(handles.len())
            }
            Err(error) => {
                // Those that were loaded for nothing, and no handshake ever asked for.
                let new = handles.into_iter().filter(|key| !self.certificates.keys().contains(key));
                new.for_each(|key| self.replaced.add(now, key));
                Err(error)
            }
        }
    }

    /// Reads the certificate of a key in a token anew.
    ///
    /// # Errors
    /// Why it is of no use; the server then keeps the one that it has.
    pub fn reload_of_token(&mut self, certificate: Option<&Path>) -> Result<(), ServeError> {
        if let Some(Offload::Token(token)) = &self.offload {
            let key = token.key(certificate)?;
            self.certificates.replace_by_key(&key, certificate);
        }
        Ok(())
    }

    /// Reads the OCSP responses whose files have changed, and returns which. To be called now and then.
    pub fn refresh_staples(&mut self) -> Vec<PathBuf> {
        self.certificates.refresh_staples()
    }

    /// Erases the keys that were replaced so long ago that no handshake under way can ask for them. To be called now and
    /// then.
    pub fn forget_replaced_keys(&mut self) {
        let (now, longest) = (self.begun.elapsed(), self.handshake_limit);
        for key in self.replaced.take_unused(now, longest, self.certificates.keys()) {
            self.keys.remove(&key);
        }
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Metrics::address)
    }

    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Counters to look at while it runs.
    pub fn live(&self) -> &Arc<LiveCounters> {
        self.server.live()
    }

    /// Takes no new connection, answers a request of every connection that has been accepted, and ends with the last of
    /// them, or when the time to drain is over.
    ///
    /// # Errors
    /// What a worker failed with.
    pub fn drain(self) -> io::Result<ServeReport> {
        let requests = Arc::clone(self.server.live());
        let ended = self.server.end(StopOrder::Drain(self.drain), LAST_PATIENCE)?;
        if let Some(metrics) = self.metrics {
            metrics.end();
        }
        let workers = ended.workers;
        let (snapshot, is_in_module) =
            self.offload.map(|offload| offload.end(DEVICE_PATIENCE)).unzip();
        let engine = snapshot.as_ref();
        let mut ledger = ledger(&workers, engine.as_slice());
        // Every session has ended, so no caller waits for the remaining requests.
        let in_device = if ended.stuck == 0 { std::mem::take(&mut ledger.requests.now) } else { 0 };
        let timeouts = workers.iter().map(|worker| worker.timeouts);
        Ok(ServeReport {
            handshakes: workers.iter().map(|worker| worker.handshakes).sum(),
            failed: workers.iter().map(|worker| worker.failed).sum(),
            hung_up: workers.iter().map(|worker| worker.hung_up).sum(),
            timed_out: timeouts.fold(Timeouts::default(), Timeouts::and),
            abandoned: workers.iter().map(|worker| worker.abandoned).sum(),
            stuck: ended.stuck,
            requests: requests.requests(),
            ops: engine.map_or(0, |engine| engine.completed),
            cancelled: engine.map_or(0, |engine| engine.cancelled),
            in_device,
            is_in_module: is_in_module.unwrap_or(false),
            ledger,
        })
    }
}

/// The key `handle` where its signatures are computed.
fn signing_key(
    offload: Option<&Offload>,
    keys: &Arc<SoftwareKeys>,
    handle: &KeyHandle,
) -> Arc<dyn rustls::sign::SigningKey> {
    match offload {
        None => keys::in_place(Arc::clone(keys), handle.clone()),
        Some(offload) => offload.signing_key(handle.clone()),
    }
}

/// Listens on the first of these addresses that can be had; the last refusal if none can.
fn listen_on(option: &'static str, addresses: &[SocketAddr]) -> Result<TcpListener, ServeError> {
    let listen = |address: &SocketAddr| {
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    };
    let mut refused = None;
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = Some((*address, error)),
        }
    }
    let (address, error) = refused.unwrap_or_else(|| {
        (SocketAddr::from(([0, 0, 0, 0], 0)), io::Error::other("the name has no address"))
    });
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; stop the program that uses it or give port 0".to_owned()
        }
        io::ErrorKind::PermissionDenied => "not permitted; give a port above 1023".to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            "no such address on this machine; give 127.0.0.1 or one of its own".to_owned()
        }
        _ if !raise(&error).is_empty() => format!("{error}{}", raise(&error)),
        _ => format!("{error}; give another address"),
    };
    Err(ServeError::Listen { option, address, reason })
}
