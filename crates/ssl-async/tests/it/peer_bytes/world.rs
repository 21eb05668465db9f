//! The environment of one session: keys, device, engine, hooks, and the configurations of both roles.

use core::time::Duration;
use std::sync::{Arc, LazyLock};

use crypto_ops::{CryptoOp, KeyHandle, SoftwareKeys};
use engine_core::{Engine, RequestOptions};
use job_core::JobPool;
use rustls::client::Resumption;
use rustls::server::{NoClientAuth, NoServerSessionStorage, danger::ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ALL_VERSIONS, CertificateError, ClientConfig, ServerConfig};
use ssl_async::{SslContext, TlsError, offload, resolve, verify};

use super::clear::{Credulous, OFFERED, Standstill, WANTED, provider};
use super::gates::Gates;
use super::program::Setup;
use crate::support::{Identity, KeyType, ManualDevice, TestClock};

pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// One certificate for all runs: making a key takes longer than a run.
struct Ours {
    identity: Identity,
    keys: Arc<SoftwareKeys>,
    handle: KeyHandle,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let identity = Identity::new(KeyType::P256);
    let keys = Arc::new(SoftwareKeys::new());
    let handle = keys.load_pem(&identity.pem).expect("a key that the store takes");
    Ours { identity, keys, handle }
});

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) device: Arc<ManualDevice>,
    pub(crate) engine: Arc<Engine<CryptoOp>>,
    pub(crate) clock: TestClock,
    pub(crate) gates: Gates,
    pub(crate) pool: JobPool,
    pub(crate) server: SslContext,
    pub(crate) client: SslContext<ClientConfig>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let ring = if setup.has(Setup::NARROW) { 1 } else { 8 };
        let device = ManualDevice::new(Arc::clone(&OURS.keys), ring);
        let clock = TestClock::default();
        let engine = Engine::builder(device.clone())
            .clock(Arc::new(clock.clone()))
            .options(RequestOptions::new().deadline(DEADLINE))
            .build();
        let gates = Gates::default();
        let jobs = if setup.has(Setup::ONE_JOB) { 1 } else { 8 };
        let pool = JobPool::builder().max_jobs(jobs).build().expect("a pool");
        let server = server(setup, &engine, &gates);
        let client = client(setup, &engine, &gates);
        Self { setup, device, engine, clock, gates, pool, server, client }
    }
}

fn certified(engine: &Arc<Engine<CryptoOp>>) -> Arc<CertifiedKey> {
    let key = offload::key_handle(Arc::clone(engine), OURS.handle.clone());
    Arc::new(CertifiedKey::new(vec![OURS.identity.certificate.clone()], key))
}

fn judged(good: bool) -> Result<(), TlsError> {
    if good { Ok(()) } else { Err(CertificateError::Revoked.into()) }
}

fn server(setup: Setup, engine: &Arc<Engine<CryptoOp>>, gates: &Gates) -> SslContext {
    let exchange = setup.has(Setup::EXCHANGE);
    let usual = provider(&WANTED);
    let provider = Arc::new(if exchange { offload::key_exchange(usual) } else { usual });
    let hooks = setup.has(Setup::HOOKS);
    let verifier: Arc<dyn ClientCertVerifier> = match (setup.has(Setup::MUTUAL), hooks) {
        (false, _) => Arc::new(NoClientAuth),
        (true, false) => Arc::new(Credulous),
        (true, true) => {
            let gates = gates.clone();
            verify::client_certificate(Arc::new(Credulous), async move |_peer| {
                judged(gates.ask("client certificate").await)
            })
        }
    };
    let certified = certified(engine);
    let gates = gates.clone();
    let resolver = resolve::server_certificate(async move |_hello| {
        (!hooks || gates.ask("resolve").await).then(|| Arc::clone(&certified))
    });
    let mut config = ServerConfig::builder_with_details(provider.clone(), Arc::new(Standstill))
        .with_protocol_versions(ALL_VERSIONS)
        .expect("a provider for both versions")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    if setup.has(Setup::TICKETS) {
        let period = Duration::from_secs(3600);
        config.ticketer = offload::tickets(Arc::clone(engine), &provider, period).expect("a key");
    }
    let context = SslContext::server(Arc::new(config));
    if exchange { context.key_exchange(Arc::clone(engine)) } else { context }
}

fn client(setup: Setup, engine: &Arc<Engine<CryptoOp>>, gates: &Gates) -> SslContext<ClientConfig> {
    let exchange = setup.has(Setup::EXCHANGE);
    let usual = provider(&OFFERED);
    let provider = Arc::new(if exchange { offload::key_exchange(usual) } else { usual });
    let hooks = setup.has(Setup::HOOKS);
    let asked = gates.clone();
    let verifier = verify::server_certificate(Arc::new(Credulous), async move |_peer| {
        judged(!hooks || asked.ask("server certificate").await)
    });
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Standstill))
        .with_protocol_versions(ALL_VERSIONS)
        .expect("a provider for both versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = if setup.has(Setup::MUTUAL) {
        let (certified, gates) = (certified(engine), gates.clone());
        builder.with_client_cert_resolver(resolve::client_certificate(async move |_wanted| {
            (!hooks || gates.ask("resolve client").await).then(|| Arc::clone(&certified))
        }))
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    let context = SslContext::client(Arc::new(config));
    if exchange { context.key_exchange(Arc::clone(engine)) } else { context }
}
