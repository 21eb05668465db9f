//! Checks of signatures with a provider's algorithms and a public key.

use std::sync::Arc;

use crypto_ops::{KeyError, KeyHandle, Scheme, Verifier, subject_public_key};
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;
use rustls::{Error, SignatureScheme, SupportedCipherSuite};

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
    /// A type of key that has no operation.
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
