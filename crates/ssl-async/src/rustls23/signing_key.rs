//! Signatures by an engine, for any key that rustls can use.

use core::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crypto_ops::Scheme;
use crypto_ops::encoding::digest_info;
use engine_core::{CheckFailed, DeviceError, Engine, EngineError, Kind, LogLimit, Pending, Work};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use wait_ctx::Notifier;
use zeroize::Zeroize as _;

use crate::rustls23::at_once;
use crate::rustls23::engine_error::wrap;
use crate::rustls23::postponed::{
    Message, PendingAnswer, Reply, SubmitSignature, no_scheme, postponing, submit,
};
use crate::rustls23::public_key::{PublicHalf, PublicKeyError, is_pkcs1, spki_of};
use crate::rustls23::signature_fault::{Hash, SignatureFault, diagnose};

/// Makes a signing key that uses `key` through `engine`: `sign` becomes [`SigningWork`], and the engine's device calls
/// [`SigningWork::sign`] on a thread that may block. The key keeps its schemes. [`SlowKey`](crate::SlowKey) does this and
/// makes the engine too.
///
/// Signatures are checked with the algorithms of `provider`.
///
/// ```
/// # #[cfg(feature = "aws-lc-rs")] {
/// use std::sync::Arc;
/// use engine_core::ThreadPoolBuilder;
/// use rustls::crypto::aws_lc_rs;
/// use ssl_async::{engine_core::Engine, offload::{self, SigningWork}};
/// # use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
/// # let pem = rcgen::KeyPair::generate()?.serialize_pem();
/// # let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_slice(pem.as_bytes())?)?;
///
/// // `key` is any signing key of rustls.
/// let pool = ThreadPoolBuilder::new().threads(8).build(SigningWork::sign);
/// let engine = Engine::builder(Arc::new(pool)).build();
/// let key = offload::signing_key(engine, key, &aws_lc_rs::default_provider())?;
/// # let signer = key.choose_scheme(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
/// assert!(signer.sign(b"a transcript").is_ok());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`PublicKeyError::Absent`] if the key does not give its public half: use
/// [`signing_key_with_certificate`] then.
pub fn signing_key(
    engine: Arc<Engine<SigningWork>>,
    key: Arc<dyn SigningKey>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, PublicKeyError> {
    let spki = key.public_key().ok_or(PublicKeyError::Absent)?.into_owned();
    offload(engine, key, spki, provider)
}

/// As [`signing_key`], with the public half from the key's certificate.
///
/// # Errors
///
/// [`PublicKeyError::Certificate`] or [`PublicKeyError::Malformed`].
pub fn signing_key_with_certificate(
    engine: Arc<Engine<SigningWork>>,
    key: Arc<dyn SigningKey>,
    certificate: &CertificateDer<'_>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, PublicKeyError> {
    offload(engine, key, spki_of(certificate)?, provider)
}

fn offload(
    engine: Arc<Engine<SigningWork>>,
    key: Arc<dyn SigningKey>,
    spki: SubjectPublicKeyInfoDer<'static>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, PublicKeyError> {
    let half = Arc::new(PublicHalf::new(spki, provider)?);
    Ok(postponing(OffloadedSigningKey::new(engine, Some(key), half, NO_NAME.into())))
}

/// At least as long as any digest, and shorter than any modulus, so that a signature tells what was done to it. TLS signs
/// nothing that begins so.
const TEST_MESSAGE: &[u8] =
    b"The signature of these words was made to test a key; no peer of a connection will ever accept it.";

/// The [id](SigningWork::key_id) of a key without one.
const NO_NAME: &str = "";

/// A signature to compute, with a rustls key or with a key of the device.
///
/// The result must be encoded as in TLS: for ECDSA the DER of `SEQUENCE { r, s }`, not the two numbers side by side that
/// PKCS#11 (`CKM_ECDSA`) and WebCrypto return ([`der_from_raw`](crypto_ops::encoding::der_from_raw) converts them); for the
/// others the plain bytes. The message is wiped when work and handshake have dropped it, and so is a signature that reaches no session.
#[derive(Clone)]
pub struct SigningWork {
    key: Arc<NamedKey>,
    /// Absent if the key is the device's.
    signer: Option<Arc<dyn Signer>>,
    scheme: SignatureScheme,
    message: Message,
    /// Takes what is wrong with the signature, in a test of the key.
    fault: Option<Arc<OnceLock<SignatureFault>>>,
}

/// A key, as a device and its checks know it.
pub(crate) struct NamedKey {
    id: Arc<str>,
    half: Arc<PublicHalf>,
    made: Instant,
    complaints: LogLimit,
}

impl NamedKey {
    /// A key that signs wrongly fails every handshake: one line a second is enough.
    fn log(&self, scheme: SignatureScheme, fault: SignatureFault) {
        if let Some(held_back) = self.complaints.admit(self.made.elapsed()) {
            let key = &*self.id;
            tracing::error!(key, ?scheme, %fault, held_back, "key.wrong_signature");
        }
    }
}

impl SigningWork {
    /// Signs with the rustls key. Blocks until the key returns.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Reported`] with the key's error. [`DeviceError::Unsupported`] if the key is the device's.
    pub fn sign(&self) -> Result<Vec<u8>, DeviceError> {
        let Some(signer) = &self.signer else {
            return Err(DeviceError::Unsupported("the key is the device's, not one of rustls's"));
        };
        signer.sign(&self.message).map_err(|error| DeviceError::reported(&error))
    }

    /// The name that the key was given in [`KeyPool::key`](crate::KeyPool::key): what the device knows it by. Empty for the
    /// only key of an engine.
    pub fn key_id(&self) -> &str {
        &self.key.id
    }

    /// The signature scheme.
    pub fn scheme(&self) -> SignatureScheme {
        self.scheme
    }

    /// The whole message to sign, not a digest.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The digest of the message, for devices that sign digests. `None` for Ed25519 and ML-DSA: these sign the message.
    pub fn digest(&self) -> Option<Vec<u8>> {
        Some(Hash::of(self.scheme)?.digest(&self.message))
    }

    /// The digest with the name of its hash before it, for a device that only adds the padding of PKCS #1 v1.5 (PKCS#11's
    /// `CKM_RSA_PKCS`). `None` for other schemes.
    pub fn pkcs1_digest_info(&self) -> Option<Vec<u8>> {
        is_pkcs1(self.scheme).then(|| digest_info(&self.digest()?))?
    }
}

impl Work for SigningWork {
    type Output = Vec<u8>;

    fn kind(&self) -> Kind {
        Scheme::from_u16(u16::from(self.scheme()))
            .map_or(Kind::new("sign-other"), |scheme| scheme.algorithm().sign_kind())
    }

    fn check(&self, signature: &Vec<u8>) -> Result<(), CheckFailed> {
        let verifier = &self.key.half.verifier;
        if verifier.verifies(self.scheme, &self.message, signature) {
            return Ok(());
        }
        let fault = diagnose(verifier, self.scheme, &self.message, signature);
        match &self.fault {
            Some(tested) => {
                let _only_one_device_is_heard = tested.set(fault);
            }
            None => self.key.log(self.scheme, fault),
        }
        Err(CheckFailed(fault.summary()))
    }

    /// True for RSA: see the same method of [`CryptoOp`](crypto_ops::CryptoOp). And in a test of the key.
    fn must_check(&self) -> bool {
        self.key.half.is_rsa() || self.fault.is_some()
    }

    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }

    /// Overwrites the signature: an unchecked RSA signature may be as good as the private key.
    fn erase(mut signature: Vec<u8>) {
        signature.zeroize();
    }
}

