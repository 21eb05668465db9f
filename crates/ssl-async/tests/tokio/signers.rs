//! Slow keys of each of the three kinds, with faults. After each fault both sides have ended, nothing is left, and the next
//! handshake succeeds.

use core::cell::Cell;
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
use ssl_async::{SignError, SlowKey, SlowKeyBuilder, SslError, offload::SigningWork};

use crate::support::{Identity, TestClock, provider};
use crate::world::{
    TIMEOUT, World, current_thread, exchange, multi_thread, paused, until, wire, worlds,
};

/// A key in software, with which the closures sign.
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

/// The fault of the next signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Panics,
    Hangs,
    WrongSignature,
    Fails,
}

/// A world whose server has a `SlowKey`.
struct SlowWorld {
    world: World,
    acceptor: TlsAcceptor,
    key: Arc<SlowKey>,
}

thread_local! {
    /// Whether worlds park by replay.
    static REPLAYS: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test on fibers and by replay.
fn both(test: impl Fn()) {
    for replays in [false, true] {
        REPLAYS.set(replays);
        test();
    }
}

impl SlowWorld {
    fn new(make: impl FnOnce(SlowKeyBuilder, Arc<dyn SigningKey>) -> Arc<SlowKey>) -> Self {
        // With a paused clock, tokio would advance to the deadline while a handshake waits for a shard.
        let mut world = worlds(1).nth(usize::from(REPLAYS.get())).expect("two worlds");
        world.connector = world.connector.without_deadline();
        let identity = &world.fixture.identity;
        let key = make(builder(identity), software(identity));
        let mut config = (**world.acceptor.config()).clone();
        config.cert_resolver = key.clone();
        let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards).without_deadline();
        Self { world, acceptor, key }
    }

    /// Runs a handshake and returns the server's error. If it fails, so does the client.
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

    async fn assert_empty(&self) {
        self.world.assert_empty().await;
        until(|| self.key.stats().requests.now == 0).await;
    }
}

const DEADLINE: Duration = Duration::from_secs(1);

/// A world with a blocking signer: `fault` selects its next fault, `clock` runs its deadline, and `gate` ends a hang.
fn blocking(fault: Arc<Mutex<Fault>>, clock: TestClock, gate: mpsc::Receiver<()>) -> SlowWorld {
    let gate = Mutex::new(gate);
    SlowWorld::new(move |builder, key| {
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
                    Fault::WrongSignature => return Ok(vec![0; 71]),
                    Fault::Fails => return Err(String::from("no such key")),
                    Fault::None => {}
                }
                sign(&*key, scheme, message).map_err(|error| error.to_string())
            })
            .unwrap()
    })
}

#[test]
fn a_fault_of_a_blocking_signer_ends_its_handshake_and_no_other() {
    both(|| {
        multi_thread().block_on(async {
            let fault = Arc::new(Mutex::new(Fault::None));
            let (open, gate) = mpsc::channel();
            let clock = TestClock::default();
            let slow = blocking(Arc::clone(&fault), clock.clone(), gate);
            slow.handshake().await.unwrap();
            for (next, expected) in [
                (Fault::Fails, "the device failed"),
                (Fault::Panics, "the device failed"),
                (Fault::WrongSignature, "does not check"),
                (Fault::Hangs, "deadline passed"),
            ] {
                *fault.lock().unwrap() = next;
                let time_passes = async {
                    if next == Fault::Hangs {
                        // The signer has the request, so the deadline is running.
                        until(|| *fault.lock().unwrap() == Fault::None).await;
                        clock.advance(DEADLINE - Duration::from_nanos(1));
                        assert_eq!(
                            slow.key.engine().poll(),
                            Some(DEADLINE),
                            "the deadline has not passed"
                        );
                        clock.advance(Duration::from_nanos(1));
                        slow.key.engine().poll();
                    }
                };
                let (ended, ()) = tokio::join!(slow.handshake(), time_passes);
                let error = ended.unwrap_err();
                assert!(error.to_string().contains(expected), "{next:?}: {error}");
                slow.world.assert_empty().await;
                slow.handshake().await.unwrap();
            }
            // The signer that hung returns a late result, which is discarded.
            open.send(()).unwrap();
            slow.assert_empty().await;
            let snapshot = slow.key.stats();
            assert_eq!((snapshot.completed, snapshot.late, snapshot.deadlines), (5, 1, 1));
        });
    });
}

#[test]
fn a_key_of_rustls_on_a_pool_of_threads() {
    both(|| {
        multi_thread().block_on(async {
            let slow = SlowWorld::new(|builder, key| builder.threads(2).signing_key(key).unwrap());
            slow.handshake().await.unwrap();
            slow.assert_empty().await;
            assert_eq!(slow.key.stats().completed, 1);
        });
    });
}

#[test]
fn an_accelerator_that_answers_after_the_client_has_hung_up() {
    both(|| {
        current_thread().block_on(async {
            let device = Arc::new(Mutex::new(None));
            let held = Arc::clone(&device);
            let slow = SlowWorld::new(|builder, key| {
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
            slow.world.assert_empty().await;
            device.answer();
            slow.assert_empty().await;
            assert_eq!(slow.key.stats().late, 1);
            device.set_answers_at_once(true);
            slow.handshake().await.unwrap();
        });
    });
}

type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send>>;

/// A device whose `n`th attempt ends with `answer(n)`, or with the signature if that is `None`; and its count of attempts.
fn region(
    key: &Arc<dyn SigningKey>,
    answer: impl Fn(u32) -> Option<Answer> + Send + Sync + 'static,
) -> (Arc<dyn Accelerator<SigningWork>>, Arc<AtomicU32>) {
    let (key, count) = (Arc::clone(key), Arc::<AtomicU32>::default());
    let counted = Arc::clone(&count);
    let device = TaskDevice::signing(move |scheme, message| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        let signed = sign(&*key, scheme, &message).map_err(io::Error::other);
        answer(n).unwrap_or_else(|| Box::pin(async move { signed }))
    });
    let device = device.attempt_deadline(Duration::from_secs(3));
    (Arc::new(device), count)
}

fn refused() -> Option<Answer> {
    Some(Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) }))
}

