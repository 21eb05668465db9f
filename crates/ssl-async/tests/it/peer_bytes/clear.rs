//! A provider for fuzzing: records in the clear, constant secrets, and reproducible randomness.
//!
//! The peer's bytes do not depend on ours, except for the random values that it must repeat. rustls's state machines do not
//! notice the difference. (BoringSSL has a mode like this.)

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::LazyLock;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload,
    Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::tls12::Prf;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, KeyExchangeAlgorithm, SecureRandom,
    SupportedKxGroup, hmac,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, DigitallySignedStruct,
    DistinguishedName, Error, ProtocolVersion, SignatureScheme, SupportedCipherSuite,
    Tls12CipherSuite, Tls13CipherSuite,
};

use crate::support;

/// Groups of a side that offers two, and of a side that accepts only the second.
pub(crate) const OFFERED: [&dyn SupportedKxGroup; 2] = [kx_group::SECP256R1, kx_group::X25519];
pub(crate) const WANTED: [&dyn SupportedKxGroup; 1] = [kx_group::X25519];

/// The provider, with these groups.
pub(crate) fn provider(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.clone(),
        kx_groups: groups.to_vec(),
        secure_random: &Again,
        ..support::provider()
    }
}

static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
    let tls13 = cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = tls13.tls13().expect("a suite of TLS 1.3").common.hash_provider;
    let common =
        |suite| CipherSuiteCommon { suite, hash_provider: hash, confidentiality_limit: u64::MAX };
    let tls12 = cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    vec![
        SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: common(tls13.suite()),
            hkdf_provider: &Constant,
            aead_alg: &Clear,
            quic: None,
        }))),
        SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: common(tls12.suite()),
            prf_provider: &Constant,
            kx: KeyExchangeAlgorithm::ECDHE,
            sign: &[SignatureScheme::ECDSA_NISTP256_SHA256],
            aead_alg: &Clear,
        }))),
    ]
});

/// Randomness that repeats after each [`begin_again`]. One sequence per process, because a handshake may use several threads:
/// tests that use it take turns.
#[derive(Debug)]
struct Again;

static DRAWN: AtomicU64 = AtomicU64::new(0);

/// Restarts the sequence of random values.
pub(crate) fn begin_again() {
    DRAWN.store(0, Ordering::Relaxed);
}

impl SecureRandom for Again {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        for byte in buffer {
            let n = DRAWN.fetch_add(1, Ordering::Relaxed);
            *byte = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        }
        Ok(())
    }
}

/// The byte of every derived value.
const FILLING: u8 = 0x42;
const HASH_LEN: usize = 32;

/// Derives the same value from everything, so that every `Finished` is valid.
struct Constant;

impl Hkdf for Constant {
    fn extract_from_zero_ikm(&self, _salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        Box::new(Self)
    }

    fn extract_from_secret(&self, _salt: Option<&[u8]>, _secret: &[u8]) -> Box<dyn HkdfExpander> {
        Box::new(Self)
    }

    fn expander_for_okm(&self, _okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        Box::new(Self)
    }

    fn hmac_sign(&self, _key: &OkmBlock, _message: &[u8]) -> hmac::Tag {
        hmac::Tag::new(&[FILLING; HASH_LEN])
    }
}

impl HkdfExpander for Constant {
    fn expand_slice(&self, _info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        output.fill(FILLING);
        Ok(())
    }

    fn expand_block(&self, _info: &[&[u8]]) -> OkmBlock {
        OkmBlock::new(&[FILLING; HASH_LEN])
    }

    fn hash_len(&self) -> usize {
        HASH_LEN
    }
}

impl Prf for Constant {
    fn for_key_exchange(
        &self,
        output: &mut [u8; 48],
        kx: Box<dyn ActiveKeyExchange>,
        share: &[u8],
        _label: &[u8],
        _seed: &[u8],
    ) -> Result<(), Error> {
        let _secret = kx.complete_for_tls_version(share, &rustls::version::TLS12)?;
        output.fill(FILLING);
        Ok(())
    }

    fn for_secret(&self, output: &mut [u8], _secret: &[u8], _label: &[u8], _seed: &[u8]) {
        output.fill(FILLING);
    }
}

/// Records in the clear, with one check byte at the end.
struct Clear;

pub(crate) const TAG: u8 = 0xa5;

impl Clear {
    fn seal(msg: &OutboundPlainMessage<'_>, inner_type: Option<ContentType>) -> PrefixedPayload {
        let mut payload = PrefixedPayload::with_capacity(msg.payload.len() + 2);
        payload.extend_from_chunks(&msg.payload);
        if let Some(inner_type) = inner_type {
            payload.extend_from_slice(&[inner_type.into()]);
        }
        payload.extend_from_slice(&[TAG]);
        payload
    }

    fn open(msg: &mut InboundOpaqueMessage<'_>) -> Result<(), Error> {
        if msg.payload.last() != Some(&TAG) {
            return Err(Error::DecryptError);
        }
        msg.payload.truncate(msg.payload.len() - 1);
        Ok(())
    }
}

impl Tls13AeadAlgorithm for Clear {
    fn encrypter(&self, _key: AeadKey, _iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Clear13)
    }

    fn decrypter(&self, _key: AeadKey, _iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Clear13)
    }

    fn key_len(&self) -> usize {
        16
    }

    fn extract_keys(
        &self,
        _key: AeadKey,
        _iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

struct Clear13;

impl MessageEncrypter for Clear13 {
    fn encrypt(
        &mut self,
        msg: OutboundPlainMessage<'_>,
        _seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let payload = Clear::seal(&msg, Some(msg.typ));
        // The outer form of a TLS 1.3 record.
        let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        Ok(OutboundOpaqueMessage::new(typ, version, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 2
    }
}

impl MessageDecrypter for Clear13 {
    fn decrypt<'a>(
        &mut self,
        mut msg: InboundOpaqueMessage<'a>,
        _seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        Clear::open(&mut msg)?;
        msg.into_tls13_unpadded_message()
    }
}

impl Tls12AeadAlgorithm for Clear {
    fn encrypter(&self, _key: AeadKey, _iv: &[u8], _extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Clear12)
    }

    fn decrypter(&self, _key: AeadKey, _iv: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(Clear12)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        KeyBlockShape { enc_key_len: 16, fixed_iv_len: 4, explicit_nonce_len: 0 }
    }

    fn extract_keys(
        &self,
        _key: AeadKey,
        _iv: &[u8],
        _explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

struct Clear12;

impl MessageEncrypter for Clear12 {
    fn encrypt(
        &mut self,
        msg: OutboundPlainMessage<'_>,
        _seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let payload = Clear::seal(&msg, None);
        Ok(OutboundOpaqueMessage::new(msg.typ, msg.version, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1
    }
}

impl MessageDecrypter for Clear12 {
    fn decrypt<'a>(
        &mut self,
        mut msg: InboundOpaqueMessage<'a>,
        _seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        Clear::open(&mut msg)?;
        Ok(msg.into_plain_message())
    }
}

/// Accepts every certificate and signature, so that changes to them are processed further.
#[derive(Debug)]
pub(crate) struct Credulous;

impl Credulous {
    const SCHEMES: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for Credulous {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::SCHEMES.to_vec()
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct Standstill;

impl TimeProvider for Standstill {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(core::time::Duration::from_secs(1_700_000_000)))
    }
}
