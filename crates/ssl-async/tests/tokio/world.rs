//! Shared fixtures: a server whose key is on a device, clients that verify it, runtimes, and waiting.

use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use engine_core::EngineStats;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ClientConnection};
use ssl_async::replayable;
use ssl_async::task::{Shards, TlsAcceptor, TlsConnector, TlsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

use crate::support::{
    Fixture, KeyType, Version, client_config, fixture, localhost, provider, server_config,
};

/// The time after which a test counts as hanging.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A server, and a connector for its clients.
pub(crate) struct World {
    pub(crate) fixture: Fixture,
    pub(crate) shards: Shards,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
}

/// A server with two shards, whose device holds up to `ring` requests.
pub(crate) fn world(ring: usize) -> World {
    world_on(ring, Shards::builder().threads(2).build().expect("two threads"))
}

pub(crate) fn world_on(ring: usize, shards: Shards) -> World {
    world_parked(ring, shards, provider())
}

/// As [`world`], once with handshakes on fibers and once by replay.
pub(crate) fn worlds(ring: usize) -> impl Iterator<Item = World> {
    worlds_on(ring, || Shards::builder().threads(2).build().expect("two threads"))
}

pub(crate) fn worlds_on(ring: usize, shards: impl Fn() -> Shards) -> impl Iterator<Item = World> {
    [provider(), replayable(provider())]
        .into_iter()
        .map(move |provider| world_parked(ring, shards(), provider))
}

/// A server that parks by replay if `provider` can be replayed.
fn world_parked(ring: usize, shards: Shards, provider: CryptoProvider) -> World {
    let fixture = fixture(KeyType::P256, ring);
    let config = server_config(provider, ALL_VERSIONS, &fixture.identity, &fixture.key);
    let acceptor = TlsAcceptor::new(Arc::new(config), &shards);
    let mut client = client_config(crate::support::provider(), &TLS13, &fixture.identity);
    // So that each handshake needs the key.
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

/// A runtime whose clock is paused: it advances to the next timer when no task can run.
pub(crate) fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// Waits until a condition on another thread holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < end, "the condition does not become true");
        thread::yield_now();
        tokio::task::yield_now().await;
    }
}

/// A pair of transports.
pub(crate) fn wire() -> (DuplexStream, DuplexStream) {
    duplex(64 * 1024)
}

/// Sends data from the client to the server, and back.
pub(crate) async fn exchange<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    client: &mut TlsStream<S>,
    server: &mut TlsStream<S>,
) {
    let mut received = [0; 4];
    client.write_all(b"ping").await.expect("the client writes");
    client.flush().await.expect("the client flushes");
    server.read_exact(&mut received).await.expect("the server reads");
    assert_eq!(&received, b"ping");
    server.write_all(b"pong").await.expect("the server writes");
    server.flush().await.expect("the server flushes");
    client.read_exact(&mut received).await.expect("the client reads");
    assert_eq!(&received, b"pong");
}

impl World {
    /// The hello of a client of `version`, in one record.
    pub(crate) fn client_hello(&self, version: Version) -> Vec<u8> {
        let config = Arc::new(self.fixture.client_config(version));
        let mut tls = ClientConnection::new(config, localhost()).expect("a client");
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).expect("a buffer takes all");
        hello
    }

    /// The handshake of a client, which verifies the server's signature.
    pub(crate) fn client(
        &self,
        io: DuplexStream,
    ) -> impl Future<Output = Result<TlsStream<DuplexStream>, ssl_async::SslError>> + Send + 'static
    {
        self.connector.connect(localhost(), io)
    }

    /// Asserts that a whole handshake succeeds, with data both ways.
    pub(crate) async fn assert_serves(&self) {
        self.fixture.device.set_answers_at_once(true);
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(self.acceptor.accept(ours), self.client(theirs));
        exchange(&mut client.expect("client"), &mut server.expect("server")).await;
        self.fixture.device.set_answers_at_once(false);
    }

    /// Answers the requests that the device holds, and asserts that no packet, job, stack, request or waiter is left (laws L5
    /// and L8).
    pub(crate) async fn assert_empty(&self) -> EngineStats {
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
        // Wakes are not compared: the engine does not count a wake that came before its route was set.
        assert_eq!(snapshot.spurious_resumes, 0, "L7: no resume without a reason");
        snapshot
    }
}
