//! A key that waits as an OpenSSL engine does: it registers a descriptor with the session's wait context and pauses until
//! that is readable, without an `Engine`.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use job_core::{JobPool, Pause, current, pause};
use rustls::sign::{Signer, SigningKey};
use rustls::version::TLS13;
use rustls::{SignatureAlgorithm, SignatureScheme};
use ssl_async::{Outcome, Ssl, SslContext, TlsError, wait_ctx::Status};
use wait_ctx::{Key, Seen, WaitFd};

use crate::support::{Fixture, KeyType, Pipe, PlainPeer, fixture, pipe, server_config};

/// State shared by the key and the test.
#[derive(Debug)]
struct Engine {
    key: Key,
    /// Whether the descriptor is removed when an operation is done.
    clears: bool,
    is_done: AtomicBool,
    signal: Mutex<Option<PipeWriter>>,
}

impl Engine {
    fn wait(&self) -> Result<(), TlsError> {
        let ctx = current().and_then(|job| job.wait_ctx()).expect("a packet has a wait context");
        if ctx.fd(self.key).is_none() {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            *self.signal.lock().unwrap() = Some(writer);
            let ours = reader.try_clone().expect("a descriptor");
            let wait_fd = WaitFd::owned(reader).with_data(Mutex::new(ours));
            ctx.set_wait_fd(self.key, wait_fd).expect("its key is its own");
        }
        // A readable descriptor is a hint, and so is a resume.
        while !self.is_done.swap(false, Ordering::Relaxed) {
            if pause() != Pause::Resumed {
                return Err(TlsError::General("the session is gone".into()));
            }
        }
        let data = ctx.fd(self.key).and_then(|(_, data)| data).expect("registered above");
        let reader = data.downcast::<Mutex<PipeReader>>().expect("it is this engine's");
        reader.lock().unwrap().read_exact(&mut [0]).expect("the signal is there");
        if self.clears {
            drop(ctx.clear_fd(self.key));
        }
        Ok(())
    }

    fn finish(&self) {
        self.is_done.store(true, Ordering::Relaxed);
        self.signal.lock().unwrap().as_mut().expect("it waits").write_all(&[1]).unwrap();
    }
}

#[derive(Debug)]
struct WaitingKey(Arc<Engine>, Arc<dyn SigningKey>);

#[derive(Debug)]
struct WaitingSigner(Arc<Engine>, Box<dyn Signer>);

impl SigningKey for WaitingKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let inner = self.1.choose_scheme(offered)?;
        Some(Box::new(WaitingSigner(Arc::clone(&self.0), inner)))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.1.algorithm()
    }
}

impl Signer for WaitingSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        self.0.wait()?;
        self.1.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.1.scheme()
    }
}

/// A session with such a key, and a client that has sent its hello.
fn greeted(clears: bool) -> (Fixture, Arc<Engine>, Ssl<Pipe>, PlainPeer) {
    let fixture = fixture(KeyType::P256, 4);
    fixture.device.set_answers_at_once(true);
    let (is_done, signal) = (AtomicBool::new(false), Mutex::new(None));
    let engine = Arc::new(Engine { key: Key::unique(), clears, is_done, signal });
    let key: Arc<dyn SigningKey> =
        Arc::new(WaitingKey(Arc::clone(&engine), Arc::clone(&fixture.key)));
    let config = server_config(crate::support::provider(), &[&TLS13], &fixture.identity, &key);
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    let context = SslContext::server(Arc::new(config));
    let ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
    (fixture, engine, ssl, client)
}

/// The same session with another client.
fn greeted_again(fixture: &Fixture, ssl: &mut Ssl<Pipe>) -> PlainPeer {
    let (ours, theirs) = pipe();
    let mut client = fixture.client(&TLS13, theirs);
    client.step();
    drop(ssl.clear(ours).unwrap());
    client
}

fn finish(engine: &Engine, ssl: &mut Ssl<Pipe>, client: &mut PlainPeer) {
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    engine.finish();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    client.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
}

#[test]
fn an_engines_own_descriptor_stays_with_the_session_from_one_operation_to_the_next() {
    let (fixture, engine, mut ssl, mut client) = greeted(false);
    assert!(ssl.all_async_fds().is_empty());
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert_eq!(ssl.async_status(), Status::Unsupported, "such an engine uses no callback");
    let all: Vec<_> = ssl.all_async_fds().iter().map(AsRawFd::as_raw_fd).collect();
    let changed = ssl.changed_async_fds();
    let added: Vec<_> = changed.added.iter().map(AsRawFd::as_raw_fd).collect();
    assert_eq!((added, changed.removed.len(), all.len()), (all.clone(), 0, 1));
    finish(&engine, &mut ssl, &mut client);

    let mut client = greeted_again(&fixture, &mut ssl);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert!(ssl.changed_async_fds().is_empty(), "told once");
    let still: Vec<_> = ssl.all_async_fds().iter().map(AsRawFd::as_raw_fd).collect();
    assert_eq!(still, all);
    finish(&engine, &mut ssl, &mut client);
}

#[test]
fn a_descriptor_that_an_engine_removes_is_reported_only_to_callers_that_knew_it() {
    let (fixture, engine, mut ssl, mut client) = greeted(true);
    let mut slow_consumer = Seen::default();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    let known = ssl.changed_async_fds().added;
    assert_eq!(known.len(), 1);
    finish(&engine, &mut ssl, &mut client);
    // Between two operations, where OpenSSL loses it: the descriptor goes, and its number is not used again before.
    let gone = ssl.changed_async_fds();
    assert_eq!((gone.added.len(), gone.removed.len()), (0, 1));
    assert_eq!(gone.removed.iter().next().unwrap(), known.iter().next().unwrap());
    assert!(ssl.wait_ctx().diff(&mut slow_consumer).is_empty(), "it never saw any");

    let mut client = greeted_again(&fixture, &mut ssl);
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert_eq!(ssl.changed_async_fds().added.len(), 1);
    finish(&engine, &mut ssl, &mut client);
}
