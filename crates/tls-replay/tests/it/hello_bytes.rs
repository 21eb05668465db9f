//! A server against any bytes of a client: one function, [`drive`], for property tests here and for libFuzzer in
//! `tests/fuzz`. It serves them by replay and by plain rustls without chance, and panics if there is a difference.
//!
//! The first byte of the input chooses a configuration and the second how large the pieces are; the rest is what the
//! client sends. `seeds` has hellos of other people's libraries, recorded.

use std::cell::OnceCell;
use std::sync::Arc;

use rustls::server::{ServerConnection, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, ServerConfig, SupportedProtocolVersion, version};
use tls_replay::{
    Question, ReplayConfig, ReplayError, ReplayKey, Session, SessionOptions, replayable,
};

use crate::fixed::{Asked, Bytes, Lines, Noon, Noted, Tickets, provider_of};
use crate::world::{AtOnce, Device, identities};

const SEED: u64 = 7;

static VERSIONS: [&[&SupportedProtocolVersion]; 3] =
    [&[&version::TLS13, &version::TLS12], &[&version::TLS13], &[&version::TLS12]];
static GROUPS: [&[NamedGroup]; 2] =
    [&[NamedGroup::X25519], &[NamedGroup::secp521r1, NamedGroup::secp384r1]];

/// One way of serving.
struct Way {
    config: Arc<ServerConfig>,
    /// `None` for plain rustls.
    replay: Option<ReplayConfig>,
    bytes: &'static Bytes,
    asked: Asked,
    log: Arc<Lines>,
    device: Arc<Device>,
}

/// What is seen from outside.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) sent: Vec<u8>,
    error: Option<ReplayError>,
    asked: Vec<String>,
    log: Vec<String>,
}

impl Way {
    fn new(choice: usize, replayed: bool) -> Self {
        let asked = Asked::default();
        let bytes = Bytes::new(SEED, &asked);
        let provider = provider_of(bytes, GROUPS[choice / 3 % 2]);
        let provider = if replayed { replayable(provider) } else { provider };
        // Ed25519: it always signs alike.
        let (chain, key) = &identities()[2];
        let device = Device::new(Arc::clone(key));
        let key = Arc::new(ReplayKey::new(Arc::new(AtOnce(Arc::clone(&device)))));
        let certified = Arc::new(CertifiedKey::new(chain.clone(), key));
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
        if choice / 6 % 2 == 1 {
            config.ticketer = Arc::new(Tickets(Arc::clone(&asked)));
        }
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let replay = replayed.then(|| ReplayConfig::new(config.clone()).unwrap());
        Self { config: Arc::new(config), replay, bytes, asked, log, device }
    }

    fn serve(&self, client: &[u8], piece: usize) -> Seen {
        self.bytes.set_back(SEED);
        self.device.forget();
        let (mut sent, mut error) = (Vec::new(), None);
        let mut pieces = client.chunks(piece);
        if let Some(replay) = &self.replay {
            let mut session = Session::new(replay.clone(), SessionOptions::default());
            while let (None, Some(piece)) = (&error, pieces.next()) {
                error = session.hear(piece, &mut sent).err();
                if let Some(Question::Signature { scheme, message }) = session.question() {
                    let signature = self.device.sign(scheme, message);
                    error = session.resume(signature, &mut sent).err();
                }
                if let Some(connection) = session.connection() {
                    read_all(connection);
                }
            }
        } else {
            let mut connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
            while let (None, Some(mut piece)) = (&error, pieces.next()) {
                while error.is_none() && matches!(connection.read_tls(&mut piece), Ok(1..)) {
                    error = connection.process_new_packets().err().map(ReplayError::from);
                }
                while connection.wants_write() {
                    connection.write_tls(&mut sent).unwrap();
                }
                read_all(&mut connection);
            }
        }
        let take =
            |lines: &std::sync::Mutex<Vec<String>>| std::mem::take(&mut *lines.lock().unwrap());
        Seen { sent, error, asked: take(&self.asked), log: take(&self.log.0) }
    }
}

/// Makes room for more.
fn read_all(connection: &mut ServerConnection) {
    let _ = std::io::copy(&mut connection.reader(), &mut std::io::sink());
}

thread_local! {
    /// Made once: rustls keeps parts of them for good.
    static WAYS: [[OnceCell<Way>; 2]; 12] = const { [const { [const { OnceCell::new() }; 2] }; 12] };
}

/// Serves `input` in both ways.
pub(crate) fn drive(input: &[u8]) -> Option<Seen> {
    let [choice, piece, client @ ..] = input else { return None };
    let (choice, piece) = (usize::from(*choice) % 12, 1 + 4 * usize::from(*piece));
    let [plain, replayed] = [0, 1].map(|way| {
        WAYS.with(|ways| {
            let way = ways[choice][way].get_or_init(|| Way::new(choice, way == 1));
            way.serve(client, piece)
        })
    });
    assert_eq!(plain, replayed);
    Some(replayed)
}
