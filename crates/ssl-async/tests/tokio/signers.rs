//! A slow key in each of the three ways, and what goes wrong with it. After each fault: both sides have ended, nothing is
//! left, and the server serves again.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use engine_core::{Accelerator, DeviceError, EngineError, ThreadPoolBuilder};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use ssl_async::task::{TaskDevice, TlsAcceptor};
use ssl_async::{SlowKey, SlowKeyBuilder, SslError, offload::SigningWork};

use crate::support::{Identity, TestClock, provider};
use crate::world::{PATIENCE, World, current_thread, exchange, multi_thread, until, wire, world};

/// A key in software, for the closures to sign with.
pub(crate) fn software(identity: &Identity) -> Arc<dyn SigningKey> {
    let key = PrivateKeyDer::from_pem_slice(identity.pem.as_bytes()).unwrap();
    any_supported_type(&key).unwrap()
}

pub(crate) fn sign(
    key: &dyn SigningKey,
    scheme: SignatureScheme,
    message: &[u8],
) -> Result<Vec<u8>, rustls::Error> {
    key.choose_scheme(&[scheme]).expect("a scheme of this key").sign(message)
}

pub(crate) fn builder(identity: &Identity) -> SlowKeyBuilder {
    SlowKey::builder_with_provider(vec![identity.certificate.clone()], &provider()).unwrap()
}

/// What befalls the next signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Panics,
    Hangs,
    Garbage,
    Fails,
}

/// The world with another key.
struct Slow {
    world: World,
    acceptor: TlsAcceptor,
    key: Arc<SlowKey>,
}

impl Slow {
    fn new(make: impl FnOnce(SlowKeyBuilder, Arc<dyn SigningKey>) -> Arc<SlowKey>) -> Self {
        // Some of these tests let time leap, and to tokio a wait for a shard is a wait for the next timer.
        let mut world = world(1);
        world.connector = world.connector.without_deadline();
        let identity = &world.fixture.identity;
        let key = make(builder(identity), software(identity));
        let mut config = (**world.acceptor.config()).clone();
        config.cert_resolver = key.clone();
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards).without_deadline();
        Self { world, acceptor, key }
    }

    /// A handshake; the server's error, if it failed. The client then fails, too.
    async fn handshake(&self) -> Result<(), SslError> {
        let (ours, theirs) = wire();
        let (server, client) = tokio::join!(self.acceptor.accept(ours), self.world.client(theirs));
        match server {
            Ok(mut server) => {
                exchange(&mut client.unwrap(), &mut server).await;
                Ok(())
            }
            Err(error) => {
                assert!(client.is_err());
                Err(error)
            }
        }
    }

    async fn is_empty(&self) {
        self.world.is_empty().await;
        until(|| self.key.stats().requests.now == 0).await;
    }
}

const DEADLINE: Duration = Duration::from_secs(1);

/// A blocking signer with a fault on command, the clock of its deadline, and the gate that ends a hang.
fn blocking(fault: Arc<Mutex<Fault>>, clock: TestClock, gate: mpsc::Receiver<()>) -> Slow {
    let gate = Mutex::new(gate);
    Slow::new(move |builder, key| {
        let pool = ThreadPoolBuilder::new().threads(2);
        builder
            .pool(pool)
            .deadline(DEADLINE)
            .clock(Arc::new(clock))
            .blocking(move |scheme, message| {
                let fault = core::mem::replace(&mut *fault.lock().unwrap(), Fault::None);
                match fault {
                    Fault::Panics => std::panic::panic_any("a bug in a signer"),
                    Fault::Hangs => drop(gate.lock().unwrap().recv()),
                    Fault::Garbage => return Ok(vec![0; 71]),
                    Fault::Fails => return Err(String::from("no such key")),
                    Fault::None => {}
                }
                sign(&*key, scheme, message).map_err(|error| error.to_string())
            })
            .unwrap()
    })
}

