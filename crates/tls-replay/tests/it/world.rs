//! A server by replay or by plain rustls, a client, and the key that signs for both.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::servers::{PlainRustls, Server, Way as _};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, pem::PemObject as _,
};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConnection, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    ClientConfig, ClientConnection, Error, KeyLog, RootCertStore, ServerConfig, SignatureAlgorithm,
    SignatureScheme, SupportedProtocolVersion, version,
};
use tls_replay::{
    Question, ReplayConfig, ReplayError, ReplayKey, Session, SessionOptions, SessionStage,
    replayable,
};

pub(crate) static V13: &[&SupportedProtocolVersion] = &[&version::TLS13];
pub(crate) static V12: &[&SupportedProtocolVersion] = &[&version::TLS12];

/// Signatures by scheme and message.
type Signatures = HashMap<(u16, Vec<u8>), Vec<u8>>;

/// The device with the server's key. It signs once per message and repeats itself afterwards, so that two runs of one
/// handshake get the same bytes.
#[derive(Debug)]
pub(crate) struct Device {
    key: Arc<dyn SigningKey>,
    signatures: Mutex<Signatures>,
    pub(crate) signed: AtomicUsize,
}

impl Device {
    pub(crate) fn new(key: Arc<dyn SigningKey>) -> Arc<Self> {
        Arc::new(Self { key, signatures: Mutex::default(), signed: AtomicUsize::new(0) })
    }

    pub(crate) fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Vec<u8> {
        self.signed.fetch_add(1, Ordering::SeqCst);
        let sign = || self.key.choose_scheme(&[scheme]).unwrap().sign(message).unwrap();
        let mut signatures = self.signatures.lock().unwrap();
        signatures.entry((scheme.into(), message.to_vec())).or_insert_with(sign).clone()
    }

    pub(crate) fn answer(&self, session: &Session) -> Vec<u8> {
        match session.question() {
            Some(Question::Signature { scheme, message }) => self.sign(scheme, message),
            other => panic!("a signature was expected, not {other:?}"),
        }
    }

    /// Forgets every signature: for runs without end.
    pub(crate) fn forget(&self) {
        self.signatures.lock().unwrap().clear();
    }

    pub(crate) fn signed(&self) -> usize {
        self.signed.load(Ordering::SeqCst)
    }
}

/// The device as a key that signs at once.
#[derive(Debug)]
pub(crate) struct AtOnce(pub(crate) Arc<Device>);

impl SigningKey for AtOnce {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.0.key.choose_scheme(offered)?.scheme();
        Some(Box::new(AtOnceSigner(Arc::clone(&self.0), scheme)))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.key.algorithm()
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.key.public_key()
    }
}

#[derive(Debug)]
struct AtOnceSigner(Arc<Device>, SignatureScheme);

impl Signer for AtOnceSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(self.1, message))
    }

    fn scheme(&self) -> SignatureScheme {
        self.1
    }
}

/// Counts its questions.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) names: Mutex<Vec<Option<String>>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.names.lock().unwrap().push(hello.server_name().map(str::to_owned));
        Some(Arc::clone(&self.certified))
    }
}

/// A key log, kept.
#[derive(Debug, Default)]
pub(crate) struct Log(pub(crate) Mutex<Vec<(String, Vec<u8>)>>);

impl KeyLog for Log {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push((label.to_owned(), secret.to_vec()));
    }
}

impl Log {
    pub(crate) fn take_sorted(&self) -> Vec<(String, Vec<u8>)> {
        let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.sort();
        lines
    }
}

/// Who has which key. Made once: an RSA key takes its time.
pub(crate) struct Pki {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) client: (CertificateDer<'static>, PrivateKeyDer<'static>),
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::CertifiedIssuer::self_signed(ca, key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Pki { roots: Arc::new(roots), client: (certificate.der().clone(), key), issuer }
    })
}

