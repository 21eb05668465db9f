//! The default limits of what a client can hold.

use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use rustls::version::TLS13;
use ssl_async::SslError;
use ssl_async::task::{Shards, StartHandshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{client_config, localhost, provider};
use crate::world::{current_thread, exchange, paused, until, wire, world, world_on, worlds};

const MINUTE: Duration = Duration::from_secs(60);
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Reads to the end.
async fn receive(mut io: DuplexStream) -> Vec<u8> {
    let mut all = Vec::new();
    io.read_to_end(&mut all).await.unwrap();
    all
}

#[test]
fn a_client_that_sends_nothing_or_half_a_hello_gets_an_alert_after_a_minute() {
    paused().block_on(async {
        for world in worlds(4) {
            let hello = world.client_hello(&TLS13);
            for part in [&hello[..0], &hello[..1], &hello[..hello.len() - 1]] {
                let (ours, mut theirs) = wire();
                theirs.write_all(part).await.unwrap();
                let error = world.acceptor.accept(ours).await.unwrap_err();
                assert!(matches!(error, SslError::TimedOut(MINUTE)), "{error}");
                assert_eq!(receive(theirs).await, INTERNAL_ERROR);

                let (ours, mut theirs) = wire();
                theirs.write_all(part).await.unwrap();
                let error = StartHandshake::read(ours).await.unwrap_err();
                assert!(matches!(error, SslError::TimedOut(MINUTE)), "{error}");
                assert_eq!(receive(theirs).await, INTERNAL_ERROR);
            }
        }
    });
}

#[test]
fn a_handshake_with_a_silent_server_ends_after_a_minute() {
    paused().block_on(async {
        let world = world(4);
        let (ours, _theirs) = wire();
        let error = world.client(ours).await.unwrap_err();
        assert!(matches!(error, SslError::TimedOut(MINUTE)), "{error}");
    });
}

#[test]
fn a_handshake_whose_key_does_not_answer_ends_after_a_minute() {
    paused().block_on(async {
        for world in worlds(4) {
            let (ours, mut theirs) = wire();
            theirs.write_all(&world.client_hello(&TLS13)).await.unwrap();
            let error = world.acceptor.accept(ours).await.unwrap_err();
            assert!(matches!(error, SslError::TimedOut(MINUTE)), "{error}");
            assert_eq!(receive(theirs).await, INTERNAL_ERROR);
            world.assert_empty().await;
        }
    });
}

#[test]
fn without_a_deadline_no_handshake_ends_and_any_limit_is_accepted() {
    paused().block_on(async {
        let world = world(4);
        let limit = Duration::from_secs(7 * 24 * 3600);
        for acceptor in [
            world.acceptor.clone().without_deadline(),
            world.acceptor.clone().deadline(Duration::MAX),
        ] {
            let (ours, _theirs) = wire();
            assert!(tokio::time::timeout(limit, acceptor.accept(ours)).await.is_err());
        }
        for none in [None, Some(Duration::MAX)] {
            let (ours, _theirs) = wire();
            let read = StartHandshake::read_within(ours, none);
            assert!(tokio::time::timeout(limit, read).await.is_err());
        }
        let (ours, _theirs) = wire();
        let second = Duration::from_secs(1);
        let error = StartHandshake::read_within(ours, Some(second)).await.unwrap_err();
        assert!(matches!(error, SslError::TimedOut(after) if after == second));
    });
}

#[test]
fn outside_a_runtime_there_is_no_deadline_and_no_panic() {
    let world = world(4);
    let (ours, _theirs) = wire();
    let mut handshake = pin!(world.acceptor.accept(ours));
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(matches!(handshake.as_mut().poll(cx), Poll::Pending));
    }
}

#[test]
fn packets_beyond_max_parked_are_queued() {
    current_thread().block_on(async {
        let shards = Shards::builder().threads(1).max_parked(2).build().unwrap();
        let world = world_on(64, shards);
        let mut servers = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..6 {
            let (ours, mut theirs) = wire();
            theirs.write_all(&world.client_hello(&TLS13)).await.unwrap();
            servers.push(tokio::spawn(world.acceptor.accept(ours)));
            clients.push(theirs);
        }
        until(|| world.shards.n_packets() == 6 && world.fixture.device.held() == 2).await;
        for left in (0..6usize).rev() {
            world.fixture.device.answer();
            until(|| world.fixture.device.held() == left.min(2)).await;
        }
        until(|| world.shards.n_packets() == 0).await;
        servers.iter().for_each(tokio::task::JoinHandle::abort);
        assert_eq!(world.shards.stats().await[0].peak_live, 2);
        drop(clients);
    });
}

