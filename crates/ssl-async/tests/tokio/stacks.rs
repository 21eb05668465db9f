//! The stacks of shards, wiped and given back on request.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use ssl_async::task::{Shards, TlsAcceptor};

use crate::world::{current_thread, exchange, until, wire, world_on};

/// Bytes of a secret.
const SECRET: usize = 64;

/// Leaves a secret far down on the stack and says where: at the lower end of a frame of which nothing else is written.
#[inline(never)]
fn leave_secret() -> usize {
    let mut frame = MaybeUninit::<[u8; 96 * 1024]>::uninit();
    let lowest = frame.as_mut_ptr().cast::<u8>();
    for nth in 0..SECRET {
        // SAFETY: within the frame.
        let byte = unsafe { lowest.add(nth) };
        // SAFETY: as above.
        unsafe { byte.write_volatile(0x5A) };
    }
    black_box(&frame);
    lowest.expose_provenance()
}

/// How much of a secret is there.
fn seen(at: usize) -> usize {
    let is_there = |nth| {
        let byte = std::ptr::with_exposed_provenance::<u8>(at + nth);
        // SAFETY: memory of a stack of a shard that is alive; its jobs have ended, and it answered since.
        unsafe { byte.read_volatile() == 0x5A }
    };
    (0..SECRET).filter(|&nth| is_there(nth)).count()
}

/// A resolver that leaves a secret on the stack it runs on, as one does that opens the file of a key.
#[derive(Debug)]
struct Careless {
    inner: Arc<dyn ResolvesServerCert>,
    secrets: Arc<Mutex<Vec<usize>>>,
}

impl ResolvesServerCert for Careless {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.secrets.lock().unwrap().push(leave_secret());
        self.inner.resolve(hello)
    }
}

#[test]
fn shards_wipe_every_idle_stack_on_request_and_give_its_memory_back() {
    const HANDSHAKES: usize = 6;
    current_thread().block_on(async {
        let world = world_on(HANDSHAKES, Shards::builder().threads(2).build().unwrap());
        let secrets = Arc::new(Mutex::new(Vec::new()));
        let mut config = (**world.fixture.server.config()).clone();
        let inner = Arc::clone(&config.cert_resolver);
        config.cert_resolver = Arc::new(Careless { inner, secrets: Arc::clone(&secrets) });
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);

        let handshakes: Vec<_> = (0..HANDSHAKES)
            .map(|_| {
                let (ours, theirs) = wire();
                (tokio::spawn(acceptor.accept(ours)), tokio::spawn(world.client(theirs)))
            })
            .collect();
        // All are parked at the same time, each on a stack of its own.
        until(|| world.fixture.device.held() == HANDSHAKES).await;
        (0..HANDSHAKES).for_each(|_| world.fixture.device.answer());
        for (server, client) in handshakes {
            let (mut server, mut client) =
                (server.await.unwrap().unwrap(), client.await.unwrap().unwrap());
            exchange(&mut client, &mut server).await;
        }
        world.is_empty().await;

        let secrets = secrets.lock().unwrap().clone();
        assert_eq!(secrets.len(), HANDSHAKES);
        assert!(secrets.iter().any(|&at| seen(at) > 0), "there was something to wipe");
        world.shards.wipe().await;
        assert_eq!(secrets.iter().map(|&at| seen(at)).sum::<usize>(), 0);

        let created = |stats: Vec<job_core::PoolStats>| -> usize {
            stats.iter().map(|stats| stats.created).sum()
        };
        let before = created(world.shards.stats().await);
        assert!(before >= HANDSHAKES);
        assert_eq!(world.shards.shrink().await, before);
        assert_eq!(created(world.shards.stats().await), 0);
        world.serves().await;

        assert_eq!(
            world.shards.shutdown(std::time::Duration::ZERO).await,
            engine_core::Shutdown::Drained
        );
        world.shards.wipe().await;
        assert_eq!(world.shards.shrink().await, 0, "shards that have ended have no stacks");
    });
}
