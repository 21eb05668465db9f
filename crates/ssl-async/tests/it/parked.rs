//! Events while a packet is parked.

use job_core::JobPool;
use rustls::version::{TLS12, TLS13};
use ssl_async::{ClosedDuring, Outcome, Ssl, SslError};
use wait_ctx::Status;

use crate::support::{Fixture, KeyType, Pipe, PlainPeer, fixture, pipe};

fn parked(fixture: &Fixture, pool: &JobPool) -> (Ssl<Pipe>, PlainPeer) {
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let mut ssl = Ssl::accept(&fixture.server, pool, ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    (ssl, client)
}

#[test]
fn a_cleared_session_serves_another_client_and_keeps_its_id_and_descriptor() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, _gone) = parked(&fixture, &pool);
    let (id, fd) = (ssl.id(), ssl.async_fd().map(|fd| format!("{fd:?}")).unwrap());
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS12, theirs);
    drop(ssl.clear(ours).unwrap());
    assert!(!ssl.waiting_for_async() && ssl.is_handshaking());
    assert_eq!(ssl.async_status(), Status::Err, "the last operation was cancelled");
    assert_eq!((pool.stats().live, fixture.engine.stats().cancelled), (0, 1));

    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    // The first result belongs to the cancelled packet.
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!((ssl.id(), ssl.async_fd().map(|fd| format!("{fd:?}")).unwrap()), (id, fd));
    assert_eq!(fixture.engine.stats().late, 1);
}

#[test]
fn a_failed_session_works_again_once_cleared() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, _gone) = parked(&fixture, &pool);
    fixture.device.fail();
    assert!(matches!(ssl.do_handshake(), Err(SslError::Failed(_))));
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    drop(ssl.clear(ours).unwrap());
    assert_eq!(ssl.async_status(), Status::Err, "of the last operation, until there is another");
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert_eq!(ssl.async_status(), Status::Ok, "the error of the last connection is gone");
}

#[test]
fn async_mode_switched_off_while_parked_leaves_that_packet_parked() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, mut client) = parked(&fixture, &pool);
    ssl.set_async_mode(false);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    let started = pool.stats().started;
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!(pool.stats().started, started, "the next packet obeyed");
}

#[test]
fn without_a_job_the_operation_blocks_and_the_handshake_succeeds() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    // Makes the pool refuse every job of this session, as in a process without fibers.
    let _lease = ssl.wait_ctx().lease().unwrap();
    let answering = fixture.device.answer_in_background();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    answering.join().unwrap();
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!((pool.stats().started, fixture.engine.stats().blocking_waits), (0, 1));
}

#[test]
fn a_client_that_closes_after_its_last_flight_is_still_answered() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, mut client) = parked(&fixture, &pool);
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.send(b"question");
    client.tls.send_close_notify();
    client.step();
    client.io.close();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    let mut buffer = [0; 16];
    assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(8));
    assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(0));
    assert_eq!(ssl.write(b"answer").unwrap(), Outcome::Ready(6));
    assert_eq!(client.received(), b"answer");
}

#[test]
fn truncated_data_is_distinguished_from_complete_data() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, mut client) = parked(&fixture, &pool);
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.send(b"half");
    client.io.close();
    let mut buffer = [0; 16];
    assert_eq!(ssl.peek(&mut buffer[..2]).unwrap(), Outcome::Ready(2));
    assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(4), "peeking takes nothing");
    let cut = ssl.read(&mut buffer);
    assert!(matches!(cut, Err(SslError::PeerClosed(ClosedDuring::Data))));
}

#[test]
fn l10_a_panic_in_a_hook_reaches_the_caller_and_ends_only_that_session() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut healthy, mut client) = parked(&fixture, &pool);
    let context = fixture.context_with_a_panicking_key();
    let (ours, theirs) = pipe();
    let mut other = fixture.client(&TLS13, theirs);
    other.step();
    let mut ssl = Ssl::accept(&context, &pool, ours).unwrap();
    let call = std::panic::AssertUnwindSafe(|| ssl.do_handshake());
    let panic = std::panic::catch_unwind(call).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"a bug in a key"));
    assert!(matches!(ssl.do_handshake(), Err(SslError::Panicked)));
    fixture.device.answer();
    assert_eq!(healthy.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(healthy.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!(pool.stats().live, 0);
}

#[test]
fn a_session_used_inside_a_job_parks_without_pausing_it() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    let outer = pool.start(move || {
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        ssl
    });
    let mut ssl = outer.unwrap().finished().expect("the outer job was not paused");
    assert!(ssl.waiting_for_async());
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
}

#[test]
fn with_async_mode_off_a_session_used_inside_a_job_pauses_that_job() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let context = fixture.server.clone().async_mode(false);
    let mut ssl = Ssl::accept(&context, &pool, ours).unwrap();
    let outer_ctx = wait_ctx::WaitCtx::new();
    let outer = pool.start_with(&outer_ctx, move || {
        let outcome = ssl.do_handshake().unwrap();
        (outcome, ssl)
    });
    let outer = outer.unwrap().paused().expect("the operation waits in the job around it");
    assert_eq!((outer_ctx.status(), pool.stats().live), (Status::Ok, 1));
    fixture.device.answer();
    let (outcome, mut ssl) = outer.resume().finished().expect("the device has answered");
    assert_eq!((outcome, ssl.async_status()), (Outcome::WantRead, Status::Unsupported));
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!(fixture.engine.stats().blocking_waits, 0);
}
