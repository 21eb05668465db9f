//! A server and a client that offload everything that can be, and the services behind them.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use crypto_ops::{CryptoOp, SoftwareKeys, device_handles};
use engine_core::{CheckFailed, Engine, EngineStats, Kind, RequestOptions, Work};
use job_core::JobPool;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CertificateError, ClientConfig, ServerConfig};
use ssl_async::{
    Acceptor, Outcome, Parking, Ssl, SslContext, TlsError, offload, replayable, resolve, verify,
};

use crate::support::{
    Identity, KeyType, ManualDevice, Pipe, PlainPeer, TestClock, Version, exchange_data, localhost,
    pipe, provider,
};

/// A question of an `async fn` to a remote service. No answer means no.
#[derive(Debug)]
pub(super) struct Question(&'static str);

impl Work for Question {
    type Output = ();

    fn kind(&self) -> Kind {
        Kind::new(self.0)
    }

    fn check(&self, (): &()) -> Result<(), CheckFailed> {
        Ok(())
    }
}

async fn says_yes(service: &Engine<Question>, question: &'static str) -> bool {
    match service.submit(Question(question)) {
        Ok(answer) => answer.await.is_ok(),
        Err(_refused) => false,
    }
}

fn judged(good: bool) -> Result<(), TlsError> {
    if good { Ok(()) } else { Err(CertificateError::Revoked.into()) }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Server(Parking),
    /// A server behind an `Acceptor`.
    Accepted(Parking),
    /// A server whose client has to send a second hello.
    Retried(Parking),
    /// A server whose client offers a ticket.
    Resumed(Parking),
    Client,
    /// A server that waits for its signature only.
    Signing(Parking),
    /// The same behind an `Acceptor`.
    SigningAccepted(Parking),
    /// The same, whose client has to send a second hello.
    SigningRetried(Parking),
}

pub(super) struct World {
    ours: Identity,
    theirs: Identity,
    keys: Arc<SoftwareKeys>,
    pub(super) device: Arc<ManualDevice>,
    pub(super) engine: Arc<Engine<CryptoOp>>,
    key: Arc<dyn SigningKey>,
    pub(super) remote: Arc<ManualDevice<Question>>,
    pub(super) service: Arc<Engine<Question>>,
    clock: TestClock,
    pub(super) pool: JobPool,
    called_back: Arc<AtomicU64>,
}

pub(super) const DEADLINE: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn new() -> Self {
        let (ours, theirs) = (Identity::new(KeyType::P256), Identity::new(KeyType::P256));
        let keys = Arc::new(SoftwareKeys::new());
        let handle = keys.load_pem(&ours.pem).unwrap();
        let device = ManualDevice::new(Arc::clone(&keys), 8);
        let remote = ManualDevice::doing(8, |_question: &Question| Ok(()));
        let (clock, terms) = (TestClock::default(), RequestOptions::new().deadline(DEADLINE));
        let engine =
            Engine::builder(device.clone()).clock(Arc::new(clock.clone())).options(terms).build();
        let service =
            Engine::builder(remote.clone()).clock(Arc::new(clock.clone())).options(terms).build();
        let key = offload::key_handle(Arc::clone(&engine), handle);
        let (pool, called_back) = (JobPool::new(), Arc::default());
        Self { ours, theirs, keys, device, engine, key, remote, service, clock, pool, called_back }
    }

    /// The provider restricted to these groups.
    fn provider(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
        CryptoProvider { kx_groups: groups.to_vec(), ..provider() }
    }

    fn their_key(&self) -> Arc<dyn SigningKey> {
        let key = self.keys.load_pem(&self.theirs.pem).unwrap();
        let inline = Arc::new(engine_core::Inline::new({
            let keys = Arc::clone(&self.keys);
            move |op: &CryptoOp| keys.execute(op).map_err(|_| engine_core::DeviceError::Lost)
        }));
        offload::key_handle(Engine::builder(inline).build(), key)
    }

    /// A server with one group whose hooks all wait.
    fn server(
        &self,
        version: Version,
        group: &'static dyn SupportedKxGroup,
        parking: Parking,
    ) -> SslContext {
        let provider = Arc::new(replayable(offload::key_exchange(Self::provider(&[group]))));
        let inner =
            WebPkiClientVerifier::builder_with_provider(self.theirs.roots(), provider.clone());
        let service = Arc::clone(&self.service);
        let verifier = verify::client_certificate(inner.build().unwrap(), async move |_peer| {
            judged(says_yes(&service, "client certificate").await)
        });
        let chain = vec![self.ours.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key)));
        let service = Arc::clone(&self.service);
        let resolver = resolve::server_certificate(async move |_hello| {
            says_yes(&service, "resolve").await.then(|| Arc::clone(&certified))
        });
        let period = Duration::from_secs(3600);
        let ticketer = offload::tickets(Arc::clone(&self.engine), &provider, period).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        let context = SslContext::server(Arc::new(config)).parking(parking);
        context.key_exchange(Arc::clone(&self.engine))
    }

    /// A server that waits for its signature only, with one group.
    fn signing_server(
        &self,
        version: Version,
        group: &'static dyn SupportedKxGroup,
        parking: Parking,
    ) -> SslContext {
        let provider = Arc::new(replayable(Self::provider(&[group])));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.theirs.roots(), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(self.ours.certified(Arc::clone(&self.key)));
        SslContext::server(Arc::new(config)).parking(parking)
    }

    fn client(&self, version: Version) -> SslContext<ClientConfig> {
        // The server lacks the first group, so TLS 1.3 needs a second hello.
        let groups = [kx_group::SECP384R1, kx_group::X25519];
        let provider = Arc::new(offload::key_exchange(Self::provider(&groups)));
        let inner =
            WebPkiServerVerifier::builder_with_provider(self.theirs.roots(), provider.clone());
        let service = Arc::clone(&self.service);
        let verifier = verify::server_certificate(inner.build().unwrap(), async move |_peer| {
            judged(says_yes(&service, "server certificate").await)
        });
        let chain = vec![self.ours.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.key)));
        let service = Arc::clone(&self.service);
        let resolver = resolve::client_certificate(async move |wanted| {
            assert!(!wanted.authorities.is_empty() && !wanted.schemes.is_empty());
            says_yes(&service, "resolve client").await.then(|| Arc::clone(&certified))
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(resolver);
        SslContext::client(Arc::new(config)).key_exchange(Arc::clone(&self.engine))
    }

    fn plain_client_config(&self, version: Version) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.ours.roots())
            .with_client_cert_resolver(self.theirs.certified(self.their_key()));
        Arc::new(config)
    }

    pub(super) fn plain_client(&self, version: Version, io: Pipe) -> PlainPeer {
        PlainPeer::client(self.plain_client_config(version), io)
    }

    pub(super) fn plain_server(&self, version: Version, io: Pipe) -> PlainPeer {
        let provider = Arc::new(Self::provider(&[kx_group::X25519]));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.ours.roots(), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(self.theirs.certified(self.their_key()));
        PlainPeer::server(config, io)
    }

    pub(super) fn pair(&self, role: Role, version: Version) -> (Ssl<Pipe>, PlainPeer) {
        let (ours, theirs) = pipe();
        let (ssl, peer) = match role {
            Role::Server(parking) => {
                let context = self.server(version, kx_group::X25519, parking);
                let ssl = Ssl::accept(&context, &self.pool, ours).unwrap();
                (ssl, self.plain_client(version, theirs))
            }
            Role::Accepted(parking) => {
                let context = self.server(version, kx_group::X25519, parking);
                self.accepted(&context, version, ours, theirs)
            }
            Role::Retried(parking) => {
                let context = self.server(version, kx_group::SECP384R1, parking);
                let ssl = Ssl::accept(&context, &self.pool, ours).unwrap();
                (ssl, self.plain_client(version, theirs))
            }
            Role::Signing(parking) => {
                let context = self.signing_server(version, kx_group::X25519, parking);
                let ssl = Ssl::accept(&context, &self.pool, ours).unwrap();
                (ssl, self.plain_client(version, theirs))
            }
            Role::SigningAccepted(parking) => {
                let context = self.signing_server(version, kx_group::X25519, parking);
                self.accepted(&context, version, ours, theirs)
            }
            Role::SigningRetried(parking) => {
                let context = self.signing_server(version, kx_group::SECP384R1, parking);
                let ssl = Ssl::accept(&context, &self.pool, ours).unwrap();
                (ssl, self.plain_client(version, theirs))
            }
            Role::Resumed(parking) => {
                let context = self.server(version, kx_group::X25519, parking);
                let config = self.plain_client_config(version);
                let (before, their_before) = pipe();
                let mut ssl = Ssl::accept(&context, &self.pool, before).unwrap();
                ssl.set_async_callback(Some(self.counting()));
                self.finish(&mut ssl, &mut PlainPeer::client(config.clone(), their_before));
                let ssl = Ssl::accept(&context, &self.pool, ours).unwrap();
                (ssl, PlainPeer::client(config, theirs))
            }
            Role::Client => {
                let ssl = Ssl::connect(&self.client(version), &self.pool, localhost(), ours);
                (ssl, self.plain_server(version, theirs))
            }
        };
        ssl.set_async_callback(Some(self.counting()));
        (ssl, peer)
    }

    fn accepted(
        &self,
        context: &SslContext,
        version: Version,
        ours: Pipe,
        theirs: Pipe,
    ) -> (Ssl<Pipe>, PlainPeer) {
        let mut peer = self.plain_client(version, theirs);
        peer.step();
        let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
        (accepted.into_session(context, &self.pool), peer)
    }

    fn counting(&self) -> ssl_async::AsyncCallback {
        let called_back = Arc::clone(&self.called_back);
        Arc::new(move |_, _| {
            called_back.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// How often any session's callback was called.
    pub(super) fn called_back(&self) -> u64 {
        self.called_back.load(Ordering::Relaxed)
    }

    /// The operation that the session is parked on.
    pub(super) fn point(&self) -> &'static str {
        let held = [self.remote.kinds(), self.device.kinds()].concat();
        assert_eq!(held.len(), 1, "a session waits for one thing at a time: {held:?}");
        held[0]
    }

    /// Whether that is a question of an `async fn` rather than an operation.
    pub(super) fn is_asking(&self) -> bool {
        self.remote.held() > 0
    }

    /// Completes or fails the operation that the session is parked on; that calls back once.
    pub(super) fn answer(&self, well: bool) {
        let called_back = self.called_back();
        match (self.is_asking(), well) {
            (true, true) => self.remote.answer(),
            (true, false) => self.remote.fail(),
            (false, true) => self.device.answer(),
            (false, false) => self.device.fail(),
        }
        assert_eq!(self.called_back(), called_back + 1, "law L4");
    }

    /// Answers the cancelled operations that the devices still hold; that calls no callback, and is counted.
    pub(super) fn answer_too_late(&self) {
        let (called_back, late, held) = (self.called_back(), self.count(|c| c.late), self.held());
        while self.remote.held() > 0 {
            self.remote.answer();
        }
        while self.device.held() > 0 {
            self.device.answer();
        }
        assert_eq!(self.called_back(), called_back, "law L4");
        assert_eq!(self.count(|c| c.late), late + held as u64, "law L5");
    }

    pub(super) fn held(&self) -> usize {
        self.remote.held() + self.device.held()
    }

    /// The sum of a counter over both engines.
    pub(super) fn count(&self, counter: impl Fn(&EngineStats) -> u64) -> u64 {
        counter(&self.engine.stats()) + counter(&self.service.stats())
    }

    /// Moves time past every deadline.
    pub(super) fn let_the_deadline_pass(&self) {
        self.clock.advance(2 * DEADLINE);
        let _next = (self.engine.poll(), self.service.poll());
    }

    /// Advances the handshake until the session is parked for the `n`th time. None if it completes before.
    pub(super) fn park(
        &self,
        ssl: &mut Ssl<Pipe>,
        peer: &mut PlainPeer,
        n: usize,
    ) -> Option<&'static str> {
        let mut parked = 0;
        for _ in 0..60 {
            match ssl.do_handshake().unwrap() {
                Outcome::WantAsync if parked == n => return Some(self.point()),
                Outcome::WantAsync => {
                    parked += 1;
                    self.answer(true);
                }
                Outcome::Ready(()) if !peer.tls.is_handshaking() => return None,
                _ => peer.step(),
            }
        }
        panic!("the handshake does not end: {ssl:?}")
    }

    pub(super) fn finish(&self, ssl: &mut Ssl<Pipe>, peer: &mut PlainPeer) {
        assert_eq!(self.park(ssl, peer, usize::MAX), None);
        exchange_data(ssl, peer);
    }

    /// Checks that nothing is left once the devices have answered everything.
    pub(super) fn assert_ledger_is_zero(&self, what: &str) {
        self.answer_too_late();
        let jobs = self.pool.stats();
        assert_eq!((jobs.live, jobs.stacks_in_use, jobs.quarantined), (0, 0, 0), "{what}");
        let (engine, service) = (self.engine.stats(), self.service.stats());
        assert_eq!((engine.requests.now, engine.waiters.now), (0, 0), "{what}");
        assert_eq!((service.requests.now, service.waiters.now), (0, 0), "{what}");
        assert_eq!(device_handles().now, 0, "{what}");
    }
}
