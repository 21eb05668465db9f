//! Law L16, replay is invisible: the same handshake by replay and by plain rustls, without chance, compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::compress::{
    CertCompressor, CertDecompressor, CompressionFailed, CompressionLevel, DecompressionFailed,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateCompressionAlgorithm, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    NamedGroup, ServerConfig, SignatureScheme, SupportedProtocolVersion, version,
};
use tls_replay::{ReplayConfig, ReplayError, ReplayKey, SessionStage, replayable};

use crate::fixed::{self, Asked, Lines, Noon, Noted, Tickets};
use crate::world::{AtOnce, Device, Pair, Trouble, Want, World, identities, pki};

/// How sessions are kept for resumption.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kept {
    Not,
    InTickets,
    InStore,
}

/// A configuration of both sides, and what happens to the hello on its way.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    /// Index into [`identities`].
    pub(crate) key: usize,
    pub(crate) server_versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) client_versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) server_groups: &'static [NamedGroup],
    pub(crate) client_groups: &'static [NamedGroup],
    /// The client offers its suites from this one on.
    pub(crate) suite: usize,
    pub(crate) server_protocols: &'static [&'static [u8]],
    pub(crate) client_protocols: &'static [&'static [u8]],
    pub(crate) client_auth: bool,
    pub(crate) kept: Kept,
    pub(crate) early_data: bool,
    pub(crate) compressed: bool,
    pub(crate) fragment: Option<usize>,
    pub(crate) piece: usize,
    /// Changes one byte of the first hello: where, in thousandths of its length, and by what.
    pub(crate) damage: Option<(usize, u8)>,
    /// The server's key signs at once.
    pub(crate) local_key: bool,
}

pub(crate) static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
pub(crate) static X: &[NamedGroup] = &[NamedGroup::X25519];

impl Default for Case {
    fn default() -> Self {
        Self {
            seed: 1,
            key: 0,
            server_versions: BOTH,
            client_versions: BOTH,
            server_groups: X,
            client_groups: X,
            suite: 0,
            server_protocols: &[],
            client_protocols: &[],
            client_auth: false,
            kept: Kept::Not,
            early_data: false,
            compressed: false,
            fragment: None,
            piece: usize::MAX,
            damage: None,
            local_key: false,
        }
    }
}

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

impl Case {
    fn run(&self, replayed: bool, device: &Arc<Device>, client_device: &Arc<Device>) -> Run {
        let asked = Asked::default();
        let provider = fixed::provider(self.seed, self.server_groups, &asked);
        let provider = Arc::new(if replayed { replayable(provider) } else { provider });
        let verifier = if self.client_auth {
            let roots = Arc::clone(&pki().roots);
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .unwrap()
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let at_once = Arc::new(AtOnce(Arc::clone(device)));
        let chain = identities()[self.key].0.clone();
        let mut certified = if self.local_key {
            CertifiedKey::new(chain, at_once)
        } else {
            CertifiedKey::new(chain, Arc::new(ReplayKey::new(at_once)))
        };
        certified.ocsp = Some(vec![1, 2, 3]);
        let resolver = Noted { asked: Arc::clone(&asked), inner: Arc::new(certified) };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.server_versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        let log = Arc::new(Lines::default());
        server.key_log = Arc::clone(&log) as _;
        server.time_provider = Arc::new(Noon(Arc::clone(&asked)));
        let store: Arc<dyn StoresServerSessions> = match self.kept {
            Kept::InStore => ServerSessionMemoryCache::new(8),
            _ => Arc::new(rustls::server::NoServerSessionStorage {}),
        };
        server.session_storage = Arc::new(Noted { asked: Arc::clone(&asked), inner: store });
        if self.kept == Kept::InTickets {
            server.ticketer = Arc::new(Tickets(Arc::clone(&asked)));
        }
        server.max_early_data_size = if self.early_data { 100 } else { 0 };
        let owned = |protocols: &[&[u8]]| protocols.iter().map(|name| name.to_vec()).collect();
        server.alpn_protocols = owned(self.server_protocols);

        let unheard = Asked::default();
        let mut provider = fixed::provider(!self.seed, self.client_groups, &unheard);
        let first = self.suite % provider.cipher_suites.len();
        provider.cipher_suites.rotate_left(first);
        let builder = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(self.client_versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&pki().roots));
        let mut client = builder.with_no_client_auth();
        if self.client_auth {
            let key = Arc::new(AtOnce(Arc::clone(client_device)));
            client.client_auth_cert_resolver =
                Arc::new(ClientKey(Arc::new(CertifiedKey::new(vec![pki().client.0.clone()], key))));
        }
        client.alpn_protocols = owned(self.client_protocols);
        client.time_provider = Arc::new(Noon(unheard));
        client.enable_early_data = self.early_data;
        client.max_fragment_size = self.fragment;
        if self.kept == Kept::Not {
            client.resumption = Resumption::disabled();
        }
        if self.compressed {
            server.cert_compressors = vec![&Copying];
            client.cert_decompressors = vec![&Copying];
        }
        Run { server, client: Arc::new(client), asked, log }
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
pub(crate) fn connections(case: &Case, replayed: bool, devices: &[Arc<Device>; 2]) -> [Seen; 2] {
    let run = case.run(replayed, &devices[0], &devices[1]);
    let config = if replayed {
        Ok(ReplayConfig::new(run.server).unwrap())
    } else {
        Err(Arc::new(run.server))
    };
    [0, 1].map(|_| {
        let before = devices[0].signed();
        let mut pair = match &config {
            Ok(replay) => Pair::new(replay, &run.client, "localhost"),
            Err(plain) => Pair::plain(plain, &run.client, "localhost"),
        };
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
        let take =
            |lines: &std::sync::Mutex<Vec<String>>| std::mem::take(&mut *lines.lock().unwrap());
        Seen {
            sent: pair.sent,
            result,
            client,
            asked: take(&run.asked),
            log: take(&run.log.0),
            signed: devices[0].signed() - before,
        }
    })
}

/// The devices of a case: the server's and the client's. Shared by both runs, as they sign each message once only.
pub(crate) fn devices(case: &Case) -> [Arc<Device>; 2] {
    let client = rustls::crypto::aws_lc_rs::sign::any_supported_type(&pki().client.1).unwrap();
    [Device::new(Arc::clone(&identities()[case.key].1)), Device::new(client)]
}

/// Compares replay with plain rustls.
pub(crate) fn compare(case: &Case) -> Result<[Seen; 2], String> {
    let devices = devices(case);
    let [plain, replayed] = [false, true].map(|replayed| connections(case, replayed, &devices));
    for (n, (plain, replayed)) in plain.iter().zip(&replayed).enumerate() {
        if plain != replayed {
            return Err(format!("connection {n}:\n{plain:?}\n{replayed:?}"));
        }
    }
    Ok(replayed)
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