#[test]
fn a_blocking_signer_that_fails_panics_hangs_and_lies_ends_its_handshake_and_no_other() {
    multi_thread().block_on(async {
        let fault = Arc::new(Mutex::new(Fault::None));
        let (open, gate) = mpsc::channel();
        let clock = TestClock::default();
        let slow = blocking(Arc::clone(&fault), clock.clone(), gate);
        slow.handshake().await.unwrap();
        for (next, expected) in [
            (Fault::Fails, "the device failed"),
            (Fault::Panics, "the device failed"),
            (Fault::Garbage, "does not check"),
            (Fault::Hangs, "deadline passed"),
        ] {
            *fault.lock().unwrap() = next;
            let time_passes = async {
                if next == Fault::Hangs {
                    // The signer has taken it, so the deadline is running.
                    until(|| *fault.lock().unwrap() == Fault::None).await;
                    clock.advance(DEADLINE - Duration::from_nanos(1));
                    assert_eq!(slow.key.engine().poll(), Some(DEADLINE), "not a moment too soon");
                    clock.advance(Duration::from_nanos(1));
                    slow.key.engine().poll();
                }
            };
            let (ended, ()) = tokio::join!(slow.handshake(), time_passes);
            let error = ended.unwrap_err();
            assert!(error.to_string().contains(expected), "{next:?}: {error}");
            slow.world.is_empty().await;
            slow.handshake().await.unwrap();
        }
        // The one that hung comes back: late, and for nobody.
        open.send(()).unwrap();
        slow.is_empty().await;
        let snapshot = slow.key.stats();
        assert_eq!((snapshot.completed, snapshot.late, snapshot.deadlines), (5, 1, 1));
    });
}

#[test]
fn a_key_of_rustls_on_a_pool_of_threads() {
    multi_thread().block_on(async {
        let slow = Slow::new(|builder, key| builder.threads(2).signing_key(key).unwrap());
        slow.handshake().await.unwrap();
        slow.is_empty().await;
        assert_eq!(slow.key.stats().completed, 1);
    });
}

/// The accelerator is a device of ours that answers on command; it holds the request and comes late.
#[test]
fn an_accelerator_that_answers_when_the_client_has_gone() {
    current_thread().block_on(async {
        let device = Arc::new(Mutex::new(None));
        let held = Arc::clone(&device);
        let slow = Slow::new(|builder, key| {
            let manual = crate::support::ManualDevice::doing(4, move |work: &SigningWork| {
                sign(&*key, work.scheme(), work.message()).map_err(|_| DeviceError::Lost)
            });
            *held.lock().unwrap() = Some(Arc::clone(&manual));
            builder.accelerator(manual).unwrap()
        });
        let device = device.lock().unwrap().take().unwrap();
        let (ours, theirs) = wire();
        let server = tokio::spawn(slow.acceptor.accept(ours));
        let client = tokio::spawn(slow.world.client(theirs));
        until(|| device.held() == 1).await;
        client.abort();
        assert!(matches!(server.await.unwrap(), Err(SslError::PeerClosed(_))));
        slow.world.is_empty().await;
        device.answer();
        slow.is_empty().await;
        assert_eq!(slow.key.stats().late, 1);
        device.set_answers_at_once(true);
        slow.handshake().await.unwrap();
    });
}

type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send>>;

/// A region whose `n`th attempt is answered by `answer(n)`: `None` is the signature.
fn region(
    key: &Arc<dyn SigningKey>,
    attempts: u32,
    answer: impl Fn(u32) -> Option<Answer> + Send + Sync + 'static,
) -> (Arc<dyn Accelerator<SigningWork>>, Arc<AtomicU32>) {
    let (key, count) = (Arc::clone(key), Arc::<AtomicU32>::default());
    let counted = Arc::clone(&count);
    let device = TaskDevice::signing(move |scheme, message| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        let signed = sign(&*key, scheme, &message).map_err(io::Error::other);
        answer(n).unwrap_or_else(|| Box::pin(async move { signed }))
    });
    let device = device.attempts(attempts).attempt_deadline(Duration::from_secs(3));
    (Arc::new(device), count)
}

