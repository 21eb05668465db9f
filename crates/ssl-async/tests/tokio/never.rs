//! Handshakes of tasks that never park: no shard, and a hook that would wait ends the handshake.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use ssl_async::task::{Shards, StartHandshake, TlsAcceptor, TlsConnector, TlsStream, compat};
use ssl_async::{Parking, SslError};
use tokio::io::DuplexStream;

use crate::support::localhost;
use crate::world::{World, current_thread, exchange, multi_thread, wire, worlds};

type Shaken = Result<TlsStream<DuplexStream>, SslError>;

/// Servers whose handshakes never park.
fn servers() -> impl Iterator<Item = (World, TlsAcceptor)> {
    worlds(4).map(|world| {
        let acceptor = world.acceptor.clone().parking(Parking::Never);
        (world, acceptor)
    })
}

/// A connector whose packets have shards of their own: a client's need jobs.
fn connector(client: ClientConfig) -> TlsConnector {
    let other = Shards::builder().threads(1).build().unwrap();
    TlsConnector::new(Arc::new(client), &other)
}

async fn shake(
    acceptor: &TlsAcceptor,
    client: ClientConfig,
    reads_hello_first: bool,
) -> (Shaken, Shaken) {
    let connector = connector(client);
    let (ours, theirs) = wire();
    let server = async {
        match reads_hello_first {
            true => StartHandshake::read(ours).await?.accept(acceptor).await,
            false => acceptor.accept(ours).await,
        }
    };
    tokio::join!(server, connector.connect(localhost(), theirs))
}

async fn assert_no_job(world: &World) {
    for stats in world.shards.stats().await {
        assert_eq!(stats.started, 0);
    }
    world.assert_empty().await;
}

#[test]
fn a_handshake_that_never_parks_needs_no_shard() {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            for (world, acceptor) in servers() {
                world.fixture.device.set_answers_at_once(true);
                for (version, hello_first) in [(&TLS12, false), (&TLS13, false), (&TLS13, true)] {
                    let client = world.fixture.client_config(version);
                    let (server, client) = shake(&acceptor, client, hello_first).await;
                    exchange(&mut client.unwrap(), &mut server.unwrap()).await;
                }
                assert_no_job(&world).await;
            }
        });
    }
}

#[test]
fn a_signature_that_would_be_waited_for_ends_the_handshake() {
    current_thread().block_on(async {
        for (world, acceptor) in servers() {
            for hello_first in [false, true] {
                let client = world.fixture.client_config(&TLS13);
                let (server, client) = shake(&acceptor, client, hello_first).await;
                let error = server.unwrap_err();
                assert!(matches!(error, SslError::WouldWait("a signature")), "{error}");
                assert!(matches!(client, Err(SslError::Tls(_))), "it was told");
            }
            assert_no_job(&world).await;
        }
    });
}

#[test]
fn a_connection_that_a_closure_has_seen_needs_no_shard_either() {
    current_thread().block_on(async {
        for (world, never) in servers() {
            let acceptor = compat::TlsAcceptor::from(never);
            for at_once in [true, false] {
                world.fixture.device.set_answers_at_once(at_once);
                let connector = connector(world.fixture.client_config(&TLS13));
                let (ours, theirs) = wire();
                let server = acceptor.accept_with(ours, |tls| tls.set_buffer_limit(None));
                let (server, client) = tokio::join!(server, connector.connect(localhost(), theirs));
                assert_eq!((server.is_ok(), client.is_ok()), (at_once, at_once));

                let (ours, theirs) = wire();
                let server = async {
                    let hello = compat::LazyConfigAcceptor::new(Default::default(), ours).await?;
                    hello.accept(&acceptor).await
                };
                let (server, client) = tokio::join!(server, connector.connect(localhost(), theirs));
                assert_eq!((server.is_ok(), client.is_ok()), (at_once, at_once));
            }
            assert_no_job(&world).await;
        }
    });
}
