//! AWS KMS by Amazon's SDK, against the emulator `moto`: right signatures, and what happens when a region throttles, denies,
//! hangs, or is away.

mod moto;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::{Credentials, Region as Name};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use ssl_async::engine_core::{Accelerator, Clock};
use ssl_async::offload::SigningWork;
use ssl_async::task::{TlsAcceptor, TlsConnector};
use ssl_async::{KeyPool, KeyPoolBuilder, SlowKey};

use crate::moto::{Fault, Moto, Region};

/// Long for an answer over loopback, short for a test.
const ATTEMPT: Duration = Duration::from_secs(5);

fn client(region: &Region, name: &'static str) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_kms::Config::builder()
        .endpoint_url(format!("http://{}", region.address))
        .region(Name::new(name))
        .credentials_provider(Credentials::new("tester", "secret", None, None, "tests"))
        .retry_config(RetryConfig::disabled())
        .http_client(http)
        .build();
    Client::from_conf(config)
}

/// The public half of a key in the service, for the certificate.
struct PublicHalf {
    point: Vec<u8>,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl rcgen::PublicKeyData for PublicHalf {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

struct World {
    _moto: Moto,
    near: Arc<Region>,
    far: Arc<Region>,
    /// Its id is the same in both regions.
    key_id: String,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    /// Of the breakers.
    clock: Arc<HandClock>,
}

/// A clock that the test sets.
#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl World {
    /// A multi-Region key with its replica, and a certificate for it. `None` without the emulator.
    async fn new(spec: KeySpec) -> Option<Self> {
        let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let moto = Moto::start()?;
        let (near, far) = (Region::before(moto.address).await, Region::before(moto.address).await);
        let kms = client(&near, "eu-central-1");
        let made = kms.create_key().key_spec(spec.clone()).key_usage(KeyUsageType::SignVerify);
        let made = made.multi_region(true).send().await.expect("a key");
        let key_id = made.key_metadata.expect("its description").key_id;
        kms.replicate_key()
            .key_id(&key_id)
            .replica_region("eu-west-1")
            .send()
            .await
            .expect("a replica");
        let public = kms.get_public_key().key_id(&key_id).send().await.expect("its public half");
        let spki = public.public_key.expect("a key").into_inner();
        let (algorithm, len) = match spec {
            KeySpec::EccNistP256 => (&rcgen::PKCS_ECDSA_P256_SHA256, 65),
            // 2048 bits, in a SEQUENCE of modulus and exponent.
            _ => (&rcgen::PKCS_RSA_SHA256, 270),
        };
        let half = PublicHalf { point: spki[spki.len() - len..].to_vec(), algorithm };
        let mut params = rcgen::CertificateParams::new([]).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).expect("an authority");
        let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = leaf.signed_by(&half, &authority).expect("a certificate").der().clone();
        let authority = authority.der().clone();
        let clock = Arc::default();
        Some(Self { _moto: moto, near, far, key_id, certificate, authority, clock })
    }

    fn region(&self, region: &Region, name: &'static str) -> Arc<dyn Accelerator<SigningWork>> {
        Arc::new(recipes::aws_kms::region(client(region, name), ATTEMPT))
    }

    fn key(&self, pool: KeyPoolBuilder) -> Arc<SlowKey> {
        let pool = pool.accelerator(self.region(&self.near, "eu-central-1")).expect("a pool");
        pool.key(vec![self.certificate.clone()], self.key_id.as_str()).expect("a key")
    }

    /// The key with the second region behind the first.
    fn key_in_two_regions(&self) -> Arc<SlowKey> {
        let far = self.region(&self.far, "eu-west-1");
        self.key(KeyPool::builder().clock(self.clock.clone()).standby(far))
    }

