//! The name of a key, and its public half.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use crate::der::{self, Envelope, Found};
use crate::error::KeyError;
use crate::scheme::{Algorithm, Scheme};
use engine_core::CheckFailed;

/// The name of a key: the SHA-256 fingerprint of its public half.
///
/// One key has one name, in whichever store or device it lies and in every process: a software
/// key held as the fallback of a device key answers to the same handle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The whole fingerprint, as RFC 7469 defines it for pinning: SHA-256 over the public key's
    /// `SubjectPublicKeyInfo`.
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first eight bytes in hexadecimal: enough to tell keys apart in a log.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A key as everybody but its store knows it: its name and its public half.
///
/// The private half never leaves the store or device that holds it. A handle is one pointer to
/// clone, and may be used from any thread. Two handles are equal when they name the same key.
#[derive(Clone)]
pub struct KeyHandle(Arc<PublicHalf>);

impl KeyHandle {
    /// Makes the handle of a key that lies elsewhere, in a token for instance, from its public
    /// half: the DER of a `SubjectPublicKeyInfo` (RFC 5280), as certificates carry it. Only the
    /// usual encoding is accepted: uncompressed points, and NULL parameters for RSA.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsupported`], [`KeyError::RsaSize`] or [`KeyError::Malformed`].
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { format: "SubjectPublicKeyInfo" };
        let algorithm = match der::algorithm(Envelope::Spki, spki).ok_or_else(malformed)? {
            Found::P256 => Algorithm::EcdsaP256,
            Found::P384 => Algorithm::EcdsaP384,
            Found::Ed25519 => Algorithm::Ed25519,
            Found::Rsa => Algorithm::Rsa,
            Found::Other(found) => return Err(KeyError::Unsupported { found }),
        };
        let rsa_bytes = match algorithm {
            Algorithm::Rsa => rsa_bytes(spki)?,
            _ => 0,
        };
        // aws-lc-rs fixes the scheme when it parses, so a key is parsed once for each: cheaper
        // than once for each check.
        let verifiers = algorithm
            .schemes()
            .iter()
            .map(|&scheme| ParsedPublicKey::new(verification(scheme), spki))
            .collect::<Result<Box<[_]>, _>>()
            .map_err(|_| malformed())?;
        // One key has one encoding, hence one fingerprint; the parser alone would let some others
        // pass.
        if verifiers[0].as_der().map_err(|_| malformed())?.as_ref() != spki {
            return Err(malformed());
        }
        Ok(Self(Arc::new(PublicHalf {
            id: fingerprint(spki),
            spki: spki.into(),
            algorithm,
            verifiers,
            rsa_bytes,
        })))
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The schemes this key signs with, best first.
    pub fn schemes(&self) -> &'static [Scheme] {
        self.0.algorithm.schemes()
    }

    /// The public half: the DER of its `SubjectPublicKeyInfo` (RFC 5280).
    pub fn public_key(&self) -> &[u8] {
        &self.0.spki
    }

    /// The greatest length in bytes of a signature with this key. RSA and Ed25519 signatures
    /// always have it; ECDSA signatures, being DER, may be a few bytes shorter.
    pub fn max_signature_len(&self) -> usize {
        match self.0.algorithm {
            // SEQUENCE { r INTEGER, s INTEGER }, each perhaps with a leading zero byte.
            Algorithm::EcdsaP256 => 2 + 2 * (2 + 33),
            Algorithm::EcdsaP384 => 2 + 2 * (2 + 49),
            Algorithm::Ed25519 => 64,
            Algorithm::Rsa => self.0.rsa_bytes,
        }
    }

    /// Verifies with the public half that `signature` is this key's signature of `message` under
    /// `scheme`.
    ///
    /// # Errors
    ///
    /// [`CheckFailed`] when it is not, or when `scheme` is none of this key's.
    pub fn check(
        &self,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CheckFailed> {
        let at = self
            .schemes()
            .iter()
            .position(|&own| own == scheme)
            .ok_or(CheckFailed("the scheme is none of the key's"))?;
        self.0.verifiers[at]
            .verify_sig(message, signature)
            .map_err(|_| CheckFailed("the signature does not verify with the public key"))
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

struct PublicHalf {
    id: KeyId,
    spki: Box<[u8]>,
    algorithm: Algorithm,
    /// In the order of the algorithm's schemes.
    verifiers: Box<[ParsedPublicKey]>,
    /// The length of the modulus; 0 for a key that is not RSA.
    rsa_bytes: usize,
}

fn fingerprint(spki: &[u8]) -> KeyId {
    let mut id = [0; 32];
    id.copy_from_slice(digest(&SHA256, spki).as_ref());
    KeyId(id)
}

/// The length of an RSA modulus in bytes, once its length in bits is found acceptable.
fn rsa_bytes(spki: &[u8]) -> Result<usize, KeyError> {
    let refused = match der::spki_rsa_modulus_bits(spki) {
        Some(bits) if !KeyError::RSA_BITS.contains(&bits) => KeyError::RsaSize { bits },
        _ => KeyError::Malformed { format: "SubjectPublicKeyInfo" },
    };
    PublicEncryptingKey::from_der(spki).map(|key| key.key_size_bytes()).map_err(|_| refused)
}

fn verification(scheme: Scheme) -> &'static dyn VerificationAlgorithm {
    match scheme {
        Scheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        Scheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        Scheme::Ed25519 => &signature::ED25519,
        Scheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Scheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Scheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Scheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        Scheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        Scheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
    }
}
