//! Events while a session is parked, and their required results.

use core::time::Duration;

use engine_core::{DeviceError, EngineError};
use ssl_async::{Outcome, Ssl, SslError, TlsError, wait_ctx::Status};

use super::world::World;
use crate::support::{Pipe, PlainPeer, Version, pipe};

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Drop,
    /// The session is ended and its transport kept.
    Cancel,
    /// The device answers after the session was dropped.
    LateForADrop,
    PeerCloses,
    OtherCalls,
    SpuriousWakes,
    Failure,
    Deadline,
    /// The deadline passes, and the device answers before the session is called.
    LateForADeadline,
    /// The engine is shut down.
    ShutDown,
    Clear,
    ModeOff,
}

pub(super) const EVENTS: [Event; 12] = [
    Event::Drop,
    Event::Cancel,
    Event::LateForADrop,
    Event::PeerCloses,
    Event::OtherCalls,
    Event::SpuriousWakes,
    Event::Failure,
    Event::Deadline,
    Event::LateForADeadline,
    Event::ShutDown,
    Event::Clear,
    Event::ModeOff,
];

pub(super) fn happens(
    world: &World,
    event: Event,
    point: &str,
    mut ssl: Ssl<Pipe>,
    mut peer: PlainPeer,
    version: Version,
) {
    let called_back = world.called_back();
    match event {
        Event::Drop => {
            drop(ssl);
            assert_eq!((world.pool.stats().live, world.held()), (0, 1), "law L1");
        }
        Event::Cancel => {
            let sent = peer.io.peek();
            let (mut io, _read_ahead) = ssl.into_io();
            assert_eq!((world.pool.stats().live, world.count(|c| c.cancelled)), (0, 1));
            assert_eq!(peer.io.peek(), sent, "the peer is not told of it");
            std::io::Write::write_all(&mut io, b"the transport is the caller's").unwrap();
        }
        Event::LateForADrop => {
            drop(ssl);
            world.answer_too_late();
            assert_eq!(world.count(|c| c.late), 1);
        }
        Event::PeerCloses => {
            peer.io.close();
            // A peer that may have sent its last flight is answered first; then the close counts.
            while ssl.watch_peer().is_ok() {
                world.answer(true);
                match ssl.do_handshake() {
                    Ok(Outcome::WantAsync) => {}
                    Ok(_) => break,
                    Err(error) => assert!(matches!(error, SslError::PeerClosed(_)), "{error}"),
                }
            }
        }
        Event::OtherCalls => {
            for _ in 0..2 {
                assert_eq!(ssl.read(&mut [0; 8]).unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.peek(&mut [0; 8]).unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.write(b"early").unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.flush().unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.shutdown().unwrap(), Outcome::WantAsync);
                assert_eq!(ssl.key_update().unwrap(), Outcome::WantAsync);
                assert!(ssl.waiting_for_async() && ssl.connection().is_none());
            }
            world.answer(true);
            world.finish(&mut ssl, &mut peer);
        }
        Event::SpuriousWakes => {
            let accepted = world.count(|c| c.accepted);
            for _ in 0..5 {
                ssl.wait_ctx().notifier().waker().wake();
                assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
            }
            assert_eq!(world.count(|c| c.accepted), accepted, "law L2");
            world.answer(true);
            world.finish(&mut ssl, &mut peer);
        }
        Event::ShutDown => {
            let gone = [
                world.engine.shutdown_blocking(Duration::ZERO),
                world.service.shutdown_blocking(Duration::ZERO),
            ];
            let n_stuck: usize = gone.iter().map(|end| end.n_stuck()).sum();
            assert_eq!((n_stuck, world.called_back()), (1, called_back + 1), "law L4");
            ends_without_an_engine(point, &mut ssl, &mut peer);
        }
        Event::Failure | Event::Deadline | Event::LateForADeadline => {
            let is_asking = world.is_asking();
            let cause = fails(world, event);
            assert_eq!(world.called_back(), called_back + 1, "law L4");
            if !is_asking {
                assert_eq!(ssl.async_status(), Status::Err);
            }
            match point {
                // A ticket that cannot be sealed or opened fails no handshake.
                "ticket" => {
                    world.answer_too_late();
                    world.finish(&mut ssl, &mut peer);
                }
                "resolve client" => {
                    world.answer_too_late();
                    is_turned_away(world, &mut ssl, &mut peer);
                }
                _ => {
                    let first = ends(point, &mut ssl, &mut peer);
                    match first {
                        SslError::Failed(told) => assert_eq!(told, cause),
                        // The `async fn` of the test has handled the error itself.
                        other => assert!(is_asking && matches!(other, SslError::Tls(_)), "{other}"),
                    }
                }
            }
        }
        Event::Clear => {
            let (ours, theirs) = pipe();
            drop(ssl.clear(ours).unwrap());
            let mut peer = match peer.tls {
                rustls::Connection::Client(_) => world.plain_client(version, theirs),
                rustls::Connection::Server(_) => world.plain_server(version, theirs),
            };
            // The rest of the connection before.
            world.answer_too_late();
            world.finish(&mut ssl, &mut peer);
        }
        Event::ModeOff => {
            ssl.set_async_mode(false);
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
            ssl.set_async_mode(true);
            world.answer(true);
            world.finish(&mut ssl, &mut peer);
        }
    }
}

