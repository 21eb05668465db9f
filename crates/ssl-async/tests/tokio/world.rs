//! What these tests share: a server whose key is on a device, clients that verify it, runtimes, and waiting.

use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use engine_core::EngineStats;
use rustls::client::Resumption;
use rustls::version::TLS13;
use ssl_async::task::{Shards, TlsAcceptor, TlsConnector, TlsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Fixture, KeyType, client_config, fixture, localhost, provider};

/// How long anything may take before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One server.
pub(crate) struct World {
    pub(crate) fixture: Fixture,
    pub(crate) shards: Shards,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
}

/// A server whose device has a ring of `ring` entries, with two shards.
pub(crate) fn world(ring: usize) -> World {
    world_on(ring, Shards::builder().threads(2).build().expect("two threads"))
}

pub(crate) fn world_on(ring: usize, shards: Shards) -> World {
    let fixture = fixture(KeyType::P256, ring);
    let acceptor = TlsAcceptor::new(Arc::clone(fixture.server.config()), &shards);
    let mut client = client_config(provider(), &TLS13, &fixture.identity);
    // Each handshake is to need the key.
    client.resumption = Resumption::disabled();
    let connector = TlsConnector::new(Arc::new(client), &shards);
    World { fixture, shards, acceptor, connector }
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

pub(crate) fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

/// Waits until something on another thread has come about.
pub(crate) async fn until(mut came_about: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !came_about() {
        assert!(Instant::now() < end, "it does not come about");
        thread::yield_now();
        tokio::task::yield_now().await;
    }
}

/// A pair of transports.
pub(crate) fn wire() -> (DuplexStream, DuplexStream) {
    duplex(64 * 1024)
}

/// Says something to the server and hears it.
pub(crate) async fn exchange<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    client: &mut TlsStream<S>,
    server: &mut TlsStream<S>,
) {
    let mut heard = [0; 4];
    client.write_all(b"ping").await.expect("the client writes");
    client.flush().await.expect("the client flushes");
    server.read_exact(&mut heard).await.expect("the server reads");
    assert_eq!(&heard, b"ping");
    server.write_all(b"pong").await.expect("the server writes");
    server.flush().await.expect("the server flushes");
    client.read_exact(&mut heard).await.expect("the client reads");
    assert_eq!(&heard, b"pong");
}

impl World {
    /// A client that connects; it verifies the server's signature.
    pub(crate) fn client(
        &self,
        io: DuplexStream,
    ) -> impl Future<Output = Result<TlsStream<DuplexStream>, ssl_async::SslError>> + Send + 'static
    {
        self.connector.connect(localhost(), io)
    }

    /// The server serves: a whole handshake, with data both ways.
    pub(crate) async fn serves(&self) {
        self.fixture.device.set_answers_at_once(true);
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(self.acceptor.accept(ours), self.client(theirs));
        exchange(&mut client.expect("client"), &mut server.expect("server")).await;
        self.fixture.device.set_answers_at_once(false);
    }

    /// Laws L5 and L8: nothing is left, once the device has answered what it holds.
    pub(crate) async fn is_empty(&self) -> EngineStats {
        self.shards.quiesce().await;
        assert_eq!(self.shards.n_packets(), 0);
        for stats in self.shards.stats().await {
            assert_eq!((stats.live, stats.stacks_in_use, stats.quarantined), (0, 0, 0));
        }
        while self.fixture.device.held() > 0 {
            self.fixture.device.answer();
        }
        let snapshot = self.fixture.engine.stats();
        assert_eq!((snapshot.requests.now, snapshot.waiters.now), (0, 0));
        // A wake that came before its route was owed: the engine has not counted it, so its own count is not compared.
        assert_eq!(snapshot.spurious_resumes, 0, "L7: no resume without a reason");
        snapshot
    }
}
