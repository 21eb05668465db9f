//! Handshakes that park without holding a thread of the runtime.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{EngineError, Shutdown};
use job_core::JobPool;
use ssl_async::task::{Accept, Connect, Shards, StartHandshake, TlsAcceptor, TlsStream, compat};
use ssl_async::{ClosedDuring, SslError};
use tokio::net::TcpStream;

use crate::support::localhost;
use crate::world::{current_thread, exchange, multi_thread, paused, until, wire, world_on, worlds};

#[test]
fn futures_and_streams_are_send_and_sync_and_the_acceptor_is_shared() {
    fn send<T: Send + Sync>() {}
    fn shared<T: Send + Sync + Clone>() {}
    send::<Accept<TcpStream>>();
    send::<Connect<TcpStream>>();
    send::<TlsStream<TcpStream>>();
    send::<StartHandshake<TcpStream>>();
    send::<compat::Accept<TcpStream>>();
    send::<compat::Connect<TcpStream>>();
    send::<compat::LazyConfigAcceptor<TcpStream>>();
    send::<compat::StartHandshake<TcpStream>>();
    send::<compat::TlsStream<TcpStream>>();
    shared::<TlsAcceptor>();
    shared::<Shards>();
}

/// On a runtime of one thread, so that the test would hang if the handshake held it.
#[test]
fn while_a_handshake_waits_for_its_key_the_thread_runs_other_tasks() {
    current_thread().block_on(async {
        for world in worlds(4) {
            let (ours, theirs) = wire();
            let server = tokio::spawn(world.acceptor.accept(ours));
            let client = tokio::spawn(world.client(theirs));
            until(|| world.fixture.device.held() == 1).await;
            assert!(!server.is_finished());
            assert_eq!(world.shards.n_packets(), 1);
            world.fixture.device.answer();
            let (server, client) = (server.await.unwrap(), client.await.unwrap());
            exchange(&mut client.unwrap(), &mut server.unwrap()).await;
            let snapshot = world.assert_empty().await;
            assert_eq!((snapshot.submitted, snapshot.completed), (1, 1));
            // The answer may be there before the shard has begun to wait for it.
            assert!(snapshot.wakes <= 1);
        }
    });
}

