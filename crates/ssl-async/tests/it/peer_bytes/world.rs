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
use ssl_async::{Parking, SslContext, TlsError, offload, replayable, resolve, verify};

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
    pub(crate) parking: Parking,
    pub(crate) device: Arc<ManualDevice>,
    pub(crate) engine: Arc<Engine<CryptoOp>>,
    pub(crate) clock: TestClock,
    pub(crate) gates: Gates,
    pub(crate) pool: JobPool,
    pub(crate) server: SslContext,
    pub(crate) client: SslContext<ClientConfig>,
}

impl World {
    /// A server that parks in this way; with a setup in which something waits behind the server's flight, by replay only
    /// up to there.
    pub(crate) fn new(setup: Setup, parking: Parking) -> Self {
        let parking = match parking {
            Parking::Replay if waits_behind_flight(setup) => Parking::Auto,
            parking => parking,
        };
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
        let server = server(setup, &engine, &gates).parking(parking);
        let client = client(setup, &engine, &gates);
        Self { setup, parking, device, engine, clock, gates, pool, server, client }
    }

    /// Whether something was cancelled that a handshake waited for.
    pub(crate) fn has_cancelled(&self) -> bool {
        self.engine.stats().cancelled > 0 || self.gates.dropped() > 0
    }
}

/// Whether a server waits behind its flight, where only a fiber can: for the seal of a ticket, the second half of a key
/// exchange of TLS 1.2, or the verdict on the client's certificate.
fn waits_behind_flight(setup: Setup) -> bool {
    let judges = setup.has(Setup::MUTUAL) && setup.has(Setup::HOOKS);
    judges || setup.has(Setup::TICKETS) || setup.has(Setup::EXCHANGE)
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
    let provider = if exchange { offload::key_exchange(usual) } else { usual };
    let provider = Arc::new(replayable(provider));
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