/// Certificate and key of the server.
pub(crate) fn server_identity(algorithm: &'static rcgen::SignatureAlgorithm) -> Identity {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let names = vec!["localhost".to_owned(), "other.localhost".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&pair, &pki().issuer).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.serialize_pem().as_bytes()).unwrap();
    (vec![certificate.der().clone()], any_supported_type(&key).unwrap())
}

/// A server's certificate with its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, Arc<dyn SigningKey>);

/// Identities to share between runs: ECDSA, RSA, Ed25519.
pub(crate) fn identities() -> &'static [Identity; 3] {
    static IDENTITIES: OnceLock<[Identity; 3]> = OnceLock::new();
    IDENTITIES.get_or_init(|| {
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ED25519]
            .map(server_identity)
    })
}

/// What a test wants.
pub(crate) struct Want {
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
    pub(crate) provider: CryptoProvider,
    pub(crate) client_groups: Option<Vec<&'static dyn SupportedKxGroup>>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) client_auth: bool,
}

impl Default for Want {
    fn default() -> Self {
        Self {
            algorithm: &rcgen::PKCS_ECDSA_P256_SHA256,
            provider: default_provider(),
            client_groups: None,
            versions: V13,
            client_auth: false,
        }
    }
}

/// A server's and a client's configuration, not yet shared, so that a test can change them.
pub(crate) struct World {
    pub(crate) device: Arc<Device>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
    pub(crate) server_log: Arc<Log>,
    pub(crate) client_log: Arc<Log>,
}

impl World {
    pub(crate) fn new(want: Want) -> Self {
        let (chain, key) = server_identity(want.algorithm);
        let device = Device::new(key);
        let key = Arc::new(ReplayKey::new(Arc::new(AtOnce(Arc::clone(&device)))));
        let mut certified = CertifiedKey::new(chain, key);
        certified.ocsp = Some(vec![1, 2, 3, 4]);
        let resolver =
            Arc::new(Resolver { certified: Arc::new(certified), names: Mutex::default() });
        let provider = Arc::new(replayable(want.provider.clone()));
        let verifier = if want.client_auth {
            let roots = Arc::clone(&pki().roots);
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .unwrap()
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(want.versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&resolver) as _);
        let mut provider = want.provider;
        provider.kx_groups = want.client_groups.unwrap_or(provider.kx_groups);
        let builder = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(want.versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&pki().roots));
        let mut client = if want.client_auth {
            let (certificate, key) = &pki().client;
            builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let (server_log, client_log) = (Arc::<Log>::default(), Arc::<Log>::default());
        server.key_log = Arc::clone(&server_log) as _;
        client.key_log = Arc::clone(&client_log) as _;
        client.resumption = Resumption::disabled();
        Self { device, resolver, server, client, server_log, client_log }
    }

    /// A replayed handshake, not yet begun.
    pub(crate) fn pair(&self) -> Pair {
        Pair::new(&self.replay(), &Arc::new(self.client.clone()), "localhost")
    }

    pub(crate) fn replay(&self) -> ReplayConfig {
        ReplayConfig::new(self.server.clone()).unwrap()
    }
}

/// A client, a server, and the bytes on their way.
pub(crate) struct Pair {
    pub(crate) client: ClientConnection,
    pub(crate) server: Server,
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
    /// How many bytes the server gets at a time.
    pub(crate) piece: usize,
    /// Everything the server sent.
    pub(crate) sent: Vec<u8>,
    pub(crate) parked: usize,
}

impl Pair {
    pub(crate) fn new(server: &ReplayConfig, client: &Arc<ClientConfig>, name: &str) -> Self {
        let session = Session::new(server.clone(), SessionOptions::default());
        Self::over(Server::Replay(session), client, name)
    }

    pub(crate) fn plain(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &str,
    ) -> Self {
        Self::over(PlainRustls.servers((**server).clone())(), client, name)
    }

    pub(crate) fn over(server: Server, client: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self::of(server, ClientConnection::new(Arc::clone(client), name).unwrap())
    }