#[test]
fn a_hundred_handshakes_at_once_on_a_multi_thread_runtime() {
    multi_thread().block_on(async {
        for world in worlds(64) {
            world.fixture.device.set_answers_at_once(true);
            let mut tasks = Vec::new();
            for _ in 0..100 {
                let (ours, theirs) = wire();
                let (server, client) = (world.acceptor.accept(ours), world.client(theirs));
                tasks.push(tokio::spawn(async move {
                    let (server, client) = tokio::join!(server, client);
                    exchange(&mut client.unwrap(), &mut server.unwrap()).await;
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(world.assert_empty().await.completed, 100);
        }
    });
}

#[test]
fn l5_a_peer_that_closes_while_a_signature_is_awaited_cancels_it() {
    current_thread().block_on(async {
        for world in worlds(4) {
            let (ours, theirs) = wire();
            let server = tokio::spawn(world.acceptor.accept(ours));
            let client = tokio::spawn(world.client(theirs));
            until(|| world.fixture.device.held() == 1).await;
            client.abort();
            let error = server.await.unwrap().unwrap_err();
            assert!(matches!(error, SslError::PeerClosed(ClosedDuring::Handshake)), "{error}");
            let snapshot = world.assert_empty().await;
            assert_eq!((snapshot.cancelled, snapshot.late), (1, 1));
            world.assert_serves().await;
        }
    });
}

#[test]
fn l14_a_deadline_ends_the_handshake_and_cancels_its_packet() {
    paused().block_on(async {
        for mut world in worlds(4) {
            world.acceptor = world.acceptor.without_deadline();
            world.connector = world.connector.without_deadline();
            let limit = Duration::from_secs(10);
            let acceptor = world.acceptor.clone().deadline(limit);
            let (ours, theirs) = wire();
            let client = tokio::spawn(world.client(theirs));
            let error = acceptor.accept(ours).await.unwrap_err();
            assert!(matches!(error, SslError::TimedOut(after) if after == limit), "{error}");
            let as_io = std::io::Error::from(error);
            assert_eq!(as_io.kind(), std::io::ErrorKind::TimedOut);
            assert!(client.await.unwrap().is_err());
            world.assert_empty().await;
            world.assert_serves().await;
        }
    });
}

#[test]
fn packets_beyond_the_limit_of_jobs_are_queued() {
    current_thread().block_on(async {
        let jobs = JobPool::builder().max_jobs(1);
        let world = world_on(8, Shards::builder().threads(1).jobs(jobs).build().unwrap());
        let client = crate::support::client_config(
            crate::support::provider(),
            &rustls::version::TLS13,
            &world.fixture.identity,
        );
        let other = Shards::builder().threads(1).build().unwrap();
        let connector = ssl_async::task::TlsConnector::new(Arc::new(client), &other);
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (ours, theirs) = wire();
            servers.push(tokio::spawn(world.acceptor.accept(ours)));
            clients.push(tokio::spawn(connector.connect(localhost(), theirs)));
        }
        until(|| world.shards.n_packets() == 3).await;
        until(|| world.fixture.device.held() == 1).await;
        // A queued packet can be cancelled, too.
        servers.pop().unwrap().abort();
        until(|| world.shards.n_packets() == 2).await;
        for n in 1..=2 {
            until(|| world.fixture.device.held() == 1).await;
            world.fixture.device.answer();
            until(|| world.fixture.engine.stats().completed == n).await;
        }
        for server in servers {
            server.await.unwrap().unwrap();
        }
        world.assert_empty().await;
    });
}

#[test]
fn a_configuration_can_be_chosen_by_the_hello() {
    current_thread().block_on(async {
        for world in worlds(4) {
            world.fixture.device.set_answers_at_once(true);
            let (ours, theirs) = wire();
            let server = async {
                let start = StartHandshake::read(ours).await?;
                assert_eq!(start.client_hello().server_name(), Some("localhost"));
                start.accept(&world.acceptor).await
            };
            let (server, client) = tokio::join!(server, world.client(theirs));
            exchange(&mut client.unwrap(), &mut server.unwrap()).await;

            // A request of another protocol gets an alert.
            let (ours, mut theirs) = wire();
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let error = StartHandshake::read(ours).await.unwrap_err();
            assert!(matches!(error, SslError::Tls(_)), "{error}");
            assert_eq!(theirs.read_u8().await.unwrap(), 21, "an alert");
            world.assert_empty().await;
        }
    });
}

#[test]
fn a_shutdown_cancels_parked_handshakes_and_refuses_later_ones() {
    multi_thread().block_on(async {
        for world in worlds(4) {
            let (ours, theirs) = wire();
            let server = tokio::spawn(world.acceptor.accept(ours));
            let client = tokio::spawn(world.client(theirs));
            until(|| world.fixture.device.held() == 1).await;
            assert_eq!(world.shards.shutdown(Duration::ZERO).await, Shutdown::Drained);
            let error = server.await.unwrap().unwrap_err();
            assert!(matches!(error, SslError::Failed(EngineError::Cancelled)), "{error}");
            assert!(client.await.unwrap().is_err());
            assert_eq!(world.shards.n_packets(), 0);

            let (_ours, theirs) = wire();
            let error = world.client(theirs).await.unwrap_err();
            assert!(matches!(error, SslError::Failed(EngineError::Gone)), "{error}");
            // A second shutdown returns the same.
            assert_eq!(world.shards.shutdown(Duration::ZERO).await, Shutdown::Drained);
            world.fixture.device.answer();
            assert_eq!(world.fixture.engine.stats().requests.now, 0);
        }
    });
}
