//! Law L16, replay is invisible: the same handshake by replay and by plain rustls, without chance, compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::compress::{
    CertCompressor, CertDecompressor, CompressionCache, CompressionFailed, CompressionLevel,
    DecompressionFailed,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    AlertDescription, CertificateCompressionAlgorithm, ClientConfig, DigitallySignedStruct,
    DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use tls_replay::{ReplayError, SessionStage};

use super::case::{Case, ClientAuth, EarlyData, Kept, ServerKey};
use super::fixed::{self, Asked, Lines, Noon, Noted, Tickets};
use super::servers::{ByReplay, PlainRustls, Way, add_failure_alert};
use super::world::{AtOnce, Device, Pair, Trouble, Want, World, identities, pki};

/// "Compresses" by copying, so that no library of compression is needed.
#[derive(Debug)]
struct Copying;

impl CertCompressor for Copying {
    fn compress(&self, input: Vec<u8>, _: CompressionLevel) -> Result<Vec<u8>, CompressionFailed> {
        Ok(input)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}

impl CertDecompressor for Copying {
    fn decompress(&self, input: &[u8], output: &mut [u8]) -> Result<(), DecompressionFailed> {
        if input.len() != output.len() {
            return Err(DecompressionFailed);
        }
        output.copy_from_slice(input);
        Ok(())
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}

/// The configurations of one run, with nothing in them that another run has.
struct Run {
    server: ServerConfig,
    client: Arc<ClientConfig>,
    asked: Asked,
    log: Arc<Lines>,
}

fn run(case: &Case, way: &dyn Way, [device, client_device]: &[Arc<Device>; 2]) -> Run {
    let asked = Asked::default();
    let provider = fixed::provider(case.seed, case.server_groups, &asked);
    let provider = Arc::new(way.provider(provider));
    let verifier = if case.client_auth == ClientAuth::NotAsked {
        WebPkiClientVerifier::no_client_auth()
    } else {
        let roots = Arc::clone(&pki().roots);
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap()
    };
    let at_once: Arc<dyn SigningKey> = Arc::new(AtOnce(Arc::clone(device)));
    let chain = identities()[case.key].0.clone();
    let signs_at_once = case.server_key == ServerKey::SignsAtOnce;
    let mut certified =
        CertifiedKey::new(chain, if signs_at_once { at_once } else { way.key(at_once) });
    certified.ocsp = Some(vec![1, 2, 3]);
    let resolver = Noted { asked: Arc::clone(&asked), inner: Arc::new(certified) };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(case.server_versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    if case.server_key == ServerKey::None {
        server.cert_resolver = Arc::new(NoCertificate);
    }
    let log = Arc::new(Lines::default());
    server.key_log = Arc::clone(&log) as _;
    server.time_provider = Arc::new(Noon(Arc::clone(&asked)));
    let store: Arc<dyn StoresServerSessions> = match case.kept {
        Kept::InStore => ServerSessionMemoryCache::new(8),
        _ => Arc::new(rustls::server::NoServerSessionStorage {}),
    };
    server.session_storage = Arc::new(Noted { asked: Arc::clone(&asked), inner: store });
    if case.kept == Kept::InTickets {
        server.ticketer = Arc::new(Tickets(Arc::clone(&asked)));
    }
    server.max_early_data_size = if case.early_data == EarlyData::None { 0 } else { 100 };
    let owned = |protocols: &[&[u8]]| protocols.iter().map(|name| name.to_vec()).collect();
    server.alpn_protocols = owned(case.server_protocols);

    let unheard = Asked::default();
    let mut provider = fixed::provider(!case.seed, case.client_groups, &unheard);
    let first = case.suite % provider.cipher_suites.len();
    provider.cipher_suites.rotate_left(first);
    let builder = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(case.client_versions)
        .unwrap()
        .with_root_certificates(Arc::clone(&pki().roots));
    let mut client = builder.with_no_client_auth();
    if case.client_auth == ClientAuth::Shown {
        let key = Arc::new(AtOnce(Arc::clone(client_device)));
        client.client_auth_cert_resolver =
            Arc::new(ClientKey(Arc::new(CertifiedKey::new(vec![pki().client.0.clone()], key))));
    }
    client.alpn_protocols = owned(case.client_protocols);
    client.time_provider = Arc::new(Noon(unheard));
    client.enable_early_data = case.early_data != EarlyData::None;
    client.max_fragment_size = case.fragment;
    if case.kept == Kept::Not {
        client.resumption = Resumption::disabled();
    }
    if let Some(cached) = case.compressed {
        server.cert_compressors = vec![&Copying];
        client.cert_decompressors = vec![&Copying];
        if !cached {
            server.cert_compression_cache = Arc::new(CompressionCache::Disabled);
        }
    }
    Run { server, client: Arc::new(client), asked, log }
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[derive(Debug)]
struct ClientKey(Arc<CertifiedKey>);

impl ResolvesClientCert for ClientKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Everything of a connection that is seen from outside.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) sent: Vec<u8>,
    pub(crate) result: Result<(), Trouble>,
    pub(crate) client: Result<(), Error>,
    pub(crate) asked: Vec<String>,
    pub(crate) log: Vec<String>,
    pub(crate) signed: usize,
}

/// Two connections, of which the second may resume the first.
fn connections(case: &Case, way: &dyn Way, devices: &[Arc<Device>; 2]) -> [Seen; 2] {
    let run = run(case, way, devices);
    let mut second = run.server.clone();
    if case.early_data == EarlyData::Refused {
        second.max_early_data_size = 0;
    }
    [run.server, second].map(|config| {
        let before = devices[0].signed();
        let mut pair = Pair::over(way.servers(config)(), &run.client, "localhost");
        pair.piece = case.piece;
        if let Some(mut early) = pair.client.early_data() {
            std::io::Write::write_all(&mut early, b"early").unwrap();
        }
        pair.client_turn().unwrap();
        if let Some((place, change)) = case.damage {
            let place = place * pair.to_server.len() / 1000;
            pair.to_server[place] ^= change;
        }
        let result = pair.handshake(&devices[0]);
        let client = pair.client_turn();
        Seen {
            sent: pair.sent,
            result,
            client,
            asked: fixed::take(&run.asked),
            log: fixed::take(&run.log.0),
            signed: devices[0].signed() - before,
        }
    })
}

/// The devices of a case: the server's and the client's. Shared by both runs, as they sign each message once only.
fn devices(case: &Case) -> [Arc<Device>; 2] {
    let client = rustls::crypto::aws_lc_rs::sign::any_supported_type(&pki().client.1).unwrap();
    [Device::new(Arc::clone(&identities()[case.key].1)), Device::new(client)]
}

/// The two connections of a case in one way of serving.
pub(crate) fn seen_in(case: &Case, way: &dyn Way) -> [Seen; 2] {
    connections(case, way, &devices(case))
}

/// Compares replay with plain rustls.
pub(crate) fn compare(case: &Case) -> Result<[Seen; 2], String> {
    compare_with(case, &ByReplay)
}

/// Compares a way of serving with plain rustls.
pub(crate) fn compare_with(case: &Case, way: &dyn Way) -> Result<[Seen; 2], String> {
    let devices = devices(case);
    let mut plain = connections(case, &PlainRustls, &devices);
    let ours = connections(case, way, &devices);
    for (n, (plain, ours)) in plain.iter_mut().zip(&ours).enumerate() {
        let error = match &plain.result {
            Err(Trouble::Server(error)) => Some(error),
            _ => None,
        };
        if add_failure_alert(way, error, &mut plain.sent) {
            plain.client = Err(Error::AlertReceived(AlertDescription::InternalError));
        }
        if *plain != *ours {
            return Err(format!("connection {n}:\n{plain:?}\n{ours:?}"));
        }
    }
    Ok(ours)
}

/// A verifier whose hints change with each handshake.
#[derive(Debug)]
struct Fickle {
    inner: Arc<dyn ClientCertVerifier>,
    asked: AtomicUsize,
    hints: [Vec<DistinguishedName>; 2],
}

impl ClientCertVerifier for Fickle {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints[self.asked.fetch_add(1, Ordering::SeqCst) % 2]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.inner.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A hook gives another answer in the second pass: the handshake fails, and nothing is sent, least of all the signature.
pub(crate) fn changed_message_gets_no_signature() -> Result<(), String> {
    let mut world = World::new(Want { client_auth: true, ..Want::default() });
    let provider = Arc::clone(world.server.crypto_provider());
    let roots = Arc::clone(&pki().roots);
    let inner =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
    let hints = [vec![], inner.root_hint_subjects().to_vec()];
    let verifier = Arc::new(Fickle { inner, asked: AtomicUsize::new(0), hints });
    world.server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&world.resolver) as _);
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let signature = world.device.answer(pair.session());
    match pair.resume(signature) {
        Err(ReplayError::Differs("it signs something else")) if pair.sent.is_empty() => Ok(()),
        other => Err(format!("{other:?}, {} bytes sent", pair.sent.len())),
    }
}