/// The waker of a caller, which panics at the first wake.
#[derive(Default)]
struct PanicsOnce(AtomicBool);

impl Wake for PanicsOnce {
    fn wake(self: Arc<Self>) {
        if !self.0.swap(true, Ordering::SeqCst) {
            std::panic::panic_any("a bug in an executor");
        }
    }
}

/// The second packet ends as soon as it starts, and its caller panics when it is told.
#[test]
fn l3_a_caller_that_panics_holds_up_no_queued_packet() {
    current_thread().block_on(async {
        let shards = Shards::builder().threads(1).max_parked(1).build().unwrap();
        let world = world_on(64, shards);
        let serve = async |bytes: &[u8]| {
            let (ours, mut theirs) = wire();
            theirs.write_all(bytes).await.unwrap();
            (world.acceptor.accept(ours), theirs)
        };
        let hello = world.client_hello(&TLS13);
        let (first, _first_client) = serve(&hello).await;
        let first = tokio::spawn(first);
        until(|| world.fixture.device.held() == 1).await;
        // A hello without a body.
        let (second, _second_client) = serve(&[22, 3, 1, 0, 4, 1, 0, 0, 0]).await;
        let mut second = pin!(second);
        let waker = Waker::from(Arc::<PanicsOnce>::default());
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let (third, _third_client) = serve(&hello).await;
        let third = tokio::spawn(third);
        until(|| world.shards.n_packets() == 3).await;
        world.fixture.device.answer();
        let third_parks = until(|| world.fixture.device.held() == 1);
        tokio::time::timeout(MINUTE, third_parks).await.expect("the third packet starts");
        [first, third].iter().for_each(tokio::task::JoinHandle::abort);
    });
}

#[test]
fn a_client_is_served_although_another_opens_as_many_handshakes_as_it_can() {
    // The clock is paused, so that no deadline passes before all handshakes have begun.
    paused().block_on(async {
        let shards = Shards::builder().threads(1).max_parked(8).build().unwrap();
        let world = world_on(4096, shards);
        let hello = world.client_hello(&TLS13);
        let greedy = world.acceptor.clone().deadline(Duration::from_millis(200));
        let mut clients = Vec::new();
        let mut servers = Vec::new();
        for _ in 0..500 {
            let (ours, mut theirs) = wire();
            theirs.write_all(&hello).await.unwrap();
            servers.push(tokio::spawn(greedy.accept(ours)));
            clients.push(theirs);
        }
        until(|| world.shards.n_packets() == 500).await;
        let (ours, theirs) = wire();
        let other = Shards::builder().threads(1).build().unwrap();
        let config = client_config(provider(), &TLS13, &world.fixture.identity);
        let connector = ssl_async::task::TlsConnector::new(Arc::new(config), &other);
        let client = tokio::spawn(connector.without_deadline().connect(localhost(), theirs));
        let server = tokio::spawn(world.acceptor.clone().without_deadline().accept(ours));
        for greedy in servers {
            assert!(matches!(greedy.await.unwrap(), Err(SslError::TimedOut(_))));
        }
        // The results of the other handshakes are late.
        until(|| {
            while world.fixture.device.held() > 0 {
                world.fixture.device.answer();
            }
            server.is_finished()
        })
        .await;
        exchange(&mut client.await.unwrap().unwrap(), &mut server.await.unwrap().unwrap()).await;
        assert!(world.shards.stats().await[0].peak_live <= 8);
        world.assert_empty().await;
    });
}

#[test]
fn a_hello_sent_byte_by_byte_is_one_packet() {
    current_thread().block_on(async {
        let world = world(4);
        let hello = world.client_hello(&TLS13);
        let records: Vec<u8> = hello[5..].iter().flat_map(|b| [22, 3, 1, 0, 1, *b]).collect();
        for bytes in [hello, records] {
            let before: u64 = world.shards.stats().await.iter().map(|stats| stats.started).sum();
            // A transport with a buffer of one byte.
            let (ours, mut theirs) = tokio::io::duplex(1);
            let server = tokio::spawn(world.acceptor.accept(ours));
            theirs.write_all(&bytes).await.unwrap();
            until(|| world.fixture.device.held() == 1).await;
            let after: u64 = world.shards.stats().await.iter().map(|stats| stats.started).sum();
            assert_eq!(after - before, 1);
            server.abort();
            let _ = server.await;
            world.assert_empty().await;
        }
    });
}
