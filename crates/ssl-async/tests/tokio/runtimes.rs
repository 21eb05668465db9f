//! Hooks that enter a runtime while a shard processes their packet.

use std::sync::{Arc, Mutex};

use job_core::{Pause, pause};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use ssl_async::tokio::{Shards, TlsAcceptor};
use tokio::runtime::Handle;

use crate::world::{exchange, multi_thread, wire, world_on};

/// Waits in the places where it must not, and notes the answers.
#[derive(Debug)]
struct Enters {
    inner: Arc<dyn ResolvesServerCert>,
    runtime: Handle,
    answers: Mutex<Vec<Pause>>,
}

impl ResolvesServerCert for Enters {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let in_block_on = self.runtime.block_on(async { pause() });
        let entered = self.runtime.enter();
        let under_enter = pause();
        drop(entered);
        self.answers.lock().unwrap().extend([in_block_on, under_enter]);
        self.inner.resolve(hello)
    }
}

#[test]
fn l11_a_hook_does_not_park_inside_a_runtime_that_it_has_entered() {
    multi_thread().block_on(async {
        let world = world_on(4, Shards::builder().threads(1).build().unwrap());
        world.fixture.device.set_answers_at_once(true);
        let mut config = (**world.acceptor.config()).clone();
        let enters = Arc::new(Enters {
            inner: Arc::clone(&config.cert_resolver),
            runtime: Handle::current(),
            answers: Mutex::default(),
        });
        config.cert_resolver = Arc::clone(&enters) as Arc<dyn ResolvesServerCert>;
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);
        for _ in 0..2 {
            let (ours, theirs) = wire();
            let (server, client) = tokio::join!(acceptor.accept(ours), world.client(theirs));
            exchange(&mut client.expect("client"), &mut server.expect("server")).await;
        }
        assert_eq!(*enters.answers.lock().unwrap(), [Pause::Blocked; 4]);
        world.is_empty().await;
    });
}
