//! A provider and hooks without chance, so that two runs of one handshake can be compared byte for byte.

use std::sync::{Arc, Mutex};

use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom,
    SharedSecret, SupportedKxGroup, aws_lc_rs::default_provider,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{Error, KeyLog, NamedGroup, PeerMisbehaved};

/// What was asked of provider and hooks, in order.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// Takes the lines out.
pub(crate) fn take(lines: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut *lines.lock().unwrap())
}

fn note(asked: &Asked, question: String) {
    asked.lock().unwrap().push(question);
}

/// Bytes from a seed. Not for anything but tests.
#[derive(Debug)]
pub(crate) struct Bytes {
    state: Mutex<u64>,
    asked: Asked,
}

impl Bytes {
    /// Leaks a few bytes: rustls wants them for good.
    pub(crate) fn new(seed: u64, asked: &Asked) -> &'static Self {
        Box::leak(Box::new(Self { state: Mutex::new(seed), asked: Arc::clone(asked) }))
    }

    /// Begins anew.
    pub(crate) fn set_back(&self, seed: u64) {
        *self.state.lock().unwrap() = seed;
    }

    fn next(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl SecureRandom for Bytes {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        note(&self.asked, format!("random {}", buffer.len()));
        for byte in buffer {
            *byte = self.next() as u8;
        }
        Ok(())
    }
}

/// Diffie-Hellman over a prime of 61 bits: a real exchange, with keys from the seed, and no security at all.
#[derive(Debug)]
struct Group {
    name: NamedGroup,
    bytes: &'static Bytes,
}

const PRIME: u128 = (1 << 61) - 1;

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut base, mut result) = (u128::from(base) % PRIME, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % PRIME;
        }
        base = base * base % PRIME;
        exponent >>= 1;
    }
    result as u64
}

impl Group {
    fn exchange(&self) -> Exchange {
        let secret = self.bytes.next() >> 4;
        let mut public = power(3, secret).to_be_bytes().to_vec();
        if self.name == NamedGroup::X25519MLKEM768 {
            public.resize(1184, 0);
        }
        Exchange { name: self.name, secret, public }
    }
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        note(&self.bytes.asked, format!("start {:?}", self.name));
        Ok(Box::new(self.exchange()))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        note(&self.bytes.asked, format!("exchange {:?}", self.name));
        let exchange = self.exchange();
        let (group, pub_key) = (self.name, exchange.public.clone());
        Ok(CompletedKeyExchange { group, pub_key, secret: Box::new(exchange).complete(peer)? })
    }

    fn name(&self) -> NamedGroup {
        self.name
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

struct Exchange {
    name: NamedGroup,
    secret: u64,
    public: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // A share of another length, as real clients send it, gives a secret that only the server knows.
        let peer = peer.chunks_exact(8).map(|part| u64::from_be_bytes(part.try_into().unwrap()));
        let peer = peer.reduce(|a, b| a ^ b).ok_or(PeerMisbehaved::InvalidKeyShare)?;
        Ok(SharedSecret::from(&power(peer, self.secret).to_be_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        self.name
    }
}

/// The default provider with randomness and these groups from `seed`.
pub(crate) fn provider(seed: u64, groups: &[NamedGroup], asked: &Asked) -> CryptoProvider {
    provider_of(Bytes::new(seed, asked), groups)
}

/// The same with `bytes`, which can be [set back](Bytes::set_back).
pub(crate) fn provider_of(bytes: &'static Bytes, groups: &[NamedGroup]) -> CryptoProvider {
    let group =
        |&name| -> &'static dyn SupportedKxGroup { Box::leak(Box::new(Group { name, bytes })) };
    CryptoProvider {
        kx_groups: groups.iter().map(group).collect(),
        secure_random: bytes,
        ..default_provider()
    }
}

/// A hook that notes what it was asked, and asks on.
#[derive(Debug)]
pub(crate) struct Noted<T: ?Sized> {
    pub(crate) asked: Asked,
    pub(crate) inner: Arc<T>,
}

impl ResolvesServerCert for Noted<CertifiedKey> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        note(&self.asked, format!("certificate {:?}", hello.server_name()));
        Some(Arc::clone(&self.inner))
    }
}

/// Tickets without a key: the plaintext, each byte inverted.
#[derive(Debug)]
pub(crate) struct Tickets(pub(crate) Asked);

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        1000
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        note(&self.0, "seal".to_owned());
        Some(plain.iter().map(|byte| !byte).collect())
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        note(&self.0, "open".to_owned());
        Some(sealed.iter().map(|byte| !byte).collect())
    }
}

impl StoresServerSessions for Noted<dyn StoresServerSessions> {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        note(&self.asked, "put".to_owned());
        self.inner.put(id, session)
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        note(&self.asked, "get".to_owned());
        self.inner.get(id)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        note(&self.asked, "take".to_owned());
        self.inner.take(id)
    }

    fn can_cache(&self) -> bool {
        self.inner.can_cache()
    }
}

/// A time that stands still.
#[derive(Debug)]
pub(crate) struct Noon(pub(crate) Asked);

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        note(&self.0, "time".to_owned());
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(2_000_000_000)))
    }
}

/// A key log, whole lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<String>>);

impl KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push(format!("{label} {client_random:02x?} {secret:02x?}"));
    }
}