fn refused() -> Option<Answer> {
    Some(Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) }))
}

/// Time is paused, so attempts and the waits between them take none.
fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn an_async_signer_is_awaited_within_the_handshake() {
    current_thread().block_on(async {
        let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let slow = Slow::new(|builder, key| {
            let device = TaskDevice::signing(move |scheme, message| {
                let (key, ask) = (Arc::clone(&key), ask.clone());
                async move {
                    let (allow, allowed) = tokio::sync::oneshot::channel();
                    ask.send(allow).unwrap();
                    allowed.await.unwrap();
                    sign(&*key, scheme, &message)
                }
            });
            builder.accelerator(Arc::new(device)).unwrap()
        });
        let allows = async {
            let allow: tokio::sync::oneshot::Sender<()> = asked.recv().await.unwrap();
            until(|| slow.world.shards.n_packets() == 1).await;
            allow.send(()).unwrap();
        };
        let (done, ()) = tokio::join!(slow.handshake(), allows);
        done.unwrap();
        slow.is_empty().await;
    });
}

#[test]
fn an_async_signer_is_tried_again_and_then_the_other_region_is_asked() {
    paused().block_on(async {
        let counts = Mutex::new(None);
        let slow = Slow::new(|builder, key| {
            // Fails once and then signs; hangs from the third call on.
            let (near, nears) = region(&key, 2, |n| match n {
                0 => refused(),
                1 => None,
                _ => Some(Box::pin(std::future::pending())),
            });
            let (far, fars) = region(&key, 1, |_| None);
            *counts.lock().unwrap() = Some((nears, fars));
            builder.standby(far).accelerator(near).unwrap()
        });
        let (near, far) = counts.lock().unwrap().take().unwrap();
        let asked = || (near.load(Ordering::SeqCst), far.load(Ordering::SeqCst));
        slow.handshake().await.unwrap();
        assert_eq!(asked(), (2, 0), "a second attempt in the same region");
        slow.handshake().await.unwrap();
        assert_eq!(asked(), (4, 1), "both attempts took too long: the other region");
        slow.is_empty().await;
        assert_eq!(slow.key.stats().fallbacks, 1);
    });
}

#[test]
fn an_async_signer_that_fails_panics_and_lies_ends_its_handshake_and_no_other() {
    paused().block_on(async {
        let slow = Slow::new(|builder, key| {
            let (device, _) = region(&key, 1, |n| match n {
                0 => refused(),
                1 => Some(Box::pin(async { std::panic::panic_any("a bug in a client library") })),
                2 => Some(Box::pin(async { Ok(vec![0; 71]) })),
                3 => Some(Box::pin(std::future::pending())),
                _ => None,
            });
            builder.accelerator(device).unwrap()
        });
        for expected in
            ["it said: connection refused", "async fn panicked", "does not check", "took too long"]
        {
            let error = slow.handshake().await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            slow.is_empty().await;
        }
        slow.handshake().await.unwrap();
        slow.is_empty().await;
    });
}

/// The runtime of the signer is not that of the server, and goes first.
#[test]
fn an_async_signer_whose_runtime_is_gone_fails_the_handshake() {
    let theirs = multi_thread();
    let slow = {
        let _inside = theirs.enter();
        Slow::new(|builder, key| {
            let (device, _) = region(&key, 1, |_| Some(Box::pin(std::future::pending())));
            builder.accelerator(device).unwrap()
        })
    };
    current_thread().block_on(async {
        let ends = async {
            until(|| slow.key.stats().accepted == 1).await;
            theirs.shutdown_background();
        };
        let (error, ()) = tokio::join!(slow.handshake(), ends);
        let error = error.unwrap_err();
        assert!(matches!(error, SslError::Failed(EngineError::Device(_))), "{error}");
        let error = slow.handshake().await.unwrap_err();
        assert!(error.to_string().contains("runtime that the TaskDevice was made in"), "{error}");
        slow.world.is_empty().await;
        assert!(slow.key.engine().quiesce(PATIENCE));
    });
}
