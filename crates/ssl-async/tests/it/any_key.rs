//! Any rustls key behind an engine, and handles made from certificates.

use std::sync::Arc;

use engine_core::{CheckFailed, CheckPolicy, DeviceError, Engine, EngineError};
use job_core::JobPool;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, SignatureAlgorithm, SignatureScheme};
use ssl_async::{
    Outcome, Ssl, SslContext, SslError,
    offload::{self, PublicKeyError, SigningWork},
};

use crate::support::{
    Fixture, Identity, KeyType, ManualDevice, PlainPeer, client_config, exchange_data, fixture,
    pipe, provider, server_config,
};

/// The private key of a fixture, loaded by rustls.
fn plain_key(identity: &Identity) -> Arc<dyn SigningKey> {
    let der = PrivateKeyDer::from_pem_slice(identity.pem.as_bytes()).unwrap();
    any_supported_type(&der).unwrap()
}

fn device() -> (Arc<ManualDevice<SigningWork>>, Arc<Engine<SigningWork>>) {
    let device = ManualDevice::doing(4, SigningWork::sign);
    let engine = Engine::builder(device.clone()).build();
    (device, engine)
}

fn context(fixture: &Fixture, key: &Arc<dyn SigningKey>) -> SslContext {
    let config = server_config(provider(), ALL_VERSIONS, &fixture.identity, key);
    SslContext::server(Arc::new(config))
}

#[test]
fn any_key_of_any_algorithm_signs_on_a_device_and_its_signature_is_checked() {
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let (fixture, (device, engine)) = (fixture(key_type, 4), device());
        let plain = plain_key(&fixture.identity);
        let key = offload::signing_key(engine.clone(), plain, &provider()).unwrap();
        for version in [&TLS12, &TLS13] {
            let (ours, theirs) = pipe();
            let mut peer = fixture.client(version, theirs);
            let context = context(&fixture, &key);
            let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
            peer.step();
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
            device.answer();
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
            peer.step();
            assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
            exchange_data(&mut ssl, &mut peer);
        }
        let checked = if key_type == KeyType::Rsa2048 { 2 } else { 0 };
        assert_eq!(engine.stats().checked, checked, "RSA always, others by policy");
    }
}

/// A key that does not give its public half, and may sign nonsense.
#[derive(Debug)]
struct Odd {
    inner: Arc<dyn SigningKey>,
    nonsense: bool,
}

impl SigningKey for Odd {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = self.inner.choose_scheme(offered)?;
        Some(if self.nonsense { Box::new(Nonsense(signer)) } else { signer })
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.inner.algorithm()
    }
}

#[derive(Debug)]
struct Nonsense(Box<dyn Signer>);

impl Signer for Nonsense {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message).map(|mut signature| {
            signature.reverse();
            signature
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

#[test]
fn a_key_without_a_public_half_is_refused_unless_its_certificate_is_given() {
    let (fixture, (_, engine)) = (fixture(KeyType::P256, 4), device());
    let odd = || Arc::new(Odd { inner: plain_key(&fixture.identity), nonsense: false });
    let refused = offload::signing_key(engine.clone(), odd(), &provider()).unwrap_err();
    assert!(matches!(refused, PublicKeyError::Absent));
    assert_eq!(
        refused.to_string(),
        "the key does not give its public half: give the certificate too"
    );
    let certificate = &fixture.identity.certificate;
    let key =
        offload::signing_key_with_certificate(engine, odd(), certificate, &provider()).unwrap();
    assert!(key.public_key().is_some());
}

#[test]
fn l12_an_invalid_rsa_signature_never_leaves_the_engine() {
    let (fixture, (device, engine)) = (fixture(KeyType::Rsa2048, 4), device());
    let odd = Arc::new(Odd { inner: plain_key(&fixture.identity), nonsense: true });
    let certificate = &fixture.identity.certificate;
    let key = offload::signing_key_with_certificate(engine, odd, certificate, &provider()).unwrap();
    let (ours, theirs) = pipe();
    let mut peer = fixture.client(&TLS13, theirs);
    peer.step();
    let mut ssl = Ssl::accept(&context(&fixture, &key), &JobPool::new(), ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    device.answer();
    let failed = ssl.do_handshake();
    assert!(matches!(failed, Err(SslError::Failed(EngineError::Invalid(CheckFailed(_))))));
}

#[test]
fn a_handle_made_from_a_certificate_names_the_same_key_and_the_provider_checks_it() {
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
        let fixture = fixture(key_type, 4);
        let named =
            offload::handle_of_certificate(&fixture.identity.certificate, &provider()).unwrap();
        assert_eq!(named, fixture.keys.load_pem(&fixture.identity.pem).unwrap());
        let key = offload::key_handle(Arc::clone(&fixture.engine), named.clone());
        let (ours, theirs) = pipe();
        let mut peer = fixture.client(&TLS13, theirs);
        let mut ssl = Ssl::accept(&context(&fixture, &key), &JobPool::new(), ours).unwrap();
        crate::support::shake(&mut ssl, &mut peer, &fixture.device).unwrap();
        for &scheme in named.schemes() {
            assert!(named.check(scheme, b"message", b"no signature").is_err());
        }
    }
}

#[test]
fn a_key_that_refuses_to_sign_ends_the_session_as_a_device_error() {
    let (fixture, (device, engine)) = (fixture(KeyType::P256, 4), device());
    let plain = plain_key(&fixture.identity);
    let key = offload::signing_key(engine, plain, &provider()).unwrap();
    let (ours, theirs) = pipe();
    let mut peer = PlainPeer::client(fixture.client_config(&TLS13), theirs);
    peer.step();
    let mut ssl = Ssl::accept(&context(&fixture, &key), &JobPool::new(), ours).unwrap();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    device.fail();
    let failed = ssl.do_handshake();
    let cause = EngineError::Device(DeviceError::Failed("told to"));
    assert!(matches!(failed, Err(SslError::Failed(error)) if error == cause));
}

#[test]
fn a_key_without_an_operation_signs_too() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])
        .and_then(|params| params.self_signed(&pair))
        .unwrap();
    let (certificate, pem) = (certificate.der().clone(), pair.serialize_pem());
    assert!(offload::handle_of_certificate(&certificate, &provider()).is_err());
    let identity = Identity { certificate, pem };
    let device = ManualDevice::doing(4, SigningWork::sign);
    let engine = Engine::builder(device.clone()).checks(CheckPolicy::Always).build();
    let key = offload::signing_key(engine.clone(), plain_key(&identity), &provider()).unwrap();
    let config = server_config(provider(), ALL_VERSIONS, &identity, &key);
    let context = SslContext::server(Arc::new(config));
    let (ours, theirs) = pipe();
    let mut peer = PlainPeer::client(client_config(provider(), &TLS13, &identity), theirs);
    let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
    peer.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
    assert_eq!(device.kinds(), ["sign-other"]);
    device.answer();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
    peer.step();
    assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
    assert_eq!(engine.stats().checked, 1);
}

/// A key that chooses another scheme than those it is asked for.
#[derive(Debug)]
struct Stubborn(Arc<dyn SigningKey>);

impl SigningKey for Stubborn {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA512])
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[test]
fn a_scheme_that_was_not_offered_is_not_chosen() {
    let (fixture, (_, engine)) = (fixture(KeyType::Rsa2048, 4), device());
    let key = Arc::new(Stubborn(plain_key(&fixture.identity)));
    let key = offload::signing_key(engine, key, &provider()).unwrap();
    assert!(key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).is_none());
    assert!(key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA512]).is_some());
}
