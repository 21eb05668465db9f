//! Answers other than the signature that come later: certificates, tickets, stored sessions, key exchanges.

use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider, kx_group};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::StoresServerSessions;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, HandshakeKind, NamedGroup, ServerConfig,
    SignatureScheme,
};
use tls_replay::{
    Asked, Question, ReplayError, Reply, SessionStage, give_up, is_asked, postpone, replayable,
    waits_later,
};

use crate::world::{Pair, V12, V13, Want, World};

/// Postpones what may be postponed, and counts.
#[derive(Debug)]
struct Later<T: ?Sized> {
    postponed: Mutex<usize>,
    inner: Arc<T>,
}

impl<T: ?Sized> Later<T> {
    fn new(inner: Arc<T>) -> Arc<Self> {
        Arc::new(Self { postponed: Mutex::new(0), inner })
    }

    fn postpone(&self) -> bool {
        *self.postponed.lock().unwrap() += 1;
        postpone(self, "context".to_owned()).is_ok()
    }
}

impl ResolvesServerCert for Later<CertifiedKey> {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.postpone() { None } else { Some(Arc::clone(&self.inner)) }
    }
}

impl ProducesTickets for Later<dyn ProducesTickets> {
    fn enabled(&self) -> bool {
        waits_later();
        true
    }

    fn lifetime(&self) -> u32 {
        100
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if self.postpone() { None } else { self.inner.encrypt(plain) }
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        if self.postpone() { None } else { self.inner.decrypt(sealed) }
    }
}

