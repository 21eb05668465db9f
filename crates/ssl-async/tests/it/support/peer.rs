//! Certificates, configurations, and a plain rustls client that verifies.

use std::io::{Read, Write};
use std::sync::Arc;

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::Engine;
use job_core::JobPool;
use rustls::pki_types::ServerName;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, ServerConfig, SignatureAlgorithm,
    SignatureScheme, SupportedProtocolVersion,
};
use ssl_async::{Ssl, SslContext, offload_key};

use super::{ManualDevice, Pipe};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    P256,
    Rsa2048,
}

/// A server's key on a device, and what a client needs to verify it.
pub(crate) struct Fixture {
    pub(crate) device: Arc<ManualDevice>,
    pub(crate) engine: Arc<Engine<CryptoOp>>,
    pub(crate) server: SslContext,
    certified: CertifiedKey,
    roots: Arc<RootCertStore>,
}

/// A fixture whose device has a ring of `ring` entries.
pub(crate) fn fixture(key_type: KeyType, ring: usize) -> Fixture {
    let pair = match key_type {
        KeyType::P256 => rcgen::KeyPair::generate(),
        KeyType::Rsa2048 => rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
    }
    .expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])
        .and_then(|params| params.self_signed(&pair))
        .expect("a certificate");
    let keys = Arc::new(SoftwareKeys::new());
    let key = keys.load_pem(&pair.serialize_pem()).expect("a key that the store takes");
    let device = ManualDevice::new(keys, ring);
    let engine = Engine::builder(device.clone()).build();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a certificate that is its own root");
    let chain = vec![certificate.der().clone()];
    let certified = CertifiedKey::new(chain, offload_key(Arc::clone(&engine), key));
    let server = SslContext::server(Arc::new(server_config(&certified, ALL_VERSIONS)));
    Fixture { device, engine, server, certified, roots: Arc::new(roots) }
}

fn server_config(
    certified: &CertifiedKey,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified.clone()));
    ServerConfig::builder_with_protocol_versions(versions)
        .with_no_client_auth()
        .with_cert_resolver(resolver)
}

/// A key with a bug.
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
    pub(crate) fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        io: Pipe,
    ) -> PlainClient {
        let config = self.client_config(version);
        let name = ServerName::try_from("localhost").expect("a valid name");
        let tls = ClientConnection::new(config, name).expect("a valid configuration");
        PlainClient { tls, io }
    }

    /// A client session of ours that verifies the server's certificate.
    pub(crate) fn session(&self, pool: &JobPool, io: Pipe) -> Ssl<Pipe> {
        let context = SslContext::client(self.client_config(&TLS13));
        let name = ServerName::try_from("localhost").expect("a valid name");
        Ssl::connect(&context, pool, name, io)
    }

    /// A server's context with the same key and one protocol version.
    pub(crate) fn server_of(&self, version: &'static SupportedProtocolVersion) -> SslContext {
        SslContext::server(Arc::new(server_config(&self.certified, &[version])))
    }

    pub(crate) fn context_with_a_panicking_key(&self) -> SslContext {
        let mut certified = self.certified.clone();
        certified.key = Arc::new(PanickingKey(certified.key));
        SslContext::server(Arc::new(server_config(&certified, ALL_VERSIONS)))
    }

    fn client_config(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// A client that is stepped by hand.
pub(crate) struct PlainClient {
    pub(crate) tls: ClientConnection,
    pub(crate) io: Pipe,
}

impl PlainClient {
    /// Sends and receives what there is. Panics if the handshake fails.
    pub(crate) fn step(&mut self) {
        self.try_step().expect("the client is content");
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