impl fmt::Debug for SigningWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningWork")
            .field("key", &self.key_id())
            .field("scheme", &self.scheme())
            .field("message_len", &self.message.len())
            .finish()
    }
}

/// A key whose signatures an engine computes: for rustls, and for a handshake that is parked by replay.
#[derive(Clone)]
pub(crate) struct OffloadedSigningKey {
    engine: Arc<Engine<SigningWork>>,
    /// The private key, unless the device has it.
    key: Option<Arc<dyn SigningKey>>,
    named: Arc<NamedKey>,
    /// The schemes to offer, best first.
    schemes: Arc<[SignatureScheme]>,
}

impl OffloadedSigningKey {
    pub(crate) fn new(
        engine: Arc<Engine<SigningWork>>,
        key: Option<Arc<dyn SigningKey>>,
        half: Arc<PublicHalf>,
        id: Arc<str>,
    ) -> Self {
        let schemes = half.schemes.clone().into();
        let (made, complaints) = (Instant::now(), LogLimit::new());
        Self { engine, key, named: Arc::new(NamedKey { id, half, made, complaints }), schemes }
    }

    /// The same key with these schemes only.
    pub(crate) fn with_schemes(
        &self,
        schemes: impl IntoIterator<Item = SignatureScheme>,
    ) -> Result<Self, PublicKeyError> {
        Ok(Self { schemes: self.named.half.only(schemes)?.into(), ..self.clone() })
    }

