//! The public half of a key: its schemes, and checks of signatures with a provider's algorithms.

use core::fmt;
use std::sync::Arc;

use crypto_ops::encoding::rsa_public_numbers;
use crypto_ops::{KeyError, KeyHandle, Scheme, Verifier, key_algorithm, subject_public_key};
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;
use rustls::{Error, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite};

/// Why the signatures of a key cannot be checked. A mistake in the key's configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The key does not give its public half, and an unchecked signature must not leave the engine.
    #[error("the key does not give its public half: give the certificate too")]
    Absent,
    /// The chain is empty.
    #[error("the chain has no certificate: give the key's own first, then its issuers")]
    NoCertificate,
    /// The public half is no `SubjectPublicKeyInfo`.
    #[error("the public half is no SubjectPublicKeyInfo structure")]
    Malformed,
    /// The certificate cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Certificate(Error),
    /// The provider verifies no signature of such a key.
    #[error("the provider verifies no signature of this type of key: take another provider or key")]
    Unsupported,
    /// A scheme that the key cannot sign with.
    #[error("the key cannot sign with {0:?}: name some of its own schemes, {1:?}")]
    Scheme(SignatureScheme, Vec<SignatureScheme>),
    /// No scheme is left.
    #[error("no signature scheme is left: the key would fail every handshake")]
    NoScheme,
    /// The private key is not that of the certificate.
    #[error("the private key is not that of the first certificate of the chain")]
    OtherKey,
    /// A type of key that has no operation, or an RSA key of a size that is not accepted.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The provider has no SHA-256, which names the keys.
    #[error("the provider has no cipher suite with SHA-256")]
    NoSha256,
}

/// Makes the handle of a key from its certificate. Signatures are checked with the algorithms of `provider` alone.
///
/// # Errors
///
/// Any [`PublicKeyError`] but [`Absent`](PublicKeyError::Absent).
pub fn handle_of_certificate(
    certificate: &CertificateDer<'_>,
    provider: &CryptoProvider,
) -> Result<KeyHandle, PublicKeyError> {
    let spki = spki_of(certificate)?;
    let verifier = ProviderVerifier::new(&spki, provider)?;
    let fingerprint = sha256(&spki, provider).ok_or(PublicKeyError::NoSha256)?;
    Ok(KeyHandle::with_verifier(&spki, fingerprint, Arc::new(verifier))?)
}

/// The public half of the key in a certificate.
pub(crate) fn spki_of(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, PublicKeyError> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(PublicKeyError::Certificate)?;
    Ok(parsed.subject_public_key_info().into_owned())
}

/// The schemes that a key can sign with in any version of TLS, best first: PSS before PKCS #1, shorter digests first.
fn schemes_of(
    spki: &[u8],
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<Vec<SignatureScheme>, PublicKeyError> {
    let key = key_algorithm(spki).ok_or(PublicKeyError::Malformed)?;
    // The first algorithm of a scheme is that of TLS 1.3; the others let ECDSA sign with digests of other lengths.
    let fits = |algorithm: &&dyn SignatureVerificationAlgorithm| {
        algorithm.public_key_alg_id().as_ref() == key
    };
    let mapping = algorithms.mapping.iter();
    let fitting = mapping.filter(|(_, algorithms)| algorithms.first().is_some_and(fits));
    let mut schemes: Vec<_> = fitting.map(|(scheme, _)| *scheme).collect();
    schemes.sort_by_key(|scheme| (is_pkcs1(*scheme), u16::from(*scheme)));
    if schemes.is_empty() { Err(PublicKeyError::Unsupported) } else { Ok(schemes) }
}

pub(crate) fn is_pkcs1(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}

pub(crate) fn is_pss(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512
    )
}

/// What rustls calls the algorithm of a key, which selects cipher suites of TLS 1.2.
fn algorithm_of(scheme: SignatureScheme) -> SignatureAlgorithm {
    match scheme {
        rsa if is_pkcs1(rsa) || is_pss(rsa) => SignatureAlgorithm::RSA,
        SignatureScheme::ECDSA_NISTP256_SHA256
        | SignatureScheme::ECDSA_NISTP384_SHA384
        | SignatureScheme::ECDSA_NISTP521_SHA512 => SignatureAlgorithm::ECDSA,
        SignatureScheme::ED25519 => SignatureAlgorithm::ED25519,
        _ => SignatureAlgorithm::Unknown(0),
    }
}

