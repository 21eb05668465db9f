//! The calls and statuses of the manual pages SSL_set_async_callback and SSL_get_all_async_fds.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use job_core::JobPool;
use rustls::version::TLS13;
use ssl_async::{AsyncCallback, Outcome, Ssl, SslId};
use wait_ctx::{CallbackArg, ReadyQueue, Reason, Route, Status, Token};

use crate::support::{Fixture, KeyType, Pipe, PlainPeer, fixture, pipe};

/// The calls of callbacks: name of the callback, session, argument and status.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Told>>>);

type Told = (&'static str, SslId, Option<&'static str>, Status);

impl Log {
    fn callback(&self, name: &'static str) -> AsyncCallback {
        let log = Arc::clone(&self.0);
        Arc::new(move |id, why| {
            assert_eq!(why.reason, Reason::Settled);
            let arg = why.arg::<&'static str>().copied();
            log.lock().unwrap().push((name, id, arg, why.status));
        })
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn arg(name: &'static str) -> CallbackArg {
    Arc::new(name)
}

/// A session that has received a client's hello.
fn greeted(fixture: &Fixture, pool: &JobPool) -> (Ssl<Pipe>, PlainPeer) {
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    (Ssl::accept(&fixture.server, pool, ours).unwrap(), client)
}

fn finish(ssl: &mut Ssl<Pipe>, client: &mut PlainPeer) {
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
}

#[test]
fn a_session_takes_callback_and_argument_from_its_context_when_it_is_created() {
    let (mut fixture, pool, log) = (fixture(KeyType::P256, 4), JobPool::new(), Log::default());
    let early = greeted(&fixture, &pool);
    fixture.server.set_async_callback(Some(log.callback("context")));
    fixture.server.set_async_callback_arg(Some(arg("one")));
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    fixture.server.set_async_callback(None);
    fixture.server.set_async_callback_arg(Some(arg("two")));
    let late = greeted(&fixture, &pool);

    for (mut other, mut client) in [early, late] {
        assert_eq!(other.do_handshake().unwrap(), Outcome::WantAsync);
        fixture.device.answer();
        assert_eq!(log.take(), [], "this session's context had no callback then");
        finish(&mut other, &mut client);
    }
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    assert_eq!(log.take(), [("context", ssl.id(), Some("one"), Status::Ok)]);
    finish(&mut ssl, &mut client);
}

#[test]
fn the_sessions_own_callback_and_argument_replace_the_contexts() {
    let (mut fixture, pool, log) = (fixture(KeyType::P256, 4), JobPool::new(), Log::default());
    fixture.server.set_async_callback(Some(log.callback("context")));
    fixture.server.set_async_callback_arg(Some(arg("context's")));
    // Before the first operation, while parked, and after the completion: the last one set counts.
    for when in 0..3 {
        let (mut ssl, mut client) = greeted(&fixture, &pool);
        let set = |ssl: &Ssl<Pipe>| {
            ssl.set_async_callback(Some(log.callback("own")));
            ssl.set_async_callback_arg(Some(arg("own's")));
        };
        if when == 0 {
            set(&ssl);
        }
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        if when == 1 {
            set(&ssl);
        }
        fixture.device.answer();
        if when == 2 {
            set(&ssl);
        }
        let (name, argument) = if when == 2 { ("context", "context's") } else { ("own", "own's") };
        assert_eq!(log.take(), [(name, ssl.id(), Some(argument), Status::Ok)]);
        finish(&mut ssl, &mut client);
    }
}

#[test]
fn a_callback_removed_while_parked_is_not_called_and_one_set_late_gets_the_owed_wake() {
    let (fixture, pool, log) = (fixture(KeyType::P256, 4), JobPool::new(), Log::default());
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    ssl.set_async_callback(Some(log.callback("removed")));
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    ssl.set_async_callback(None);
    fixture.device.answer();
    assert_eq!(log.take(), []);
    ssl.set_async_callback(Some(log.callback("late")));
    assert_eq!(log.take(), [("late", ssl.id(), None, Status::Ok)]);
    finish(&mut ssl, &mut client);
    assert_eq!(log.take(), []);
}

#[test]
fn with_async_mode_off_the_callback_is_never_called_and_nothing_is_parked() {
    let (fixture, pool, log) = (fixture(KeyType::P256, 4), JobPool::new(), Log::default());
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    ssl.set_async_callback(Some(log.callback("never")));
    ssl.set_async_mode(false);
    assert!(!ssl.async_mode());
    let answering = fixture.device.answer_in_background();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    answering.join().unwrap();
    assert!(!ssl.waiting_for_async());
    assert_eq!(ssl.async_status(), Status::Unsupported, "the session saw no operation");
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!((log.take(), pool.stats().started), (vec![], 0));
}

#[test]
fn the_status_is_unsupported_then_ok_then_ok_and_err_after_a_failure() {
    let (fixture, pool) = (fixture(KeyType::P256, 1), JobPool::new());
    let (mut first, _client) = greeted(&fixture, &pool);
    let (mut second, _other) = greeted(&fixture, &pool);
    assert_eq!(first.async_status(), Status::Unsupported);
    assert_eq!(first.do_handshake().unwrap(), Outcome::WantAsync);
    assert_eq!(second.do_handshake().unwrap(), Outcome::WantAsync);
    assert_eq!(first.async_status(), Status::Ok, "submitted");
    assert_eq!(second.async_status(), Status::Again, "the ring is full");
    fixture.device.answer();
    assert_eq!(first.async_status(), Status::Ok, "done");
    assert_eq!(second.async_status(), Status::Ok, "submitted by the completion");
    fixture.device.fail();
    assert_eq!(second.async_status(), Status::Err);
}

#[test]
fn a_requested_descriptor_is_reported_once_and_readable_until_the_session_is_called() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    assert!(ssl.all_async_fds().is_empty() && ssl.changed_async_fds().is_empty());
    let fd = ssl.async_fd().unwrap();
    let (number, mut signal) = (fd.as_raw_fd(), File::from(fd.try_clone_to_owned().unwrap()));
    let mut raised = || signal.read(&mut [0; 8]).is_ok();
    let all: Vec<_> = ssl.all_async_fds().iter().map(AsRawFd::as_raw_fd).collect();
    assert_eq!(all, [number]);
    let changed = ssl.changed_async_fds();
    assert_eq!((changed.added.len(), changed.removed.len()), (1, 0));
    assert!(ssl.changed_async_fds().is_empty(), "seen once");

    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert!(!raised());
    fixture.device.answer();
    assert!(raised());
    finish(&mut ssl, &mut client);
    assert!(!raised());
    assert!(ssl.changed_async_fds().is_empty(), "the descriptor is stable");
}

/// A session whose handshake was parked, woken through its descriptor and finished without a look at the descriptor; its
/// client; and the descriptor.
fn finished_after_a_wake() -> (Ssl<Pipe>, PlainPeer, File) {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    let signal = File::from(ssl.async_fd().unwrap().try_clone_to_owned().unwrap());
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    finish(&mut ssl, &mut client);
    (ssl, client, signal)
}

#[test]
fn a_call_before_the_wake_was_read_clears_the_descriptor() {
    let (_ssl, _client, mut signal) = finished_after_a_wake();
    assert!(signal.read(&mut [0; 8]).is_err(), "a level-triggered loop would spin");
}

#[test]
fn a_wake_after_the_handshake_is_cleared_by_the_next_call() {
    let (mut ssl, _client, mut signal) = finished_after_a_wake();
    // As that of a hook's future, or of a completion on another thread that is late.
    ssl.wait_ctx().notifier().waker().wake();
    assert_eq!(ssl.read(&mut [0; 8]).unwrap(), Outcome::WantRead);
    assert!(signal.read(&mut [0; 8]).is_err(), "a level-triggered loop would spin");
}

#[test]
fn without_callback_descriptor_or_queue_polling_works() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    for _ in 0..3 {
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    }
    fixture.device.answer();
    finish(&mut ssl, &mut client);
    assert_eq!(ssl.wait_ctx().notifier().counters().delivered(), 0);
}

