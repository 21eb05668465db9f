//! Certificates, configurations, and plain rustls peers that verify.

use std::io::{Read, Write};
use std::sync::Arc;

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::Engine;
use job_core::JobPool;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig,
    ServerConnection, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion,
};
use ssl_async::{Outcome, Ssl, SslContext, SslError, offload};

use super::{ManualDevice, Pipe};

pub(crate) type Version = &'static SupportedProtocolVersion;

pub(crate) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    P256,
    P384,
    Ed25519,
    Rsa2048,
}

/// A self-signed certificate for `localhost`, and its private key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
}

impl Identity {
    pub(crate) fn new(key_type: KeyType) -> Self {
        let pair = rcgen::KeyPair::generate_for(match key_type {
            KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Ed25519 => &rcgen::PKCS_ED25519,
            KeyType::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        })
        .expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])
            .and_then(|params| params.self_signed(&pair))
            .expect("a certificate");
        Self { certificate: certificate.der().clone(), pem: pair.serialize_pem() }
    }

    pub(crate) fn certified(&self, key: Arc<dyn SigningKey>) -> Arc<SingleCertAndKey> {
        Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key).into())
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate that is its own root");
        Arc::new(roots)
    }
}

/// A server whose key is on a device, and the certificate that its clients trust.
pub(crate) struct Fixture {
    pub(crate) keys: Arc<SoftwareKeys>,
    pub(crate) device: Arc<ManualDevice>,
    pub(crate) engine: Arc<Engine<CryptoOp>>,
    pub(crate) server: SslContext,
    pub(crate) identity: Identity,
    pub(crate) key: Arc<dyn SigningKey>,
}

/// A fixture whose device has a ring of `ring` entries.
pub(crate) fn fixture(key_type: KeyType, ring: usize) -> Fixture {
    let identity = Identity::new(key_type);
    let keys = Arc::new(SoftwareKeys::new());
    let handle = keys.load_pem(&identity.pem).expect("a key that the store takes");
    let device = ManualDevice::new(Arc::clone(&keys), ring);
    let engine = Engine::builder(device.clone()).build();
    let key = offload::key_handle(Arc::clone(&engine), handle);
    let config = server_config(provider(), ALL_VERSIONS, &identity, &key);
    let server = SslContext::server(Arc::new(config));
    Fixture { keys, device, engine, server, identity, key }
}

/// A server's configuration with the certificate of `identity` and the signing key `key`.
pub(crate) fn server_config(
    provider: CryptoProvider,
    versions: &[Version],
    identity: &Identity,
    key: &Arc<dyn SigningKey>,
) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("a provider for these versions")
        .with_no_client_auth()
        .with_cert_resolver(identity.certified(Arc::clone(key)))
}

/// A client's configuration that trusts only `identity`.
pub(crate) fn client_config(
    provider: CryptoProvider,
    version: Version,
    identity: &Identity,
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("a provider for this version")
        .with_root_certificates(identity.roots())
        .with_no_client_auth()
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a valid name")
}

/// A key that panics.
#[derive(Debug)]
struct PanickingKey(Arc<dyn SigningKey>);

impl SigningKey for PanickingKey {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        std::panic::panic_any("a bug in a key")
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl Fixture {
    /// A client of one protocol version that verifies the server's certificate.
    pub(crate) fn client(&self, version: Version, io: Pipe) -> PlainPeer {
        PlainPeer::client(self.client_config(version), io)
    }

    pub(crate) fn client_config(&self, version: Version) -> ClientConfig {
        client_config(provider(), version, &self.identity)
    }

    pub(crate) fn server_config(&self, versions: &[Version]) -> ServerConfig {
        server_config(provider(), versions, &self.identity, &self.key)
    }

    /// A client's session that verifies the server's certificate.
    pub(crate) fn session(&self, pool: &JobPool, io: Pipe) -> Ssl<Pipe> {
        let context = SslContext::client(Arc::new(self.client_config(&TLS13)));
        Ssl::connect(&context, pool, localhost(), io)
    }

    /// A server's context with the same key and one protocol version.
    pub(crate) fn server_of(&self, version: Version) -> SslContext {
        SslContext::server(Arc::new(self.server_config(&[version])))
    }

    pub(crate) fn context_with_a_panicking_key(&self) -> SslContext {
        let key: Arc<dyn SigningKey> = Arc::new(PanickingKey(Arc::clone(&self.key)));
        let config = server_config(provider(), ALL_VERSIONS, &self.identity, &key);
        SslContext::server(Arc::new(config))
    }
}

/// A plain rustls connection, advanced by the test.
pub(crate) struct PlainPeer {
    pub(crate) tls: Connection,
    pub(crate) io: Pipe,
}

impl PlainPeer {
    pub(crate) fn client(config: impl Into<Arc<ClientConfig>>, io: Pipe) -> Self {
        let tls = ClientConnection::new(config.into(), localhost()).expect("valid");
        Self { tls: tls.into(), io }
    }

    pub(crate) fn server(config: impl Into<Arc<ServerConfig>>, io: Pipe) -> Self {
        let tls = ServerConnection::new(config.into()).expect("a valid configuration");
        Self { tls: tls.into(), io }
    }

    /// Sends and receives everything available. Panics if the handshake fails.
    pub(crate) fn step(&mut self) {
        self.try_step().expect("the peer is content");
    }

    pub(crate) fn try_step(&mut self) -> Result<(), rustls::Error> {
        loop {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.io).expect("the pipe takes everything");
            }
            match self.tls.read_tls(&mut self.io) {
                Ok(n) => {
                    self.tls.process_new_packets()?;
                    if n == 0 {
                        return Ok(());
                    }
                }
                Err(_would_block) => return Ok(()),
            }
        }
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        self.tls.writer().write_all(data).expect("the buffer has room");
        self.step();
    }

    pub(crate) fn received(&mut self) -> Vec<u8> {
        self.step();
        let mut all = Vec::new();
        let _until_would_block = self.tls.reader().read_to_end(&mut all);
        all
    }
}

/// Completes the handshake on both sides; the device answers whenever the session is parked. Returns the kinds of the
/// operations that parked it, in order.
pub(crate) fn shake(
    ssl: &mut Ssl<Pipe>,
    peer: &mut PlainPeer,
    device: &ManualDevice,
) -> Result<Vec<&'static str>, SslError> {
    let mut parked = Vec::new();
    for _ in 0..40 {
        match ssl.do_handshake()? {
            Outcome::WantAsync => {
                parked.extend(device.kinds());
                device.answer();
            }
            Outcome::Ready(()) if !peer.tls.is_handshaking() => return Ok(parked),
            _ => peer.try_step().map_err(SslError::Tls)?,
        }
    }
    panic!("the handshake does not end: {ssl:?}")
}

/// Exchanges data both ways after the handshake.
pub(crate) fn exchange_data(ssl: &mut Ssl<Pipe>, peer: &mut PlainPeer) {
    peer.send(b"question");
    let mut buffer = [0; 64];
    assert_eq!(ssl.read(&mut buffer).unwrap(), Outcome::Ready(8));
    assert_eq!(ssl.write(b"answer").unwrap(), Outcome::Ready(6));
    assert_eq!(peer.received(), b"answer");
}
