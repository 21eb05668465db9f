//! Wiping and shrinking the stacks of shards.

use std::sync::{Arc, Mutex};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use ssl_async::Parking;
use ssl_async::task::{Shards, TlsAcceptor};

use crate::world::{current_thread, exchange, until, wire, world_on};

/// Leaves a secret on a stack and reads it; shared with the tests of job-core.
#[allow(dead_code, reason = "the tests of job-core use all of it")]
#[path = "../../../job-core/tests/it/stacks/secret.rs"]
mod secret;

/// A resolver that leaves a secret on its stack, as one that reads a key file does.
#[derive(Debug)]
struct LeakyResolver {
    inner: Arc<dyn ResolvesServerCert>,
    secrets: Arc<Mutex<Vec<usize>>>,
}

impl ResolvesServerCert for LeakyResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.secrets.lock().unwrap().push(secret::leave::<{ 96 * 1024 }>());
        self.inner.resolve(hello)
    }
}

#[test]
fn wipe_erases_every_idle_stack_and_shrink_frees_it() {
    const HANDSHAKES: usize = 6;
    current_thread().block_on(async {
        let world = world_on(HANDSHAKES, Shards::builder().threads(2).build().unwrap());
        let secrets = Arc::new(Mutex::new(Vec::new()));
        let mut config = (**world.fixture.server.config()).clone();
        let inner = Arc::clone(&config.cert_resolver);
        config.cert_resolver = Arc::new(LeakyResolver { inner, secrets: Arc::clone(&secrets) });
        // Otherwise the resolver is called on the thread's stack.
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards).parking(Parking::Fiber);

        let handshakes: Vec<_> = (0..HANDSHAKES)
            .map(|_| {
                let (ours, theirs) = wire();
                (tokio::spawn(acceptor.accept(ours)), tokio::spawn(world.client(theirs)))
            })
            .collect();
        // Parked at the same time, so each has its own stack.
        until(|| world.fixture.device.held() == HANDSHAKES).await;
        (0..HANDSHAKES).for_each(|_| world.fixture.device.answer());
        for (server, client) in handshakes {
            let (mut server, mut client) =
                (server.await.unwrap().unwrap(), client.await.unwrap().unwrap());
            exchange(&mut client, &mut server).await;
        }
        world.assert_empty().await;

        let secrets = secrets.lock().unwrap().clone();
        assert_eq!(secrets.len(), HANDSHAKES);
        assert!(
            secrets.iter().any(|&at| secret::remaining(at) > 0),
            "the secrets are there before the wipe"
        );
        world.shards.wipe().await;
        assert_eq!(secrets.iter().map(|&at| secret::remaining(at)).sum::<usize>(), 0);

        let created = |stats: Vec<job_core::PoolStats>| -> usize {
            stats.iter().map(|stats| stats.created).sum()
        };
        let before = created(world.shards.stats().await);
        assert!(before >= HANDSHAKES);
        assert_eq!(world.shards.shrink().await, before);
        assert_eq!(created(world.shards.stats().await), 0);
        world.assert_serves().await;

        assert_eq!(
            world.shards.shutdown(std::time::Duration::ZERO).await,
            engine_core::Shutdown::Drained
        );
        world.shards.wipe().await;
        assert_eq!(world.shards.shrink().await, 0, "shards that have ended have no stacks");
    });
}
