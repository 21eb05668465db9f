//! Handshakes parked by replay: where hooks run, which handshakes go on on a fiber, and what bounds them.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};
use ssl_async::task::{Shards, StartHandshake, TlsAcceptor, TlsConnector};
use ssl_async::{Parking, SslError, offload, replayable, resolve, verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

use crate::support::{localhost, provider, server_config};
use crate::world::{
    TIMEOUT, World, current_thread, exchange, multi_thread, until, wire, worlds, worlds_on,
};

/// A world whose server parks by replay.
fn replay_world(ring: usize) -> World {
    worlds(ring).last().expect("two worlds")
}

fn derived(world: &World, change: impl FnOnce(&mut ServerConfig)) -> Arc<ServerConfig> {
    let mut config = (**world.acceptor.config()).clone();
    change(&mut config);
    Arc::new(config)
}

/// How many packets the shards' jobs have begun.
async fn jobs(world: &World) -> u64 {
    world.shards.stats().await.iter().map(|stats| stats.started).sum()
}

tokio::task_local! {
    static USER: u32;
}

/// A resolver that needs the runtime, the task's locals and much stack.
#[derive(Debug)]
struct Demanding(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Demanding {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut stack = [7u8; 1 << 20];
        std::hint::black_box(&mut stack);
        drop(Handle::current().spawn(async {}));
        assert_eq!(USER.get() + u32::from(stack[12345]), 50);
        self.0.resolve(hello)
    }
}

#[test]
fn a_resolver_has_the_runtime_the_stack_and_the_locals_of_its_task() {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            let world = replay_world(4);
            let config = derived(&world, |config| {
                config.cert_resolver = Arc::new(Demanding(Arc::clone(&config.cert_resolver)));
            });
            let acceptor = TlsAcceptor::new(config, &world.shards).parking(Parking::Replay);
            let (ours, theirs) = wire();
            let client = tokio::spawn(world.client(theirs));
            let server = tokio::spawn(USER.scope(43, acceptor.accept(ours)));
            until(|| world.fixture.device.held() == 1).await;
            world.fixture.device.answer();
            let (server, client) = (server.await.unwrap(), client.await.unwrap());
            exchange(&mut client.unwrap(), &mut server.unwrap()).await;
            let snapshot = world.assert_empty().await;
            assert_eq!((snapshot.submitted, snapshot.completed), (1, 1));
            // On several threads the answer may be there before the task waits for it.
            assert!(snapshot.wakes <= 1);
        });
    }
}

/// Both versions, a session that is resumed, and a hello that was read before.
#[test]
fn a_handshake_by_replay_uses_no_job() {
    current_thread().block_on(async {
        let world = replay_world(4);
        world.fixture.device.set_answers_at_once(true);
        for version in [&TLS12, &TLS13] {
            let client = Arc::new(world.fixture.client_config(version));
            // The client's own packets need jobs.
            let other = Shards::builder().threads(1).build().unwrap();
            for reads_hello_first in [false, true, false] {
                let connector = TlsConnector::new(Arc::clone(&client), &other);
                let (ours, theirs) = wire();
                let server = async {
                    match reads_hello_first {
                        true => StartHandshake::read(ours).await?.accept(&world.acceptor).await,
                        false => world.acceptor.accept(ours).await,
                    }
                };
                let (server, client) = tokio::join!(server, connector.connect(localhost(), theirs));
                exchange(&mut client.unwrap(), &mut server.unwrap()).await;
            }
        }
        assert_eq!(jobs(&world).await, 0);
        assert!(world.assert_empty().await.completed < 6, "some were resumed");
    });
}

/// Makes a handshake, by a client of `config`, in which the device answers at once.
async fn served(
    world: &World,
    acceptor: &TlsAcceptor,
    config: &Arc<ClientConfig>,
) -> Result<(), SslError> {
    world.fixture.device.set_answers_at_once(true);
    let other = Shards::builder().threads(1).build().unwrap();
    let connector = TlsConnector::new(Arc::clone(config), &other);
    let (ours, theirs) = wire();
    let (server, client) =
        tokio::join!(acceptor.accept(ours), connector.connect(localhost(), theirs));
    match (server, client) {
        (Ok(mut server), Ok(mut client)) => {
            exchange(&mut client, &mut server).await;
            Ok(())
        }
        (Err(error), client) => {
            assert!(client.is_err());
            Err(error)
        }
        (Ok(_), Err(error)) => panic!("{error}"),
    }
}

/// Asserts that the first `replayed` of some handshakes need no job and the next does, and that with replay alone the next
/// fails.
async fn assert_takes_the_fiber(world: &World, config: Arc<ServerConfig>, replayed: usize) {
    let client = Arc::new(world.fixture.client_config(&TLS13));
    let acceptor = TlsAcceptor::new(Arc::clone(&config), &world.shards);
    for _ in 0..replayed {
        served(world, &acceptor, &client).await.unwrap();
    }
    let before = jobs(world).await;
    served(world, &acceptor, &client).await.unwrap();
    assert!(jobs(world).await > before);

    let client = Arc::new(world.fixture.client_config(&TLS13));
    let acceptor = acceptor.parking(Parking::Replay);
    for _ in 0..replayed {
        served(world, &acceptor, &client).await.unwrap();
    }
    let error = served(world, &acceptor, &client).await.unwrap_err();
    assert!(matches!(error, SslError::NeedsFiber(_)), "{error}");
    world.assert_empty().await;
}

