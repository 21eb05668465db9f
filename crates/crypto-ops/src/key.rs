//! Handles of keys, with their public half.

use std::fmt;
use std::sync::Arc;

use engine_core::CheckFailed;

use crate::der::{self, DerAlgorithm, Envelope};
use crate::error::KeyError;
use crate::key_id::KeyId;
#[cfg(feature = "aws-lc-rs")]
use crate::parsed::{ParsedVerifier, sha256};
use crate::scheme::{Algorithm, Scheme, Verifier};

/// A key without its private half: its name, its public key, and the verifier of its signatures.
///
/// The private half never leaves the store or device that holds it. Cloning a handle copies one pointer. Handles are
/// equal when they name the same key.
#[derive(Clone)]
pub struct KeyHandle(Arc<PublicHalf>);

impl KeyHandle {
    /// Makes the handle of a key in another store, for instance a token, from its public half: the DER of a
    /// `SubjectPublicKeyInfo` (RFC 5280), as in certificates. Points must be uncompressed, and RSA parameters NULL.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsupported`], [`KeyError::RsaSize`] or [`KeyError::Malformed`].
    #[cfg(feature = "aws-lc-rs")]
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        let algorithm = Self::algorithm_of(spki)?;
        let verifier = ParsedVerifier::new(algorithm, spki)?;
        Self::with_verifier(spki, sha256(spki), Arc::new(verifier))
    }

    /// As `from_spki_der`, with the cryptography of the caller: `fingerprint` must be the SHA-256 of `spki`, and
    /// `verifier` must verify signatures with this public key. Neither is checked.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsupported`], [`KeyError::RsaSize`] or [`KeyError::Malformed`].
    pub fn with_verifier(
        spki: &[u8],
        fingerprint: [u8; 32],
        verifier: Arc<dyn Verifier>,
    ) -> Result<Self, KeyError> {
        let algorithm = Self::algorithm_of(spki)?;
        let rsa_bytes = match algorithm {
            Algorithm::Rsa => rsa_bytes(spki)?,
            _ => 0,
        };
        let id = KeyId::new(fingerprint);
        Ok(Self(Arc::new(PublicHalf { id, spki: spki.into(), algorithm, verifier, rsa_bytes })))
    }

    fn algorithm_of(spki: &[u8]) -> Result<Algorithm, KeyError> {
        match der::algorithm(Envelope::Spki, spki).ok_or(MALFORMED)? {
            DerAlgorithm::P256 => Ok(Algorithm::EcdsaP256),
            DerAlgorithm::P384 => Ok(Algorithm::EcdsaP384),
            DerAlgorithm::Ed25519 => Ok(Algorithm::Ed25519),
            DerAlgorithm::Rsa => Ok(Algorithm::Rsa),
            DerAlgorithm::Other(found) => Err(KeyError::Unsupported { found }),
        }
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The schemes this key can sign with, best first.
    pub fn schemes(&self) -> &'static [Scheme] {
        self.0.algorithm.schemes()
    }

    /// The public half: the DER of its `SubjectPublicKeyInfo` (RFC 5280).
    pub fn public_key(&self) -> &[u8] {
        &self.0.spki
    }

    /// The maximum length in bytes of a signature with this key. ECDSA signatures may be a few bytes shorter, because
    /// they are DER; RSA and Ed25519 signatures always have this length.
    pub fn max_signature_len(&self) -> usize {
        match self.0.algorithm {
            // SEQUENCE { r INTEGER, s INTEGER }, with up to one leading zero byte in each.
            Algorithm::EcdsaP256 => 2 + 2 * (2 + 33),
            Algorithm::EcdsaP384 => 2 + 2 * (2 + 49),
            Algorithm::Ed25519 => 64,
            Algorithm::Rsa => self.0.rsa_bytes,
        }
    }

    /// Verifies that `signature` is this key's signature of `message` under `scheme`.
    ///
    /// # Errors
    ///
    /// [`CheckFailed`] when it is not, or when this key cannot sign with `scheme`.
    pub fn check(
        &self,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CheckFailed> {
        if scheme.algorithm() != self.algorithm() {
            return Err(CheckFailed("the key cannot sign with this scheme"));
        }
        match self.0.verifier.verify(scheme, message, signature) {
            true => Ok(()),
            false => Err(CheckFailed("the signature does not verify with the public key")),
        }
    }
}

impl PartialEq for KeyHandle {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for KeyHandle {}

impl fmt::Debug for KeyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHandle")
            .field("id", &self.0.id)
            .field("algorithm", &self.0.algorithm)
            .finish_non_exhaustive()
    }
}

/// The bare key within the DER of a `SubjectPublicKeyInfo` (RFC 5280): a point, or a PKCS #1 `RSAPublicKey`. `None` when
/// `spki` is not such a structure.
pub fn subject_public_key(spki: &[u8]) -> Option<&[u8]> {
    der::spki_public_key(spki)
}

/// The algorithm of the key in the DER of a `SubjectPublicKeyInfo`: the content of its `AlgorithmIdentifier`, without the
/// outer `SEQUENCE`, as rustls compares it. `None` when `spki` is not such a structure.
pub fn key_algorithm(spki: &[u8]) -> Option<&[u8]> {
    der::spki_algorithm(spki)
}

struct PublicHalf {
    id: KeyId,
    spki: Box<[u8]>,
    algorithm: Algorithm,
    verifier: Arc<dyn Verifier>,
    /// The length of the modulus in bytes; 0 when the key is not RSA.
    rsa_bytes: usize,
}

const MALFORMED: KeyError = KeyError::Malformed { format: "SubjectPublicKeyInfo" };

/// The length in bytes of an RSA modulus of an accepted size.
fn rsa_bytes(spki: &[u8]) -> Result<usize, KeyError> {
    match der::spki_rsa_modulus_bits(spki) {
        Some(bits) if KeyError::RSA_BITS.contains(&bits) => Ok(bits.div_ceil(8)),
        Some(bits) => Err(KeyError::RsaSize { bits }),
        None => Err(MALFORMED),
    }
}
