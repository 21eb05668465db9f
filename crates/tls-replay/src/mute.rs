//! TLS 1.3 cipher suites that do nothing in a rehearsal.
//!
//! What the server signs depends on the plaintext of the handshake only, so a rehearsal needs neither keys nor ciphers.
//! No byte of a rehearsal that these stubs touched is ever sent.

use core::sync::atomic::{AtomicBool, Ordering};

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError,
};
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, hash, hmac};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

use crate::pass::{self, Mode};

/// Wraps a suite of TLS 1.3, at the price of a few leaked bytes; one of TLS 1.2 stays as it is, since it derives keys
/// after the server's flight only.
pub(crate) fn wrap_suite(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(inner) = suite else { return suite };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: inner.common.suite,
            hash_provider: Box::leak(Box::new(Hash { inner: inner.common.hash_provider })),
            confidentiality_limit: inner.common.confidentiality_limit,
        },
        hkdf_provider: Box::leak(Box::new(KeySchedule {
            inner: inner.hkdf_provider,
            hash_len: inner.common.hash_provider.output_len(),
        })),
        aead_alg: Box::leak(Box::new(Aead { inner: inner.aead_alg })),
        quic: inner.quic,
    })))
}

/// Whether key schedule and ciphers of a suite are wrapped.
pub(crate) fn is_wrapped(suite: &SupportedCipherSuite) -> bool {
    let SupportedCipherSuite::Tls13(suite) = suite else { return true };
    pass::reaches_probe(|| {
        suite.hkdf_provider.fips();
    }) && pass::reaches_probe(|| {
        suite.aead_alg.fips();
    })
}

fn mute() -> bool {
    pass::mode() == Mode::Rehearsal
}

struct Hash {
    inner: &'static dyn hash::Hash,
}

impl hash::Hash for Hash {
    fn start(&self) -> Box<dyn hash::Context> {
        let inner = self.inner.start();
        match mute() {
            true => Box::new(Transcript {
                inner,
                len: self.inner.output_len(),
                has_keys: AtomicBool::new(false),
            }),
            false => inner,
        }
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        self.inner.hash(data)
    }

    fn output_len(&self) -> usize {
        self.inner.output_len()
    }

    fn algorithm(&self) -> hash::HashAlgorithm {
        self.inner.algorithm()
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

/// The transcript of a rehearsal. rustls asks for its hash twice, first for the keys of the handshake, which there are
/// none of, and then for the message to be signed. If it asked otherwise, the message would not be that of the second
/// pass, and the signature not be used.
struct Transcript {
    inner: Box<dyn hash::Context>,
    len: usize,
    /// The hash for the keys was asked for.
    has_keys: AtomicBool,
}

impl hash::Context for Transcript {
    fn fork_finish(&self) -> hash::Output {
        match self.has_keys.swap(true, Ordering::Relaxed) {
            true => self.inner.fork_finish(),
            false => hash::Output::new(&[0; hash::Output::MAX_LEN][..self.len]),
        }
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        let has_keys = AtomicBool::new(self.has_keys.load(Ordering::Relaxed));
        Box::new(Self { inner: self.inner.fork(), len: self.len, has_keys })
    }

    fn finish(self: Box<Self>) -> hash::Output {
        self.inner.finish()
    }

    fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }
}

struct KeySchedule {
    inner: &'static dyn Hkdf,
    hash_len: usize,
}

impl Hkdf for KeySchedule {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        if mute() { zeros(self.hash_len) } else { self.inner.extract_from_zero_ikm(salt) }
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        if mute() { zeros(self.hash_len) } else { self.inner.extract_from_secret(salt, secret) }
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        exchange: Box<dyn ActiveKeyExchange>,
        peer_public: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        self.inner.extract_from_kx_shared_secret(salt, exchange, peer_public)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        if mute() { zeros(self.hash_len) } else { self.inner.expander_for_okm(okm) }
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        if mute() {
            return hmac::Tag::new(&[0; OkmBlock::MAX_LEN][..self.hash_len]);
        }
        self.inner.hmac_sign(key, message)
    }

    fn fips(&self) -> bool {
        pass::probed();
        self.inner.fips()
    }
}

/// An expander for a hash of `LEN` bytes that yields zeros. It has no size, so boxing it allocates nothing.
struct Zeros<const LEN: usize>;

fn zeros(hash_len: usize) -> Box<dyn HkdfExpander> {
    match hash_len {
        32 => Box::new(Zeros::<32>),
        48 => Box::new(Zeros::<48>),
        _ => Box::new(Zeros::<{ OkmBlock::MAX_LEN }>),
    }
}

impl<const LEN: usize> HkdfExpander for Zeros<LEN> {
    fn expand_slice(&self, _: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        output.fill(0);
        Ok(())
    }

    fn expand_block(&self, _: &[&[u8]]) -> OkmBlock {
        OkmBlock::new(&[0; LEN])
    }

    fn hash_len(&self) -> usize {
        LEN
    }
}

struct Aead {
    inner: &'static dyn Tls13AeadAlgorithm,
}

impl Tls13AeadAlgorithm for Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        if mute() { Box::new(MuteCipher) } else { self.inner.encrypter(key, iv) }
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        if mute() { Box::new(MuteCipher) } else { self.inner.decrypter(key, iv) }
    }

    fn key_len(&self) -> usize {
        self.inner.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.inner.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        pass::probed();
        self.inner.fips()
    }
}

struct MuteCipher;

impl MessageEncrypter for MuteCipher {
    /// An empty record: rustls panics on an error here.
    fn encrypt(
        &mut self,
        _: OutboundPlainMessage<'_>,
        _: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let empty = PrefixedPayload::with_capacity(0);
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            empty,
        ))
    }

    fn encrypted_payload_len(&self, _: usize) -> usize {
        0
    }
}

impl MessageDecrypter for MuteCipher {
    fn decrypt<'a>(
        &mut self,
        _: InboundOpaqueMessage<'a>,
        _: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        Err(Error::DecryptError)
    }
}

/// The secret of a key exchange for a rehearsal, which has no use for the real one.
pub(crate) fn no_secret() -> SharedSecret {
    SharedSecret::from(Vec::new())
}