#[test]
fn a_hello_whose_hooks_wait_goes_on_on_a_fiber() {
    current_thread().block_on(async {
        let world = replay_world(4);
        // The provider was not made replayable.
        let plain = Arc::clone(world.fixture.server.config());
        assert_takes_the_fiber(&world, plain, 0).await;

        let tickets = derived(&world, |config| {
            let engine = Arc::clone(&world.fixture.engine);
            let day = Duration::from_secs(86_400);
            config.ticketer = offload::tickets(engine, &provider(), day).unwrap();
        });
        assert_takes_the_fiber(&world, tickets, 0).await;

        let roots = world.fixture.identity.roots();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider().into());
        let verifier = verifier.allow_unauthenticated().build().unwrap();
        let verifier = verify::client_certificate(verifier, async |_| Ok(()));
        let clients = ServerConfig::builder_with_provider(Arc::new(replayable(provider())))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&world.acceptor.config().cert_resolver));
        assert_takes_the_fiber(&world, Arc::new(clients), 0).await;
    });
}

/// The certificate, the key exchange and the tickets of a handshake: all of them wait, and none needs a shard before the
/// server's flight.
#[test]
fn what_waits_before_the_flight_waits_on_the_task() {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            let world = replay_world(4);
            let fixture = &world.fixture;
            let chain = vec![fixture.identity.certificate.clone()];
            let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&fixture.key)));
            let resolver = resolve::server_certificate(async move |offer| {
                assert_eq!((USER.get(), offer.server_name.as_deref()), (43, Some("localhost")));
                let task = tokio::spawn(async move { certified });
                // Has a timer, which the runtime must have, and does not wait for it.
                tokio::time::timeout(TIMEOUT, task).await.unwrap().ok()
            });
            let provider = replayable(offload::key_exchange(provider()));
            let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(resolver);
            config.send_tls13_tickets = 0;
            let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards)
                .key_exchange(Arc::clone(&fixture.engine))
                .parking(Parking::Replay);
            let (ours, theirs) = wire();
            let client = tokio::spawn(world.client(theirs));
            let server = tokio::spawn(USER.scope(43, acceptor.accept(ours)));
            for kind in ["agree-x25519", "sign-ecdsa-p256"] {
                // The client's first packet may still be counted when the server's request is there.
                until(|| (fixture.device.held(), world.shards.n_packets()) == (1, 1)).await;
                assert_eq!(fixture.device.kinds(), [kind]);
                fixture.device.answer();
            }
            let (server, client) = (server.await.unwrap(), client.await.unwrap());
            assert_eq!(jobs(&world).await, 2, "of the client");
            exchange(&mut client.unwrap(), &mut server.unwrap()).await;
            assert_eq!(world.assert_empty().await.completed, 2);
        });
    }
}

#[test]
fn a_fiber_can_be_asked_for() {
    current_thread().block_on(async {
        let world = replay_world(4);
        let acceptor = world.acceptor.clone().parking(Parking::Fiber);
        let client = Arc::new(world.fixture.client_config(&TLS13));
        served(&world, &acceptor, &client).await.unwrap();
        assert!(jobs(&world).await > 0);
        world.assert_empty().await;
    });
}

#[test]
fn handshakes_beyond_max_parked_are_served_in_order() {
    current_thread().block_on(async {
        let shards = || Shards::builder().threads(1).max_parked(2).build().unwrap();
        let world = worlds_on(64, shards).last().unwrap();
        let hello = world.client_hello(&TLS13);
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        for n in 1..=6 {
            let (ours, mut theirs) = wire();
            theirs.write_all(&hello).await.unwrap();
            servers.push(tokio::spawn(world.acceptor.accept(ours)));
            clients.push(theirs);
            until(|| world.shards.n_packets() == n).await;
        }
        assert_eq!(world.fixture.device.held(), 2);
        // One that waits for its turn may be dropped, too.
        servers.remove(2).abort();
        clients.remove(2);
        until(|| world.shards.n_packets() == 5).await;
        for (left, mut client) in (0..5usize).rev().zip(clients) {
            world.fixture.device.answer();
            // The oldest has its flight.
            assert_eq!(client.read_u8().await.unwrap(), 22);
            until(|| world.fixture.device.held() == left.min(2)).await;
        }
        servers.iter().for_each(tokio::task::JoinHandle::abort);
        for server in servers {
            let _ = server.await;
        }
        world.assert_empty().await;
    });
}

/// The client asks for a key share that the server has not, so the server answers with a HelloRetryRequest.
#[test]
fn a_second_hello_is_awaited_and_parks() {
    current_thread().block_on(async {
        let world = replay_world(4);
        let mut provider = provider();
        provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::secp384r1);
        let key = &world.fixture.key;
        let provider = replayable(provider);
        let config = server_config(provider, &[&TLS13], &world.fixture.identity, key);
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards).parking(Parking::Replay);
        let client = Arc::new(world.fixture.client_config(&TLS13));
        served(&world, &acceptor, &client).await.unwrap();
        assert_eq!(world.assert_empty().await.completed, 1);
    });
}