    async fn handshake(&self, key: &Arc<SlowKey>) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("an authority");
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
        let connector = TlsConnector::from(Arc::new(client));
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let name = "localhost".try_into().expect("a name");
        let (server, client) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
        server.map_err(|error| error.to_string())?;
        client.map(drop).map_err(|error| error.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_signs_and_serves() {
    let Some(world) = World::new(KeySpec::EccNistP256).await else { return };
    let key = world.key(KeyPool::builder());
    let test = key.self_test().await;
    assert!(test.is_ok(), "{test}");
    world.handshake(&key).await.expect("a handshake");
}

/// The emulator makes the salt of PSS as long as fits, which the service does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_rsa_key_of_the_emulator_signs_with_pkcs1_padding_and_the_self_test_says_what_is_wrong_with_pss()
 {
    let Some(world) = World::new(KeySpec::Rsa2048).await else { return };
    let key = world.key(KeyPool::builder());
    let test = key.self_test().await;
    assert_eq!(test.passed().count(), 3, "{test}");
    let text = test.to_string();
    assert!(text.contains("RSA_PSS_SHA256: PSS salt 222 instead of 32"), "{text}");
    assert!(text.contains("refuses PSS"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_throttles_is_asked_again_and_one_that_denies_is_not() {
    let Some(world) = World::new(KeySpec::EccNistP256).await else { return };
    let key = world.key(KeyPool::builder().deadline(3 * ATTEMPT).attempts(3));
    world.near.set(Fault::Throttles(2));
    world.handshake(&key).await.expect("the third call signs");
    assert_eq!((world.near.signs(), key.stats().attempts_again), (3, 2));
    world.near.set(Fault::Denies);
    let error = world.handshake(&key).await.expect_err("denied");
    assert!(error.contains("KMS: AccessDeniedException: on purpose"), "{error}");
    assert_eq!(world.near.signs(), 4);
    world.near.set(Fault::None);
    world.handshake(&key).await.expect("it comes back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_hangs_is_replaced_by_the_other_and_soon_not_asked_any_more() {
    let Some(world) = World::new(KeySpec::EccNistP256).await else { return };
    let key = world.key_in_two_regions();
    world.near.set(Fault::Hangs);
    // What 40 handshakes wait for together is one event for the breaker; that the next ones wait too is another.
    for number in [40, 8] {
        for ended in join_all((0..number).map(|_| world.handshake(&key)).collect()).await {
            ended.expect("the other region signs");
        }
    }
    let asked = world.near.signs();
    assert!(key.stats().trips >= 1, "{:?}", key.stats());
    for _ in 0..5 {
        world.handshake(&key).await.expect("the other region signs");
    }
    assert_eq!((world.near.signs(), world.far.signs()), (asked, 53));
    // One call a second finds out that it is back.
    world.near.set(Fault::None);
    world.clock.0.fetch_add(1, Ordering::SeqCst);
    for _ in 0..5 {
        world.handshake(&key).await.expect("either region signs");
    }
    assert_eq!((world.near.signs(), world.far.signs()), (asked + 5, 53));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_regions_away_a_handshake_fails_at_once_and_both_come_back() {
    let Some(world) = World::new(KeySpec::EccNistP256).await else { return };
    let key = world.key_in_two_regions();
    for region in [&world.near, &world.far] {
        region.set(Fault::Hangs);
    }
    for number in [40, 8] {
        let ended = join_all((0..number).map(|_| world.handshake(&key)).collect()).await;
        assert!(ended.iter().all(Result::is_err));
    }
    let error = world.handshake(&key).await.expect_err("both are away");
    let (trips, asked) = (key.stats().trips, (world.near.signs(), world.far.signs()));
    assert!(trips >= 2, "{trips} trips, asked {asked:?}: {error}");
    for region in [&world.near, &world.far] {
        region.set(Fault::None);
    }
    assert!(error.contains("circuit breaker is open"), "{error}");
    world.clock.0.fetch_add(1, Ordering::SeqCst);
    world.handshake(&key).await.expect("both are back");
}

/// Runs futures of one kind together.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        if outputs.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