#[test]
fn a_callback_that_panics_is_contained_and_the_session_counts_as_woken() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    ssl.set_async_callback(Some(Arc::new(|_, _| panic!("a bug in a callback"))));
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    assert_eq!(ssl.wait_ctx().notifier().counters().panics, 1);
    finish(&mut ssl, &mut client);
}

#[test]
fn another_sessions_error_does_not_mask_want_async() {
    let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
    let (mut parked, mut client) = greeted(&fixture, &pool);
    assert_eq!(parked.do_handshake().unwrap(), Outcome::WantAsync);
    let (ours, mut theirs) = pipe();
    let mut broken = Ssl::accept(&fixture.server, &pool, ours).unwrap();
    std::io::Write::write_all(&mut theirs, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(broken.do_handshake().is_err());
    assert_eq!(parked.do_handshake().unwrap(), Outcome::WantAsync);
    assert!(parked.waiting_for_async());
    fixture.device.answer();
    finish(&mut parked, &mut client);
}

#[test]
fn a_wake_never_goes_to_both_a_ready_queue_and_a_callback() {
    let (fixture, pool, log) = (fixture(KeyType::P256, 4), JobPool::new(), Log::default());
    let (mut ssl, mut client) = greeted(&fixture, &pool);
    let mut ready = ReadyQueue::new().unwrap();
    ssl.wait_ctx().notifier().set_route(Route::Ready(ready.sender(), Token(1)));
    ssl.set_async_callback(Some(log.callback("own")));
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    fixture.device.answer();
    let mut tokens = Vec::new();
    ready.drain(&mut tokens);
    assert_eq!((log.take().len(), tokens.len()), (1, 0));
    finish(&mut ssl, &mut client);
}
