//! Handshakes that park, while their task and the runtime go on.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{EngineError, Shutdown};
use job_core::JobPool;
use ssl_async::task::{Accept, Connect, Shards, StartHandshake, TlsAcceptor, TlsStream};
use ssl_async::{ClosedDuring, SslError};
use tokio::net::TcpStream;

use crate::support::localhost;
use crate::world::{current_thread, exchange, multi_thread, until, wire, world, world_on};

#[test]
fn futures_and_streams_are_send_and_the_acceptor_is_shared() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync + Clone>() {}
    send::<Accept<TcpStream>>();
    send::<Connect<TcpStream>>();
    send::<TlsStream<TcpStream>>();
    send::<StartHandshake<TcpStream>>();
    shared::<TlsAcceptor>();
    shared::<Shards>();
}

/// On a runtime of one thread: were that thread held, the test would hang.
#[test]
fn while_a_handshake_waits_for_its_key_the_thread_does_something_else() {
    current_thread().block_on(async {
        let world = world(4);
        let (ours, theirs) = wire();
        let server = tokio::spawn(world.acceptor.accept(ours));
        let client = tokio::spawn(world.client(theirs));
        until(|| world.fixture.device.held() == 1).await;
        assert!(!server.is_finished());
        assert_eq!(world.shards.n_packets(), 1);
        world.fixture.device.answer();
        let (server, client) = (server.await.unwrap(), client.await.unwrap());
        exchange(&mut client.unwrap(), &mut server.unwrap()).await;
        let snapshot = world.is_empty().await;
        assert_eq!((snapshot.submitted, snapshot.completed, snapshot.wakes), (1, 1, 1));
    });
}

#[test]
fn many_handshakes_at_once_on_a_runtime_of_several_threads() {
    multi_thread().block_on(async {
        let world = world(64);
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
        assert_eq!(world.is_empty().await.completed, 100);
    });
}

#[test]
fn l5_the_peers_close_is_noticed_while_the_key_is_away_and_cancels() {
    current_thread().block_on(async {
        let world = world(4);
        let (ours, theirs) = wire();
        let server = tokio::spawn(world.acceptor.accept(ours));
        let client = tokio::spawn(world.client(theirs));
        until(|| world.fixture.device.held() == 1).await;
        client.abort();
        let error = server.await.unwrap().unwrap_err();
        assert!(matches!(error, SslError::PeerClosed(ClosedDuring::Handshake)), "{error}");
        let snapshot = world.is_empty().await;
        assert_eq!((snapshot.cancelled, snapshot.late), (1, 1));
        world.serves().await;
    });
}

/// Time is paused: it leaps to the deadline when nothing else can happen.
#[test]
fn l14_a_deadline_ends_the_handshake_and_cancels_its_packet() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = world(4);
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
        world.is_empty().await;
        world.serves().await;
    });
}

#[test]
fn packets_beyond_the_limit_of_jobs_wait_their_turn() {
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
        // The one that waits for a job can be given up, too.
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
        world.is_empty().await;
    });
}

#[test]
fn the_hello_is_in_hand_before_the_configuration_is_chosen() {
    current_thread().block_on(async {
        let world = world(4);
        world.fixture.device.set_answers_at_once(true);
        let (ours, theirs) = wire();
        let server = async {
            let start = StartHandshake::read(ours).await?;
            assert_eq!(start.client_hello().server_name(), Some("localhost"));
            start.accept(&world.acceptor).await
        };
        let (server, client) = tokio::join!(server, world.client(theirs));
        exchange(&mut client.unwrap(), &mut server.unwrap()).await;

        // What is no hello is told so.
        let (ours, mut theirs) = wire();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let error = StartHandshake::read(ours).await.unwrap_err();
        assert!(matches!(error, SslError::Tls(_)), "{error}");
        assert_eq!(theirs.read_u8().await.unwrap(), 21, "an alert");
        world.is_empty().await;
    });
}

#[test]
fn a_shutdown_cancels_what_is_parked_and_refuses_what_comes() {
    multi_thread().block_on(async {
        let world = world(4);
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
        // Again is as good as once.
        assert_eq!(world.shards.shutdown(Duration::ZERO).await, Shutdown::Drained);
        world.fixture.device.answer();
        assert_eq!(world.fixture.engine.stats().requests.now, 0);
    });
}
