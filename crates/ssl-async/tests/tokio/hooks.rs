//! Synchronous hooks of handshakes that take a fiber: they have the runtime of their task and the stack of a thread.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use job_core::on_job_stack;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, KeyLog, ServerConfig,
    SignatureScheme,
};
use ssl_async::task::{Shards, TlsAcceptor, TlsConnector};
use ssl_async::{Parking, resolve, verify};
use tokio::runtime::Handle;

use crate::support::{localhost, provider};
use crate::world::{World, current_thread, exchange, multi_thread, wire, world_on, worlds_on};

/// A hook that needs a runtime and much stack, and says what it was called for.
#[derive(Debug)]
struct Demanding<T: ?Sized> {
    called: Arc<Mutex<BTreeSet<&'static str>>>,
    inner: Arc<T>,
}

impl<T: ?Sized> Demanding<T> {
    fn demand(&self, what: &'static str) {
        let mut stack = [7u8; 1 << 20];
        std::hint::black_box(&mut stack);
        drop(Handle::current().spawn(async {}));
        self.called.lock().unwrap().insert(what);
    }
}

impl ResolvesServerCert for Demanding<dyn ResolvesServerCert> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.demand("resolver");
        self.inner.resolve(hello)
    }
}

impl ProducesTickets for Demanding<dyn ProducesTickets> {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.demand("ticketer");
        self.inner.encrypt(plain)
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.inner.decrypt(sealed)
    }
}

impl KeyLog for Demanding<str> {
    fn log(&self, _: &str, _: &[u8], _: &[u8]) {
        let what = if &*self.inner == "server" { "server's key log" } else { "client's key log" };
        self.demand(what);
    }
}

impl ClientCertVerifier for Demanding<dyn ClientCertVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.demand("verifier");
        self.inner.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A world on one shard, whose configuration cannot be replayed, and whose device answers at once.
fn fiber_world() -> World {
    let world = world_on(4, one_shard());
    world.fixture.device.set_answers_at_once(true);
    world
}

fn one_shard() -> Shards {
    Shards::builder().threads(1).build().unwrap()
}

#[test]
fn synchronous_hooks_have_the_runtime_of_their_task_and_the_stack_of_a_thread() {
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async {
            let world = fiber_world();
            let called = Arc::<Mutex<BTreeSet<_>>>::default();
            let (identity, key) = (&world.fixture.identity, &world.fixture.key);
            let inner =
                WebPkiClientVerifier::builder_with_provider(identity.roots(), provider().into());
            let inner = Demanding { called: called.clone(), inner: inner.build().unwrap() };
            let verifier = verify::client_certificate(Arc::new(inner), async |_| Ok(()));
            let resolver: Arc<dyn ResolvesServerCert> = identity.certified(Arc::clone(key));
            let resolver = Demanding { called: called.clone(), inner: resolver };
            let mut config = ServerConfig::builder_with_provider(provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(verifier)
                .with_cert_resolver(Arc::new(resolver));
            let ticketer = Ticketer::new().unwrap();
            config.ticketer = Arc::new(Demanding { called: called.clone(), inner: ticketer });
            config.key_log = Arc::new(Demanding { called: called.clone(), inner: "server".into() });
            let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards);

            let mut client = ClientConfig::builder_with_provider(provider().into())
                .with_protocol_versions(&[&TLS13])
                .unwrap()
                .with_root_certificates(identity.roots())
                .with_client_cert_resolver(identity.certified(Arc::clone(key)));
            client.key_log = Arc::new(Demanding { called: called.clone(), inner: "client".into() });
            let connector = TlsConnector::new(Arc::new(client), &world.shards);

            let (ours, theirs) = wire();
            let (server, client) =
                tokio::join!(acceptor.accept(ours), connector.connect(localhost(), theirs));
            exchange(&mut client.unwrap(), &mut server.unwrap()).await;
            let expected =
                ["client's key log", "resolver", "server's key log", "ticketer", "verifier"];
            assert!(called.lock().unwrap().iter().eq(&expected), "{called:?}");
            world.assert_empty().await;
        });
    }
}

/// A resolver of the user's around one of this crate's, which records whether it was called on a fiber.
#[derive(Debug)]
struct Around(Arc<dyn ResolvesServerCert>, Mutex<Vec<bool>>);

impl ResolvesServerCert for Around {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.lock().unwrap().push(on_job_stack());
        self.0.resolve(hello)
    }
}

/// What it contains shows only when it waits: that blocks the shard once.
#[test]
fn a_resolver_around_one_that_waits_is_called_on_the_fiber_from_the_second_time_on() {
    current_thread().block_on(async {
        // By replay it is called on the task first, and again on the fiber.
        let by_replay = [false, false, false, true, false, true];
        let cases = [
            (Parking::Auto, false, &[false, true, true][..]),
            (Parking::Fiber, false, &[true; 3]),
            (Parking::Auto, true, &by_replay),
        ];
        for (parking, replays, expected) in cases {
            let world = worlds_on(4, one_shard).nth(usize::from(replays)).unwrap();
            world.fixture.device.set_answers_at_once(true);
            let chain = vec![world.fixture.identity.certificate.clone()];
            let key = Arc::new(CertifiedKey::new(chain, Arc::clone(&world.fixture.key)));
            let waits = resolve::server_certificate(async move |_| {
                tokio::task::yield_now().await;
                Some(key)
            });
            let around = Arc::new(Around(waits, Mutex::default()));
            let mut config = (**world.acceptor.config()).clone();
            config.cert_resolver = Arc::clone(&around) as _;
            let acceptor = TlsAcceptor::new(Arc::new(config), &world.shards).parking(parking);
            for _ in 0..3 {
                let (ours, theirs) = wire();
                let (server, client) = tokio::join!(acceptor.accept(ours), world.client(theirs));
                exchange(&mut client.unwrap(), &mut server.unwrap()).await;
            }
            assert_eq!(*around.1.lock().unwrap(), expected);
            world.assert_empty().await;
        }
    });
}