    pub(crate) fn of(server: Server, client: ClientConnection) -> Self {
        Self {
            client,
            server,
            to_server: Vec::new(),
            to_client: Vec::new(),
            piece: usize::MAX,
            sent: Vec::new(),
            parked: 0,
        }
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        match &mut self.server {
            Server::Replay(session) => session,
            _ => panic!("a server by replay was expected"),
        }
    }

    /// The server's connection, once there is one.
    pub(crate) fn connection(&mut self) -> Option<&mut ServerConnection> {
        self.server.connection()
    }

    /// Lets the client read what is there and write its answer.
    pub(crate) fn client_turn(&mut self) -> Result<(), Error> {
        let bytes = std::mem::take(&mut self.to_client);
        let mut bytes = &bytes[..];
        let mut done = Ok(());
        while !bytes.is_empty() && done.is_ok() {
            self.client.read_tls(&mut bytes).unwrap();
            done = self.client.process_new_packets().map(|_| ());
        }
        while self.client.wants_write() {
            self.client.write_tls(&mut self.to_server).unwrap();
        }
        done
    }

    /// Lets the server read what is there, until it parks.
    pub(crate) fn server_turn(&mut self) -> Result<SessionStage, ReplayError> {
        let mut stage = match &self.server {
            Server::Replay(session) => session.stage().unwrap_or(SessionStage::NeedsPeer),
            _ => SessionStage::NeedsPeer,
        };
        while !self.to_server.is_empty() && stage != SessionStage::Parked {
            let size = self.piece.min(self.to_server.len());
            let piece: Vec<u8> = self.to_server.drain(..size).collect();
            stage = self.hear(&piece)?;
        }
        Ok(stage)
    }

    fn hear(&mut self, piece: &[u8]) -> Result<SessionStage, ReplayError> {
        let mut out = Vec::new();
        let stage = self.server.hear(piece, &mut out);
        self.send(&out);
        stage
    }

    pub(crate) fn resume(
        &mut self,
        reply: impl Into<tls_replay::Reply>,
    ) -> Result<SessionStage, ReplayError> {
        let mut out = Vec::new();
        let stage = self.session().resume(reply, &mut out);
        self.send(&out);
        stage
    }

    fn send(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.to_client.extend_from_slice(bytes);
    }

    /// Until both are through.
    pub(crate) fn handshake(&mut self, device: &Device) -> Result<(), Trouble> {
        for _ in 0..10 {
            self.client_turn().map_err(Trouble::Client)?;
            if self.server_turn().map_err(Trouble::Server)? == SessionStage::Parked {
                self.parked += 1;
                let signature = device.answer(self.session());
                self.resume(signature).map_err(Trouble::Server)?;
            }
            if !self.server.is_handshaking()
                && !self.client.is_handshaking()
                && self.to_server.is_empty()
            {
                return self.client_turn().map_err(Trouble::Client);
            }
        }
        Err(Trouble::NoEnd)
    }

    /// Messages both ways, and equal exported keys.
    pub(crate) fn exchange_messages(&mut self) {
        for n in 0..20u8 {
            let text = vec![n; 1 + 497 * usize::from(n)];
            let mut heard = vec![0; text.len()];
            self.client.writer().write_all(&text).unwrap();
            self.client_turn().unwrap();
            self.server_turn().unwrap();
            let server = self.connection().unwrap();
            server.reader().read_exact(&mut heard).unwrap();
            assert_eq!(heard, text);
            server.writer().write_all(&text).unwrap();
            let mut out = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut out).unwrap();
            }
            self.send(&out);
            self.client_turn().unwrap();
            self.client.reader().read_exact(&mut heard).unwrap();
            assert_eq!(heard, text);
        }
        let key = |exported: Result<[u8; 32], Error>| exported.unwrap();
        let ours = key(self.connection().unwrap().export_keying_material([0; 32], b"label", None));
        assert_eq!(ours, key(self.client.export_keying_material([0; 32], b"label", None)));
    }
}

/// Which side a handshake failed on.
#[derive(Debug, PartialEq)]
pub(crate) enum Trouble {
    Client(Error),
    Server(ReplayError),
    /// Both sides wait for the other.
    NoEnd,
}