    pub(crate) fn id(&self) -> &str {
        &self.named.id
    }

    pub(crate) fn schemes(&self) -> &[SignatureScheme] {
        &self.schemes
    }

    /// Signs a message that no peer will see. The place gets what is wrong with the signature.
    pub(crate) fn sign_for_test(
        &self,
        scheme: SignatureScheme,
    ) -> Result<(Pending<SigningWork>, Arc<OnceLock<SignatureFault>>), EngineError> {
        let no_scheme = DeviceError::Unsupported("the private key does not sign in this scheme");
        let signer = self.signer(&[scheme]).ok_or(EngineError::Device(no_scheme))?;
        let fault = Arc::default();
        let work =
            SigningWork { fault: Some(Arc::clone(&fault)), ..signer.work(TEST_MESSAGE.into()) };
        let pending = self.engine.submit(work);
        Ok((pending.map_err(|refused| EngineError::Refused(refused.reason))?, fault))
    }

    fn signer(&self, offered: &[SignatureScheme]) -> Option<OffloadedSigner> {
        let mut common = self.schemes.iter().copied().filter(|scheme| offered.contains(scheme));
        let (scheme, signer) = match &self.key {
            None => (common.next()?, None),
            // It has an order of its own.
            Some(key) => {
                let common: Vec<_> = common.collect();
                let signer = Arc::<dyn Signer>::from(key.choose_scheme(&common)?);
                let scheme = signer.scheme();
                (common.contains(&scheme).then_some(scheme)?, Some(signer))
            }
        };
        let (engine, key) = (Arc::clone(&self.engine), Arc::clone(&self.named));
        Some(OffloadedSigner { engine, key, signer, scheme })
    }
}

impl SubmitSignature for OffloadedSigningKey {
    fn submit(
        &self,
        scheme: SignatureScheme,
        message: &Message,
        notifier: Option<&Notifier>,
    ) -> PendingAnswer {
        let Some(signer) = self.signer(&[scheme]) else { return no_scheme() };
        submit(&self.engine, signer.work(message.clone()), notifier, |signature| {
            signature.map(Reply::Signature)
        })
    }
}

impl SigningKey for OffloadedSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.signer(offered)?))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.named.half.spki.as_ref()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.named.half.algorithm
    }
}

impl fmt::Debug for OffloadedSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffloadedSigningKey")
            .field("id", &self.id())
            .field("schemes", &self.schemes)
            .finish_non_exhaustive()
    }
}

struct OffloadedSigner {
    engine: Arc<Engine<SigningWork>>,
    key: Arc<NamedKey>,
    signer: Option<Arc<dyn Signer>>,
    scheme: SignatureScheme,
}

impl OffloadedSigner {
    fn work(&self, message: Message) -> SigningWork {
        SigningWork {
            key: Arc::clone(&self.key),
            signer: self.signer.clone(),
            scheme: self.scheme,
            message,
            fault: None,
        }
    }
}

impl Signer for OffloadedSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        // With a copy of the message: the device must never read from this stack.
        at_once::run(&self.engine, self.work(message.into()), "a signature").map_err(wrap)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl fmt::Debug for OffloadedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffloadedSigner").field("scheme", &self.scheme()).finish_non_exhaustive()
    }
}
