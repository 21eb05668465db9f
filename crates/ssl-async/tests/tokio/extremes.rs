//! Extreme durations and numbers: no setting makes a shard, a key or a handshake panic or hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine_core::ThreadPoolBuilder;
use job_core::JobPool;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use ssl_async::task::{Shards, TaskDevice, TlsAcceptor};
use ssl_async::{SlowKey, SslError};

use crate::support::provider;
use crate::world::{TIMEOUT, exchange, multi_thread, wire, world};

const DURATIONS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(3600),
    Duration::from_nanos(u64::MAX),
    Duration::MAX,
];
const COUNTS: [usize; 5] = [0, 1, 2, usize::MAX - 1, usize::MAX];

struct Settings {
    handshake: Duration,
    operation: Duration,
    attempt: Duration,
    attempts: u32,
    in_flight: usize,
    threads: usize,
    max_parked: usize,
    max_jobs: usize,
    /// Whether the first signature fails.
    fails: bool,
}

const USUAL: Settings = Settings {
    handshake: TIMEOUT,
    operation: TIMEOUT,
    attempt: TIMEOUT,
    attempts: 2,
    in_flight: 4,
    threads: 1,
    max_parked: 4,
    max_jobs: 4,
    fails: false,
};

async fn handshake(settings: &Settings) -> Result<(), SslError> {
    let shards = Shards::builder()
        .threads(settings.threads)
        .max_parked(settings.max_parked)
        .jobs(JobPool::builder().max_jobs(settings.max_jobs.max(1)))
        .build()
        .unwrap();
    let world = world(1);
    let identity = &world.fixture.identity;
    let pem = PrivateKeyDer::from_pem_slice(identity.pem.as_bytes()).unwrap();
    let key = any_supported_type(&pem).unwrap();
    let failures = AtomicU32::new(u32::from(settings.fails));
    let sign = move |scheme, message: Vec<u8>| {
        let fails =
            failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let signed = match fails {
            Ok(_) => Err(String::from("fails on command")),
            Err(_) => Ok(key.choose_scheme(&[scheme]).unwrap().sign(&message).unwrap()),
        };
        async { signed }
    };
    let device =
        TaskDevice::signing(sign).attempt_deadline(settings.attempt).in_flight(settings.in_flight);
    let key = SlowKey::builder_with_provider(vec![identity.certificate.clone()], &provider())
        .unwrap()
        .deadline(settings.operation)
        .attempts(settings.attempts)
        .pool(ThreadPoolBuilder::new().threads(settings.threads))
        .accelerator(Arc::new(device))
        .unwrap();
    let mut config = (**world.acceptor.config()).clone();
    config.cert_resolver = key.clone();
    let acceptor = TlsAcceptor::new(Arc::new(config), &shards).deadline(settings.handshake);
    let (ours, theirs) = wire();
    let (server, client) = tokio::join!(acceptor.accept(ours), world.client(theirs));
    exchange(&mut client.map_err(|_| SslError::ShutDown)?, &mut server?).await;
    assert_eq!(shards.shutdown(Duration::ZERO).await, engine_core::Shutdown::Drained);
    Ok(())
}

#[test]
fn no_setting_of_a_handshake_makes_it_panic_or_hang() {
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = USUAL;
        change(&mut settings);
        settings
    };
    let mut all = Vec::new();
    for time in DURATIONS {
        all.push((with(&|s| s.handshake = time), time > Duration::from_secs(1)));
        all.push((with(&|s| s.operation = time), time > Duration::from_secs(1)));
        all.push((with(&|s| s.attempt = time), time > Duration::from_secs(1)));
    }
    for count in COUNTS {
        all.push((with(&|s| s.in_flight = count), true));
        all.push((with(&|s| s.threads = count), true));
        all.push((with(&|s| s.max_parked = count), true));
        all.push((with(&|s| s.max_jobs = count), true));
    }
    for attempts in [u32::MAX, u32::MAX - 1, 2, 1, 0] {
        let settings = with(&|s| (s.attempts, s.fails) = (attempts, true));
        all.push((settings, attempts > 1));
    }
    multi_thread().block_on(async {
        for (n, (settings, succeeds)) in all.iter().enumerate() {
            let ended = tokio::time::timeout(TIMEOUT, handshake(settings)).await;
            let ended = ended.unwrap_or_else(|_| panic!("number {n} hangs"));
            assert!(ended.is_ok() || !succeeds, "number {n}: {ended:?}");
        }
    });
}