#[test]
fn an_async_signer_is_awaited_within_the_handshake() {
    both(|| {
        current_thread().block_on(async {
            let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
            let slow = SlowWorld::new(|builder, key| {
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
            slow.assert_empty().await;
        });
    });
}

#[test]
fn a_region_that_takes_too_long_is_followed_by_the_standby() {
    both(|| {
        paused().block_on(async {
            let counts = Mutex::new(None);
            let slow = SlowWorld::new(|builder, key| {
                let (device, device_calls) =
                    region(&key, |_| Some(Box::pin(std::future::pending())));
                let (standby, standby_calls) = region(&key, |_| None);
                *counts.lock().unwrap() = Some((device_calls, standby_calls));
                builder.standby(standby).accelerator(device).unwrap()
            });
            let (device, standby) = counts.lock().unwrap().take().unwrap();
            slow.handshake().await.unwrap();
            slow.assert_empty().await;
            assert_eq!((device.load(Ordering::SeqCst), standby.load(Ordering::SeqCst)), (1, 1));
            assert_eq!(slow.key.stats().fallbacks, 1);
        });
    });
}

/// Each of the two regions is called as often as the pool's `attempts` say, and no more: between two attempts no task exists.
#[test]
fn the_attempts_of_a_pool_are_the_calls_of_each_region() {
    both(|| {
        current_thread().block_on(async {
            let counts = Mutex::new(None);
            let clock = TestClock::default();
            let by = clock.clone();
            let slow = SlowWorld::new(|builder, key| {
                let throttled = || {
                    let error = SignError::retry_after(DEADLINE / 8, "throttled");
                    Some(Box::pin(async { Err(io::Error::other(error)) }) as Answer)
                };
                let (device, device_calls) = region(&key, move |_| throttled());
                let (standby, standby_calls) =
                    region(&key, |n| if n < 2 { refused() } else { None });
                *counts.lock().unwrap() = Some((device_calls, standby_calls));
                let builder = builder.attempts(3).clock(Arc::new(by.clone()));
                builder.standby(standby).accelerator(device).unwrap()
            });
            let (device, standby) = counts.lock().unwrap().take().unwrap();
            let calls = || (device.load(Ordering::SeqCst), standby.load(Ordering::SeqCst));
            let time_passes = async {
                while calls() != (3, 3) {
                    let again = slow.key.stats().attempts_again;
                    until(|| slow.key.stats().attempts_again > again || calls() == (3, 3)).await;
                    clock.advance(DEADLINE / 4);
                    slow.key.engine().poll();
                }
            };
            let (done, ()) = tokio::join!(slow.handshake(), time_passes);
            done.unwrap();
            slow.assert_empty().await;
            assert_eq!(calls(), (3, 3));
        });
    });
}

#[test]
fn a_fault_of_an_async_signer_ends_its_handshake_and_no_other() {
    both(|| {
        paused().block_on(async {
            let slow = SlowWorld::new(|builder, key| {
                let (device, _) = region(&key, |n| match n {
                    0 => refused(),
                    1 => {
                        Some(Box::pin(async { std::panic::panic_any("a bug in a client library") }))
                    }
                    2 => Some(Box::pin(async { Ok(vec![0; 71]) })),
                    3 => Some(Box::pin(std::future::pending())),
                    _ => None,
                });
                builder.accelerator(device).unwrap()
            });
            for expected in [
                "it said: connection refused",
                "async fn panicked",
                "does not check",
                "took too long",
            ] {
                let error = slow.handshake().await.unwrap_err();
                assert!(error.to_string().contains(expected), "{error}");
                slow.assert_empty().await;
            }
            slow.handshake().await.unwrap();
            slow.assert_empty().await;
        });
    });
}

/// The signer has another runtime than the server.
#[test]
fn an_async_signer_whose_runtime_has_ended_fails_the_handshake() {
    both(|| {
        let signers_runtime = multi_thread();
        let slow = {
            let _entered = signers_runtime.enter();
            SlowWorld::new(|builder, key| {
                let (device, _) = region(&key, |_| Some(Box::pin(std::future::pending())));
                builder.accelerator(device).unwrap()
            })
        };
        current_thread().block_on(async {
            let ends = async {
                until(|| slow.key.stats().accepted == 1).await;
                signers_runtime.shutdown_background();
            };
            let (error, ()) = tokio::join!(slow.handshake(), ends);
            let error = error.unwrap_err();
            assert!(matches!(error, SslError::Failed(EngineError::Device(_))), "{error}");
            let error = slow.handshake().await.unwrap_err();
            assert!(
                error.to_string().contains("runtime that the TaskDevice was made in"),
                "{error}"
            );
            slow.world.assert_empty().await;
            assert!(slow.key.engine().quiesce(TIMEOUT));
        });
    });
}
