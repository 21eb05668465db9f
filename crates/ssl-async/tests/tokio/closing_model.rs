//! A task whose peer closes or resets at any byte ends as plain rustls does: random scripts against a model.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use ssl_async::task::{Shards, TlsAcceptor, TlsConnector, TlsStream};
use ssl_async::{Parking, SslError, TlsError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::peer_bytes::clear;
use crate::peer_bytes::closing::{
    ANSWER, End, Outcome, Script, Seen, Wire, any_parking, any_script, assert_agrees, plain,
};
use crate::peer_bytes::program::Setup;
use crate::peer_bytes::world as clear_world;
use crate::support::{localhost, turn};
use crate::world::{current_thread, until};

/// The transport of a script as an asynchronous transport.
struct TaskWire(Wire);

impl AsyncRead for TaskWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.read(into.initialize_unfilled()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.0.wake_when_readable(cx.waker());
                Poll::Pending
            }
            read => Poll::Ready(read.map(|n| into.advance(n))),
        }
    }
}

impl AsyncWrite for TaskWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.0.write(data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs the script against a task.
fn run_task(script: &Script, parking: Parking, parks: bool) -> Seen {
    clear::begin_again();
    let world = clear_world::World::new(script.setup, parking);
    world.device.set_answers_at_once(!parks);
    world.gates.set_open(!parks);
    let shards = Shards::builder().threads(1).build().expect("a thread");
    let wire = Wire::new(script);
    let handshake = {
        let io = TaskWire(wire.clone());
        let engine = Arc::clone(&world.engine);
        if script.setup.has(Setup::CLIENT) {
            let mut connector = TlsConnector::new(Arc::clone(world.client.config()), &shards);
            if script.setup.has(Setup::EXCHANGE) {
                connector = connector.key_exchange(engine);
            }
            connector.connect(localhost(), io).into_fallible()
        } else {
            let mut acceptor =
                TlsAcceptor::new(Arc::clone(world.server.config()), &shards).parking(world.parking);
            if script.setup.has(Setup::EXCHANGE) {
                acceptor = acceptor.key_exchange(engine);
            }
            acceptor.accept(io).into_fallible()
        }
    };
    let (outcome, read, cancelled) = current_thread().block_on(async {
        let task = tokio::spawn(async move {
            match handshake.await {
                Ok(mut tls) => {
                    let mut read = Vec::new();
                    let outcome = read_all(&mut tls, &mut read).await;
                    (outcome, read)
                }
                Err((error, _io)) => (Outcome::from(&error), Vec::new()),
            }
        });
        let mut answers = script.answers.iter().copied().chain(std::iter::repeat(0));
        for (n, piece) in script.pieces.iter().enumerate() {
            for _ in 0..answers.next().expect("the iterator is endless") {
                answer_one(&world);
                tokio::task::yield_now().await;
            }
            let last = n + 1 == script.pieces.len();
            wire.arrive(piece, last.then_some(script.end));
            tokio::task::yield_now().await;
        }
        until(|| {
            answer_one(&world);
            task.is_finished()
        })
        .await;
        let (outcome, read) = task.await.expect("no panic");
        shards.quiesce().await;
        let stats = shards.stats().await;
        assert_eq!((stats[0].live, stats[0].stacks_in_use), (0, 0));
        (outcome, read, stats[0].cancelled > 0 || world.has_cancelled())
    });
    while world.device.held() > 0 {
        world.device.answer();
    }
    while world.gates.answer(true) {}
    let engine = world.engine.stats();
    assert_eq!((engine.requests.now, engine.waiters.now), (0, 0));
    let established = matches!(outcome, Outcome::Closed | Outcome::Truncated) || !read.is_empty();
    Seen { outcome, established, read, sent: wire.sent(), cancelled }
}

fn answer_one(world: &clear_world::World) {
    if world.device.held() > 0 {
        world.device.answer();
    } else {
        let _answered = world.gates.answer(true);
    }
}

/// Reads to the end, and answers if the peer has sent `close_notify`.
async fn read_all(tls: &mut TlsStream<TaskWire>, read: &mut Vec<u8>) -> Outcome {
    let mut buffer = [0; 50];
    let outcome = loop {
        match tls.read(&mut buffer).await {
            Ok(0) => break Outcome::Closed,
            Ok(n) => read.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Outcome::Truncated,
            Err(error) => {
                let inner = error.get_ref();
                if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<TlsError>()) {
                    break Outcome::from(&SslError::Tls(error.clone()));
                }
                match inner.and_then(|inner| inner.downcast_ref::<SslError>()) {
                    Some(error) => break Outcome::from(error),
                    None => break Outcome::Io,
                }
            }
        }
    };
    if outcome == Outcome::Closed {
        // Fails if the transport was reset.
        let _ = tls.write_all(ANSWER).await;
    }
    // Sends an alert that is not sent yet.
    let _ = tls.flush().await;
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_task_whose_peer_closes_ends_as_plain_rustls_does(
        script in any_script(&[End::Fin, End::Fin, End::Rst]),
        parking in any_parking(),
        parks in any::<bool>(),
    ) {
        let _turn = turn();
        let (mut plain, mut ours) = (plain(&script), run_task(&script, parking, parks));
        if script.end == End::Rst {
            // The number of bytes sent before the reset depends on timing.
            (plain.sent, ours.sent) = (Vec::new(), Vec::new());
            // Without the flight that completes the handshake there is no stream to read from.
            if ours.outcome == Outcome::Io && ours.read.is_empty() {
                return Ok(());
            }
        }
        assert_agrees(&script, &ours, &plain);
    }
}
