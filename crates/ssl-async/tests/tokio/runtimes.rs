//! Hooks that enter a runtime while a shard processes their packet.

use std::sync::{Arc, Mutex};

use job_core::{Pause, pause};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use ssl_async::task::{Shards, TlsAcceptor};
use ssl_async::{Parking, resolve};
use tokio::runtime::Handle;

use crate::world::{TIMEOUT, current_thread, exchange, multi_thread, wire, world_on, worlds};

/// An `async` resolver that spawns a task and has a timer.
fn spawning_resolver(certified: Arc<CertifiedKey>) -> Arc<dyn ResolvesServerCert> {
    resolve::server_certificate(async move |offer| {
        assert_eq!(offer.server_name.as_deref(), Some("localhost"));
        let task = tokio::spawn(async move {
            let yielded = tokio::time::timeout(TIMEOUT, tokio::task::yield_now());
            yielded.await.expect("a turn of the runtime takes no minute");
            Some(certified)
        });
        tokio::time::timeout(TIMEOUT, task).await.ok()?.expect("the task ends")
    })
}

#[test]
fn an_async_hook_spawns_and_has_timers_on_the_runtime_of_its_task() {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            for world in worlds(4) {
                world.fixture.device.set_answers_at_once(true);
                let mut config = (**world.acceptor.config()).clone();
                let chain = vec![world.fixture.identity.certificate.clone()];
                let key = Arc::clone(&world.fixture.key);
                config.cert_resolver = spawning_resolver(Arc::new(CertifiedKey::new(chain, key)));
                let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
                for _ in 0..2 {
                    let (ours, theirs) = wire();
                    let (server, client) =
                        tokio::join!(acceptor.accept(ours), world.client(theirs));
                    exchange(&mut client.expect("client"), &mut server.expect("server")).await;
                }
                world.assert_empty().await;
            }
        });
    }
}

/// A resolver that tries to pause inside a runtime, and records the results.
#[derive(Debug)]
struct EnteringResolver {
    inner: Arc<dyn ResolvesServerCert>,
    runtime: Handle,
    results: Mutex<Vec<Pause>>,
}

impl ResolvesServerCert for EnteringResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let in_block_on = self.runtime.block_on(async { pause() });
        let entered = self.runtime.enter();
        let under_enter = pause();
        drop(entered);
        self.results.lock().unwrap().extend([in_block_on, under_enter]);
        self.inner.resolve(hello)
    }
}

#[test]
fn l11_a_hook_does_not_park_inside_a_runtime_that_it_has_entered() {
    multi_thread().block_on(async {
        let world = world_on(4, Shards::builder().threads(1).build().unwrap());
        world.fixture.device.set_answers_at_once(true);
        let mut config = (**world.acceptor.config()).clone();
        let resolver = Arc::new(EnteringResolver {
            inner: Arc::clone(&config.cert_resolver),
            runtime: Handle::current(),
            results: Mutex::default(),
        });
        config.cert_resolver = Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>;
        // Otherwise the resolver is called on the thread's stack, where it cannot pause at all.
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards).parking(Parking::Fiber);
        for _ in 0..2 {
            let (ours, theirs) = wire();
            let (server, client) = tokio::join!(acceptor.accept(ours), world.client(theirs));
            exchange(&mut client.expect("client"), &mut server.expect("server")).await;
        }
        assert_eq!(*resolver.results.lock().unwrap(), [Pause::Blocked; 4]);
        world.assert_empty().await;
    });
}