impl StoresServerSessions for Later<dyn StoresServerSessions> {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.inner.put(id, session)
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        if self.postpone() { None } else { self.inner.get(id) }
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        if self.postpone() { None } else { self.inner.take(id) }
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct LaterGroup;

impl SupportedKxGroup for LaterGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        match postpone(self, "context".to_owned()).is_ok() {
            true => Err(Error::General("ignored".to_owned())),
            false => kx_group::X25519.start(),
        }
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        match postpone(self, "context".to_owned()) {
            Ok(()) => Err(Error::General("ignored".to_owned())),
            Err(_) => kx_group::X25519.start_and_complete(peer),
        }
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Replies to every question, and says which there were.
fn handshake(world: &World, pair: &mut Pair) -> Vec<&'static str> {
    let mut questions = Vec::new();
    for _ in 0..8 {
        pair.client_turn().unwrap();
        let mut stage = pair.server_turn().unwrap();
        while stage == SessionStage::Parked {
            let context = pair.session().context().map(|context| context.is::<String>());
            let (name, reply) = match pair.session().question().unwrap() {
                Question::Signature { scheme, message } => {
                    ("signature", Reply::Signature(world.device.sign(scheme, message)))
                }
                Question::KeyExchange { group, peer_share } => {
                    assert_eq!(group, NamedGroup::X25519);
                    (
                        "exchange",
                        Reply::KeyExchange(kx_group::X25519.start_and_complete(peer_share)),
                    )
                }
                Question::KeyExchangeStart { group } => {
                    assert!(group == NamedGroup::X25519 && pair.session().waits_later());
                    ("start", Reply::KeyExchangeStart(kx_group::X25519.start()))
                }
                Question::Seal { plain } => {
                    ("seal", Reply::Sealed(world.server.ticketer.encrypt(plain)))
                }
                Question::Ticket { sealed } => {
                    ("ticket", Reply::Resumption(world.server.ticketer.decrypt(sealed)))
                }
                Question::StoredSession { id } => {
                    ("session", Reply::Resumption(world.server.session_storage.take(id)))
                }
                Question::Certificate => {
                    ("certificate", Reply::Certificate(Some(Arc::clone(&world.resolver.certified))))
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(context, (name != "signature").then_some(true), "{name}");
            questions.push(name);
            stage = pair.resume(reply).unwrap();
        }
    }
    assert!(!pair.client.is_handshaking());
    pair.exchange_messages();
    questions
}

#[test]
fn a_certificate() {
    let mut world = World::new(Want::default());
    let later = Later::new(Arc::clone(&world.resolver.certified));
    world.server.cert_resolver = Arc::clone(&later) as _;
    let mut pair = world.pair();
    assert_eq!(handshake(&world, &mut pair), ["certificate", "signature"]);
    assert_eq!(*later.postponed.lock().unwrap(), 1);
}

#[test]
fn no_certificate_ends_the_handshake_as_with_rustls() {
    let mut world = World::new(Want::default());
    world.server.cert_resolver = Later::new(Arc::clone(&world.resolver.certified));
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    assert!(matches!(
        pair.resume(Reply::Certificate(None)),
        Err(ReplayError::Tls(Error::General(_)))
    ));
    let alert = rustls::AlertDescription::AccessDenied;
    assert_eq!(pair.client_turn(), Err(Error::AlertReceived(alert)));
}

fn exchanging() -> Want {
    Want {
        provider: CryptoProvider { kx_groups: vec![&LaterGroup], ..default_provider() },
        client_groups: Some(vec![kx_group::X25519]),
        ..Want::default()
    }
}

#[test]
fn a_key_exchange() {
    let world = World::new(exchanging());
    assert_eq!(handshake(&world, &mut world.pair()), ["exchange", "signature"]);
}

#[test]
fn a_refused_key_share_ends_the_handshake_as_with_rustls() {
    let world = World::new(exchanging());
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let error = Error::from(rustls::PeerMisbehaved::InvalidKeyShare);
    let refused = pair.resume(Reply::KeyExchange(Err(error.clone())));
    assert_eq!(refused, Err(ReplayError::Tls(error)));
    let alert = rustls::AlertDescription::IllegalParameter;
    assert_eq!(pair.client_turn(), Err(Error::AlertReceived(alert)));
}

#[test]
fn tickets_and_stored_sessions_and_everything_at_once() {
    for stored in [false, true] {
        let mut world = World::new(exchanging());
        world.client.resumption = Resumption::in_memory_sessions(8);
        let question = if stored {
            world.server.session_storage = ServerSessionMemoryCache::new(8);
            "session"
        } else {
            world.server.ticketer = Ticketer::new().unwrap();
            "ticket"
        };
        // The replies come from the hooks themselves, so the waiting ones stand in a copy.
        let mut waiting = world.server.clone();
        waiting.ticketer = match stored {
            true => waiting.ticketer,
            false => Later::new(Arc::clone(&world.server.ticketer)),
        };
        waiting.session_storage = Later::new(Arc::clone(&world.server.session_storage));
        waiting.cert_resolver = Later::new(Arc::clone(&world.resolver.certified));
        let config = tls_replay::ReplayConfig::new(waiting).unwrap();
        let client = Arc::new(world.client.clone());
        let mut first = Pair::new(&config, &client, "localhost");
        assert_eq!(handshake(&world, &mut first), ["certificate", "exchange", "signature"]);
        let mut second = Pair::new(&config, &client, "localhost");
        assert_eq!(handshake(&world, &mut second), ["certificate", question, "exchange"]);
        assert_eq!(second.client.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

/// The client's share comes after the server's flight, so the exchange is completed by whatever was started.
#[test]
fn a_key_pair_of_tls12_and_the_ticket_of_a_resumed_session() {
    let mut world = World::new(Want { versions: V12, ..exchanging() });
    world.client.resumption = Resumption::in_memory_sessions(8);
    world.server.ticketer = Ticketer::new().unwrap();
    let mut waiting = world.server.clone();
    let ticketer = Later::new(Arc::clone(&world.server.ticketer));
    waiting.ticketer = Arc::clone(&ticketer) as _;
    let config = tls_replay::ReplayConfig::new(waiting).unwrap();
    let client = Arc::new(world.client.clone());
    for expected in [&["start", "signature"][..], &["ticket", "seal"]] {
        let mut pair = Pair::new(&config, &client, "localhost");
        assert_eq!(handshake(&world, &mut pair), expected);
        assert!(pair.session().waits_later());
    }
    // The first ticket was sealed after the handshake, where nothing is postponed.
    assert_eq!(*ticketer.postponed.lock().unwrap(), 3);
}

#[test]
fn a_key_pair_that_cannot_be_made_ends_the_handshake_as_with_rustls() {
    let world = World::new(Want { versions: V12, ..exchanging() });
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let error = Error::General("no randomness".to_owned());
    let refused = pair.resume(Reply::KeyExchangeStart(Err(error.clone())));
    assert_eq!(refused, Err(ReplayError::Tls(error)));
}

/// Asks a group while it resolves, as one does that fetches a certificate over TLS.
#[derive(Debug)]
struct Connects(Arc<CertifiedKey>);

impl ResolvesServerCert for Connects {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        assert!(is_asked(self));
        LaterGroup.start().unwrap();
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn a_group_that_another_hook_calls_postpones_nothing() {
    let mut world = World::new(exchanging());
    world.server.cert_resolver = Arc::new(Connects(Arc::clone(&world.resolver.certified)));
    let mut pair = world.pair();
    assert_eq!(handshake(&world, &mut pair), ["exchange", "signature"]);
}

#[test]
fn a_verifier_that_waits_says_so_in_the_first_pass() {
    #[derive(Debug)]
    struct Waits(Arc<dyn ClientCertVerifier>, bool);
    impl ClientCertVerifier for Waits {
        fn offer_client_auth(&self) -> bool {
            if self.1 {
                waits_later();
            }
            self.0.offer_client_auth()
        }

        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            self.0.root_hint_subjects()
        }

        fn verify_client_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: UnixTime,
        ) -> Result<ClientCertVerified, Error> {
            unreachable!("there is no client's certificate")
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            unreachable!("there is no client's certificate")
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            unreachable!("there is no client's certificate")
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }
    for waits in [false, true] {
        for versions in [V12, V13] {
            let world = World::new(Want { versions, ..Want::default() });
            let config = ServerConfig::builder_with_provider(replayable(default_provider()).into())
                .with_protocol_versions(versions)
                .unwrap()
                .with_client_cert_verifier(Arc::new(Waits(
                    WebPkiClientVerifier::no_client_auth(),
                    waits,
                )))
                .with_cert_resolver(Arc::clone(&world.resolver) as _);
            let config = tls_replay::ReplayConfig::new(config).unwrap();
            let mut pair = Pair::new(&config, &Arc::new(world.client.clone()), "localhost");
            pair.client_turn().unwrap();
            assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
            assert_eq!(pair.session().waits_later(), waits);
        }
    }
}

#[test]
fn nothing_is_postponed_outside_a_session() {
    let mut world = World::new(exchanging());
    world.server.cert_resolver = Later::new(Arc::clone(&world.resolver.certified));
    let server = Arc::new(world.server.clone());
    let mut pair = Pair::plain(&server, &Arc::new(world.client.clone()), "localhost");
    pair.handshake(&world.device).unwrap();
    // Nor by a session's own configuration, used without one.
    let mut pair =
        Pair::plain(world.replay().server_config(), &Arc::new(world.client.clone()), "localhost");
    pair.handshake(&world.device).unwrap();
}

/// A resolver around another one.
#[derive(Debug)]
struct Around(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Around {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.resolve(hello)
    }
}

/// Gives up where it would wait.
#[derive(Debug)]
struct Waits;

impl ResolvesServerCert for Waits {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        assert!(!is_asked(self) && postpone(self, ()).is_err());
        assert!(!give_up(self, Asked::Ticket), "it was not asked for a ticket");
        assert!(give_up(self, Asked::Certificate));
        None
    }
}

/// Postpones twice.
#[derive(Debug)]
struct Twice;

impl ResolvesServerCert for Twice {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        assert_eq!(postpone(self, 1), Ok(()));
        assert_eq!(postpone(self, 2), Err(2));
        None
    }
}

#[test]
fn a_hook_that_would_wait_inside_another_one_hands_the_client_back() {
    let around: Arc<dyn ResolvesServerCert> = Arc::new(Around(Arc::new(Waits)));
    for resolver in [around, Arc::new(Twice)] {
        let mut world = World::new(Want::default());
        world.server.cert_resolver = resolver;
        let mut pair = world.pair();
        pair.client_turn().unwrap();
        assert_eq!(pair.server_turn(), Err(ReplayError::HookInHook));
    }
}

#[test]
fn a_hook_that_another_one_calls_postpones_nothing() {
    let mut world = World::new(Want::default());
    let later = Later::new(Arc::clone(&world.resolver.certified));
    let inner = Arc::clone(&later) as Arc<dyn ResolvesServerCert>;
    world.server.cert_resolver = Arc::new(Around(inner));
    assert_eq!(handshake(&world, &mut world.pair()), ["signature"]);
    assert_eq!(*later.postponed.lock().unwrap(), 1);
}