/// The modulus of an RSA key must be of a size that verifiers accept.
fn check_rsa_size(public_key: &[u8]) -> Result<(), PublicKeyError> {
    let (modulus, _) = rsa_public_numbers(public_key).ok_or(PublicKeyError::Malformed)?;
    let mut digits = modulus.iter().skip_while(|byte| **byte == 0);
    let first = digits.next().map_or(0, |byte| 8 - byte.leading_zeros() as usize);
    match first + 8 * digits.count() {
        2048..=8192 => Ok(()),
        bits => Err(KeyError::RsaSize { bits }.into()),
    }
}

/// The public half of one key.
pub(crate) struct PublicHalf {
    pub(crate) spki: SubjectPublicKeyInfoDer<'static>,
    pub(crate) algorithm: SignatureAlgorithm,
    /// All schemes of the key, best first.
    pub(crate) schemes: Vec<SignatureScheme>,
    pub(crate) verifier: ProviderVerifier,
}

impl PublicHalf {
    pub(crate) fn new(
        spki: SubjectPublicKeyInfoDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, PublicKeyError> {
        let verifier = ProviderVerifier::new(&spki, provider)?;
        let schemes = schemes_of(&spki, verifier.algorithms)?;
        let algorithm = algorithm_of(schemes[0]);
        if algorithm == SignatureAlgorithm::RSA {
            check_rsa_size(&verifier.public_key)?;
        }
        Ok(Self { spki, algorithm, schemes, verifier })
    }

    /// That of the first certificate.
    pub(crate) fn of_chain(
        chain: &[CertificateDer<'_>],
        provider: &CryptoProvider,
    ) -> Result<Self, PublicKeyError> {
        let certificate = chain.first().ok_or(PublicKeyError::NoCertificate)?;
        Self::new(spki_of(certificate)?, provider)
    }

    pub(crate) fn is_rsa(&self) -> bool {
        self.algorithm == SignatureAlgorithm::RSA
    }

    /// The schemes named, if the key has them all.
    pub(crate) fn only(
        &self,
        schemes: impl IntoIterator<Item = SignatureScheme>,
    ) -> Result<Vec<SignatureScheme>, PublicKeyError> {
        let schemes: Vec<_> = schemes.into_iter().collect();
        match schemes.iter().find(|scheme| !self.schemes.contains(scheme)) {
            Some(other) => Err(PublicKeyError::Scheme(*other, self.schemes.clone())),
            None if schemes.is_empty() => Err(PublicKeyError::NoScheme),
            None => Ok(schemes),
        }
    }
}

/// Checks signatures by one key.
pub(crate) struct ProviderVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    public_key: Box<[u8]>,
}

impl ProviderVerifier {
    pub(crate) fn new(spki: &[u8], provider: &CryptoProvider) -> Result<Self, PublicKeyError> {
        let public_key = subject_public_key(spki).ok_or(PublicKeyError::Malformed)?;
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { algorithms, public_key: public_key.into() })
    }

    /// The bare key: a point, or a PKCS #1 `RSAPublicKey`.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Whether the signature is valid. One scheme may stand for several algorithms: TLS 1.2 names no curve.
    pub(crate) fn verifies(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let mapped = self.algorithms.mapping.iter().filter(|(mapped, _)| *mapped == scheme);
        mapped.flat_map(|(_, algorithms)| *algorithms).any(|algorithm| {
            algorithm.verify_signature(&self.public_key, message, signature).is_ok()
        })
    }
}

impl Verifier for ProviderVerifier {
    fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        self.verifies(SignatureScheme::from(scheme.to_u16()), message, signature)
    }
}

fn sha256(bytes: &[u8], provider: &CryptoProvider) -> Option<[u8; 32]> {
    let hash = provider.cipher_suites.iter().find_map(|suite| {
        let common = match suite {
            SupportedCipherSuite::Tls13(suite) => &suite.common,
            SupportedCipherSuite::Tls12(suite) => &suite.common,
        };
        let is_sha256 = common.hash_provider.algorithm() == HashAlgorithm::SHA256;
        is_sha256.then_some(common.hash_provider)
    })?;
    hash.hash(bytes).as_ref().try_into().ok()
}

impl fmt::Debug for PublicHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicHalf").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}
