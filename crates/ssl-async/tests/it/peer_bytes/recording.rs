//! Records the bytes of real peers: the seeds.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use rustls::server::{NoClientAuth, danger::ClientCertVerifier};
use rustls::sign::SigningKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use ssl_async::Parking;

use super::clear::{self, Credulous, OFFERED, WANTED};
use super::drive::Driver;
use super::program::{Event, Op, Program, Setup};
use crate::support::{Identity, KeyType, Version, localhost, provider};

/// The recordings: name, setup and version. Those of one group share a client, so that the second resumes the session of
/// the first.
const CASES: [&[(&str, u8, Version)]; 14] = [
    &[("server-12", 0, &TLS12)],
    &[("server-13", 0, &TLS13)],
    &[("server-12-acceptor-narrow", Setup::ACCEPTOR | Setup::NARROW, &TLS12)],
    &[("server-13-acceptor-one-job", Setup::ACCEPTOR | Setup::ONE_JOB, &TLS13)],
    &[("server-12-exchange-mutual", EXCHANGE_MUTUAL, &TLS12)],
    &[("server-13-exchange-mutual", EXCHANGE_MUTUAL, &TLS13)],
    &[("server-12-everything", EVERYTHING, &TLS12)],
    &[("server-13-everything", EVERYTHING, &TLS13)],
    &[("server-12-ticket", TICKET, &TLS12), ("server-12-resumed", TICKET, &TLS12)],
    &[("server-13-ticket", TICKET, &TLS13), ("server-13-resumed", TICKET, &TLS13)],
    &[("client-12", Setup::CLIENT, &TLS12)],
    &[("client-13", Setup::CLIENT, &TLS13)],
    &[("client-12-everything", Setup::CLIENT | EVERYTHING, &TLS12)],
    &[("client-13-everything", Setup::CLIENT | EVERYTHING, &TLS13)],
];
const EXCHANGE_MUTUAL: u8 = Setup::EXCHANGE | Setup::MUTUAL;
const EVERYTHING: u8 = EXCHANGE_MUTUAL | Setup::HOOKS | Setup::TICKETS;
const TICKET: u8 = Setup::TICKETS | Setup::EXCHANGE;

/// A recording, and the behaviour seen while it was made.
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) parked: Vec<&'static str>,
}

pub(crate) fn record_all() -> Vec<Recording> {
    let peers = Peers::new();
    let group = |group: &&'static [(&'static str, u8, Version)]| {
        let client = peers.client(group[0].2);
        group
            .iter()
            .map(|(name, setup, version)| peers.record(name, Setup(*setup), version, &client))
            .collect::<Vec<_>>()
    };
    CASES.iter().flat_map(group).collect()
}

/// Where the seeds are, for libFuzzer too.
pub(crate) fn seeds() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/peer_bytes/seeds")
}

struct Peers {
    identity: Identity,
    key: Arc<dyn SigningKey>,
}

impl Peers {
    fn new() -> Self {
        let identity = Identity::new(KeyType::P256);
        let key = PrivateKeyDer::from_pem_slice(identity.pem.as_bytes()).expect("a key");
        Self { identity, key: any_supported_type(&key).expect("a key that signs") }
    }

    /// Uses its own randomness, so that ours is the same in a replay.
    fn provider(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
        let secure_random = provider().secure_random;
        Arc::new(CryptoProvider { secure_random, ..clear::provider(groups) })
    }

    fn client(&self, version: Version) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Self::provider(&OFFERED))
            .with_protocol_versions(&[version])
            .expect("a provider for this version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous))
            .with_client_cert_resolver(self.identity.certified(Arc::clone(&self.key)));
        Arc::new(config)
    }

    fn server(&self, version: Version, mutual: bool) -> Arc<ServerConfig> {
        let verifier: Arc<dyn ClientCertVerifier> =
            if mutual { Arc::new(Credulous) } else { Arc::new(NoClientAuth) };
        let config = ServerConfig::builder_with_provider(Self::provider(&WANTED))
            .with_protocol_versions(&[version])
            .expect("a provider for this version")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.identity.certified(Arc::clone(&self.key)));
        Arc::new(config)
    }

    fn record(
        &self,
        name: &'static str,
        setup: Setup,
        version: Version,
        client: &Arc<ClientConfig>,
    ) -> Recording {
        let peer: Connection = if setup.has(Setup::CLIENT) {
            let config = self.server(version, setup.has(Setup::MUTUAL));
            ServerConnection::new(config).expect("a configuration").into()
        } else {
            ClientConnection::new(Arc::clone(client), localhost()).expect("a name").into()
        };
        let mut recorder =
            Recorder { driver: Driver::new(setup, Parking::Fiber), peer, ops: Vec::new() };
        for _ in 0..12 {
            recorder.pass();
            recorder.ours(Event::Handshake);
        }
        assert!(!recorder.peer.is_handshaking(), "{name}: the peer's handshake is not done");
        std::io::Write::write_all(&mut recorder.peer.writer(), b"question").expect("room");
        recorder.pass();
        recorder.ours(Event::Read);
        recorder.ours(Event::Write);
        if version == &TLS13 {
            recorder.peer.refresh_traffic_keys().expect("a connection");
        }
        recorder.peer.send_close_notify();
        recorder.pass();
        recorder.ours(Event::Read);
        recorder.ours(Event::Shutdown);
        let Recorder { driver, ops, .. } = recorder;
        let seen = driver.finish();
        assert_eq!((seen.completed, seen.received, seen.failed), (1, 8, 0), "{name}: {seen:?}");
        Recording { name, program: Program { setup, ops }, parked: seen.parked }
    }
}

struct Recorder {
    driver: Driver,
    peer: Connection,
    ops: Vec<Op>,
}

impl Recorder {
    fn step(&mut self, op: Op) {
        self.driver.step(op.clone());
        self.ops.push(op);
    }

    /// Lets the peer read and send.
    fn pass(&mut self) {
        while self.peer.read_tls(&mut self.driver.peer).is_ok_and(|n| n > 0) {
            self.peer.process_new_packets().expect("the peer is content");
        }
        let mut flight = Vec::new();
        while self.peer.wants_write() {
            self.peer.write_tls(&mut flight).expect("a vector takes everything");
        }
        if !flight.is_empty() {
            self.step(Op::Peer(flight));
        }
    }

    /// Repeats a call until it does not wait.
    fn ours(&mut self, call: Event) {
        self.step(Op::Event(call));
        while self.driver.is_waiting() {
            let hook = self.driver.world.gates.youngest().is_some();
            self.step(Op::Event(if hook { Event::AllowHook } else { Event::Answer }));
            self.step(Op::Event(call));
        }
    }
}
