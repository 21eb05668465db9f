//! A server against any bytes of a client: one function, [`drive`], for property tests here and for libFuzzer in
//! `tests/fuzz`. It serves them by replay and by plain rustls without chance, and panics if there is a difference.
//!
//! The first byte of the input chooses a configuration and the second how large the pieces are; the rest is what the
//! client sends. `seeds` has hellos of other people's programs, recorded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use rustls::server::ServerSessionMemoryCache;
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, ServerConfig, SupportedProtocolVersion, version};
use tls_replay::{Question, ReplayError};

use super::fixed::{self, Asked, Bytes, Lines, Noon, Noted, Tickets, provider_of};
use super::servers::{ByReplay, PlainRustls, Server, Way, add_failure_alert};
use super::world::{AtOnce, Device, identities};

const SEED: u64 = 7;

static VERSIONS: [&[&SupportedProtocolVersion]; 3] =
    [&[&version::TLS13, &version::TLS12], &[&version::TLS13], &[&version::TLS12]];
static GROUPS: [&[NamedGroup]; 3] = [
    &[NamedGroup::X25519],
    &[NamedGroup::secp521r1, NamedGroup::secp384r1],
    &[NamedGroup::X25519MLKEM768, NamedGroup::secp256r1],
];

/// How many configurations there are.
pub(crate) const CHOICES: u8 = 3 * 3 * 3 * 2;

/// One configuration, served in one way.
struct Served {
    servers: Box<dyn Fn() -> Server>,
    bytes: &'static Bytes,
    asked: Asked,
    log: Arc<Lines>,
    device: Arc<Device>,
}

/// What is seen from outside.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) sent: Vec<u8>,
    pub(crate) error: Option<ReplayError>,
    asked: Vec<String>,
    log: Vec<String>,
}

impl Served {
    fn new(choice: u8, way: &dyn Way, device: &Arc<Device>) -> Self {
        let choice = usize::from(choice);
        let asked = Asked::default();
        let bytes = Bytes::new(SEED, &asked);
        let provider = way.provider(provider_of(bytes, GROUPS[choice / 3 % 3]));
        let chain = identities()[choice / 9 % 3].0.clone();
        let key = way.key(Arc::new(AtOnce(Arc::clone(device))));
        let certified = Arc::new(CertifiedKey::new(chain, key));
        let mut config = ServerConfig::builder_with_provider(provider.into())
            .with_protocol_versions(VERSIONS[choice % 3])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Noted { asked: Arc::clone(&asked), inner: certified }));
        let log = Arc::new(Lines::default());
        config.key_log = Arc::clone(&log) as _;
        config.time_provider = Arc::new(Noon(Arc::clone(&asked)));
        config.session_storage = Arc::new(Noted {
            asked: Arc::clone(&asked),
            inner: ServerSessionMemoryCache::new(4) as _,
        });
        if choice / 27 % 2 == 1 {
            config.ticketer = Arc::new(Tickets(Arc::clone(&asked)));
        }
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let device = Arc::clone(device);
        Self { servers: way.servers(config), bytes, asked, log, device }
    }

    fn serve(&self, client: &[u8], piece: usize) -> Seen {
        self.bytes.set_back(SEED);
        let (mut sent, mut error) = (Vec::new(), None);
        let mut server = (self.servers)();
        let mut pieces = client.chunks(piece);
        while let (None, Some(piece)) = (&error, pieces.next()) {
            error = server.hear(piece, &mut sent).err();
            if let Server::Replay(session) = &mut server
                && let Some(Question::Signature { scheme, message }) = session.question()
            {
                let signature = self.device.sign(scheme, message);
                error = session.resume(signature, &mut sent).err();
            }
            if let Some(connection) = server.connection() {
                // Makes room for more.
                let _ = io::copy(&mut connection.reader(), &mut io::sink());
            }
        }
        Seen { sent, error, asked: fixed::take(&self.asked), log: fixed::take(&self.log.0) }
    }
}

/// Plain rustls and another way, by configuration. Made once: rustls keeps parts of them for good.
pub(crate) struct Rivals {
    way: Box<dyn Way>,
    served: HashMap<u8, [Served; 2]>,
}

impl Rivals {
    pub(crate) fn new(way: Box<dyn Way>) -> Self {
        Self { way, served: HashMap::new() }
    }

    /// Serves `input` in both ways, and compares.
    pub(crate) fn drive(&mut self, input: &[u8]) -> Option<Seen> {
        let [choice, piece, client @ ..] = input else { return None };
        let (choice, piece) = (choice % CHOICES, 1 + 4 * usize::from(*piece));
        let served = self.served.entry(choice).or_insert_with(|| {
            // Shared, because some keys sign a message another way each time.
            let device = Device::new(Arc::clone(&identities()[usize::from(choice) / 9 % 3].1));
            [&PlainRustls, &*self.way].map(|way| Served::new(choice, way, &device))
        });
        let [mut plain, ours] = served.each_ref().map(|served| served.serve(client, piece));
        add_failure_alert(&*self.way, plain.error.as_ref(), &mut plain.sent);
        served[0].device.forget();
        assert_eq!(plain, ours);
        Some(ours)
    }
}

thread_local! {
    static RIVALS: RefCell<Rivals> = RefCell::new(Rivals::new(Box::new(ByReplay)));
}

/// Serves `input` by plain rustls and by replay, and compares.
pub(crate) fn drive(input: &[u8]) -> Option<Seen> {
    RIVALS.with_borrow_mut(|rivals| rivals.drive(input))
}

/// Where the recorded hellos are.
pub(crate) fn seeds() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tls-replay/tests/it/hello_bytes/seeds").into()
}

/// The recorded hellos, by file.
pub(crate) fn recorded() -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(seeds()).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
}