/// Ends the operation that the session is parked on without a result.
fn fails(world: &World, event: Event) -> EngineError {
    match event {
        Event::Deadline => {
            world.let_the_deadline_pass();
            EngineError::Deadline
        }
        Event::LateForADeadline => {
            world.let_the_deadline_pass();
            world.answer_too_late();
            EngineError::Deadline
        }
        _ => {
            world.answer(false);
            EngineError::Device(DeviceError::Failed("told to"))
        }
    }
}

/// Checks that the session has failed, repeats its error, and has sent an alert.
fn ends(point: &str, ssl: &mut Ssl<Pipe>, peer: &mut PlainPeer) -> SslError {
    let first = ssl.do_handshake().unwrap_err();
    let second = ssl.read(&mut [0; 8]).unwrap_err();
    assert_eq!(first.to_string(), second.to_string(), "law L15");
    // With an alert, at every point.
    assert!(peer.try_step().is_err(), "{point}");
    first
}

/// Checks that nothing waits for an engine that has ended: the handshake fails at this point or the next, or was all but done.
fn ends_without_an_engine(point: &str, ssl: &mut Ssl<Pipe>, peer: &mut PlainPeer) {
    let end = (0..10).find_map(|_| match ssl.do_handshake() {
        Ok(Outcome::Ready(())) => Some(Ok(())),
        Ok(outcome) => {
            assert_eq!(outcome, Outcome::WantRead);
            let _refuses = peer.try_step();
            None
        }
        Err(error) => Some(Err(error)),
    });
    match end.expect("the handshake ends") {
        Ok(()) => assert_eq!(point, "ticket"),
        Err(SslError::Failed(EngineError::Gone | EngineError::Refused(_)) | SslError::Tls(_)) => {}
        Err(error) => panic!("{point}: {error}"),
    }
}

/// Checks that a client without a certificate continues, and is refused by its server.
fn is_turned_away(world: &World, ssl: &mut Ssl<Pipe>, peer: &mut PlainPeer) {
    let refused = (0..10).find_map(|_| match ssl.read(&mut [0; 8]) {
        Ok(Outcome::WantAsync) => {
            world.answer(true);
            None
        }
        Ok(_) => {
            let _refuses = peer.try_step();
            None
        }
        Err(error) => Some(error),
    });
    let alert = matches!(refused, Some(SslError::Tls(TlsError::AlertReceived(_))));
    assert!(alert, "{refused:?}");
}
