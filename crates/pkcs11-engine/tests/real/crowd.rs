//! Many handshakes at once, parked while their signatures are computed.

use std::sync::Arc;

use ssl_async::SlowKey;
use ssl_async::rustls::client::Resumption;
use ssl_async::rustls::{ClientConfig, RootCertStore};
use ssl_async::task::{TlsAcceptor, TlsConnector};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// A server with a key, and its clients, on one thread.
pub(crate) struct Crowd {
    runtime: Runtime,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Handshakes under way.
pub(crate) struct Handshakes(JoinSet<Result<(), String>>);

impl Crowd {
    pub(crate) fn new(key: &Arc<SlowKey>, roots: RootCertStore) -> Self {
        let mut client =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.resumption = Resumption::disabled();
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            acceptor: TlsAcceptor::from(Arc::new(key.server_config())),
            connector: TlsConnector::from(Arc::new(client)),
        }
    }

    /// Begins handshakes. They go on while the crowd [runs](Self::run_until) or [ends](Self::end).
    pub(crate) fn begin(&self, n: usize) -> Handshakes {
        let mut handshakes = JoinSet::new();
        for _ in 0..n {
            let (acceptor, connector) = (self.acceptor.clone(), self.connector.clone());
            let handshake = async move {
                let (ours, theirs) = tokio::io::duplex(1 << 16);
                let host = "localhost".try_into().unwrap();
                let both = tokio::join!(acceptor.accept(ours), connector.connect(host, theirs));
                match both {
                    (Ok(_), Ok(_)) => Ok(()),
                    (Err(error), _) => Err(error.to_string()),
                    (_, Err(error)) => Err(format!("client: {error}")),
                }
            };
            handshakes.spawn_on(handshake, self.runtime.handle());
        }
        Handshakes(handshakes)
    }

    /// Runs the handshakes until a condition holds.
    pub(crate) fn run_until(&self, condition: impl Fn() -> bool) {
        self.runtime.block_on(async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Runs the handshakes to their end. Returns the errors of those that failed.
    pub(crate) fn end(&self, mut handshakes: Handshakes) -> Vec<String> {
        self.runtime.block_on(async {
            let mut failed = Vec::new();
            while let Some(ended) = handshakes.0.join_next().await {
                failed.extend(ended.expect("no handshake panics").err());
            }
            failed
        })
    }

    /// Runs this number of handshakes to their end, and returns the errors.
    pub(crate) fn run(&self, n: usize) -> Vec<String> {
        self.end(self.begin(n))
    }
}
