//! Handshakes that park and finish.

use job_core::JobPool;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use ssl_async::{Outcome, Ssl};
use wait_ctx::{ReadyQueue, Route, Status, Token};

use crate::support::{KeyType, fixture, pipe, shake};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn a_handshake_parks_in_its_signature_and_finishes_when_the_device_answers() {
    for key_type in [KeyType::P256, KeyType::Rsa2048] {
        let fixture = fixture(key_type, 4);
        for version in VERSIONS {
            let pool = JobPool::new();
            let (ours, theirs) = pipe();
            let mut client = fixture.client(version, theirs);
            let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
            let mut ready = ReadyQueue::new().unwrap();
            ssl.wait_ctx().notifier().set_route(Route::Ready(ready.sender(), Token(7)));

            assert_eq!(ssl.async_status(), Status::Unsupported);
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
            client.step();
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
            assert!(ssl.waiting_for_async() && ssl.connection().is_none());
            assert_eq!(ssl.async_status(), Status::Ok);
            assert_eq!(fixture.device.held(), 1);

            fixture.device.answer();
            let mut tokens = Vec::new();
            ready.drain(&mut tokens);
            assert_eq!(tokens, [Token(7)], "one wake for one completion");

            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
            client.step();
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
            client.send(b"question");
            let mut buffer = [0; 64];
            assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(8));
            assert_eq!(ssl.write(b"answer").unwrap(), Outcome::Ready(6));
            assert_eq!(client.received(), b"answer");

            client.tls.send_close_notify();
            client.step();
            assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(0));
            assert_eq!(pool.stats().live, 0);
        }
        let counted = fixture.engine.stats();
        assert_eq!((counted.submitted, counted.accepted, counted.completed), (2, 2, 2));
        assert_eq!((counted.requests.now, counted.spurious_resumes), (0, 0));
    }
}

#[test]
fn l2_extra_calls_while_parked_change_nothing() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::new();
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    client.step();
    for _ in 0..5 {
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        assert_eq!(ssl.read(&mut [0; 8]).unwrap(), Outcome::WantAsync);
        assert_eq!(ssl.write(b"early").unwrap(), Outcome::WantAsync);
        assert_eq!(ssl.shutdown().unwrap(), Outcome::WantAsync);
    }
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!(fixture.engine.stats().accepted, 1, "submitted once");
}

#[test]
fn a_buffer_limit_is_set_on_the_connection_while_no_packet_is_parked() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::new();
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert!(ssl.connection_mut().is_none(), "the packet has it");
    fixture.device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    ssl.connection_mut().unwrap().set_buffer_limit(Some(100));
    let Outcome::Ready(taken) = ssl.write(&[7; 5000]).unwrap() else { panic!("room for a part") };
    assert!((1..=100).contains(&taken), "{taken}");
}

#[test]
fn without_async_mode_the_same_calls_block() {
    let fixture = fixture(KeyType::P256, 4);
    let context = fixture.server.clone().async_mode(false);
    let pool = JobPool::new();
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    let mut ssl = Ssl::accept(&context, &pool, ours).unwrap();
    client.step();
    // The session blocks this thread, so another thread answers.
    let answering = fixture.device.answer_in_background();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    answering.join().unwrap();
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!(fixture.engine.stats().blocking_waits, 1);
    assert_eq!(pool.stats().created, 0, "no fiber was needed");
}

#[test]
fn a_client_session_and_a_server_session_complete_a_handshake() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::new();
    let (ours, theirs) = pipe();
    let mut server = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    let mut client = fixture.session(&pool, theirs);
    assert!(client.connection().is_none(), "nothing happens before the first call");
    let mut done = (false, false);
    for _ in 0..8 {
        done.0 |= client.do_handshake().unwrap().is_ready();
        match server.do_handshake().unwrap() {
            Outcome::WantAsync => fixture.device.answer(),
            outcome => done.1 |= outcome.is_ready(),
        }
    }
    assert_eq!(done, (true, true));
    assert_eq!(client.write(b"hello").unwrap(), Outcome::Ready(5));
    let mut buffer = [0; 8];
    assert_eq!(server.read(&mut buffer).unwrap(), Outcome::Ready(5));
}

#[test]
fn with_a_pool_at_its_maximum_calls_return_want_async_job_and_lose_nothing() {
    let fixture = fixture(KeyType::P256, 4);
    let pool = JobPool::builder().max_jobs(1).build().unwrap();
    let mut sessions: Vec<_> = (0..2)
        .map(|_| {
            let (ours, theirs) = pipe();
            let mut client = fixture.client(&TLS13, theirs);
            client.step();
            (Ssl::accept(&fixture.server, &pool, ours).unwrap(), client)
        })
        .collect();
    assert_eq!(sessions[0].0.do_handshake().unwrap(), Outcome::WantAsync);
    for _ in 0..2 {
        let waiting = &mut sessions[1].0;
        assert_eq!(waiting.do_handshake().unwrap(), Outcome::WantAsyncJob);
        assert_eq!(waiting.read(&mut [0; 8]).unwrap(), Outcome::WantAsyncJob);
        assert_eq!(waiting.write(b"early").unwrap(), Outcome::WantAsyncJob);
        assert!(!waiting.waiting_for_async(), "it waits for a job, and for no operation");
        assert_eq!(waiting.async_status(), Status::Unsupported);
    }
    for (ssl, client) in &mut sessions {
        while ssl.do_handshake().unwrap() == Outcome::WantAsync {
            fixture.device.answer();
        }
        client.step();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    }
}

#[test]
fn a_session_that_waits_for_a_job_needs_none_once_async_mode_is_off() {
    let (fixture, pool) =
        (fixture(KeyType::P256, 4), JobPool::builder().max_jobs(1).build().unwrap());
    let greeted = || {
        let (ours, theirs) = pipe();
        let mut client = fixture.client(&TLS13, theirs);
        client.step();
        (Ssl::accept(&fixture.server, &pool, ours).unwrap(), client)
    };
    let ((mut parked, _client), (mut waiting, mut client)) = (greeted(), greeted());
    assert_eq!(parked.do_handshake().unwrap(), Outcome::WantAsync);
    assert_eq!(waiting.do_handshake().unwrap(), Outcome::WantAsyncJob);
    waiting.set_async_mode(false);
    fixture.device.set_answers_at_once(true);
    assert_eq!(waiting.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(waiting.do_handshake().unwrap(), Outcome::Ready(()));
    assert!(parked.waiting_for_async());
}

#[test]
fn only_a_packet_takes_a_job_and_no_call_does() {
    for version in VERSIONS {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let (ours, theirs) = pipe();
        let mut client = fixture.client(version, theirs);
        let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
        assert_eq!(pool.stats().started, 0, "nothing has come");
        let _parked = shake(&mut ssl, &mut client, &fixture.device).unwrap();
        let started = pool.stats().started;
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
        assert_eq!(ssl.read(&mut [0; 8]).unwrap(), Outcome::WantRead);
        assert_eq!(ssl.write(b"data").unwrap(), Outcome::Ready(4));
        assert_eq!(ssl.flush().unwrap(), Outcome::Ready(()));
        assert_eq!(ssl.key_update().is_ok(), version == &TLS13);
        assert_eq!(ssl.shutdown().unwrap(), Outcome::Ready(()));
        assert_eq!(pool.stats().started, started);
        assert_eq!(client.received(), b"data");
    }
}
