//! What is wrong with a signature that does not verify, as far as its bytes tell.
//!
//! A pure function of the public key, the scheme, the message and the signature. Nothing in it is secret but the signature,
//! of which nothing is kept or shown.

use core::fmt;

use crypto_ops::encoding::{digest_info, raw_from_der, rsa_public_numbers};
use rustls::SignatureScheme;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::rustls23::public_key::{ProviderVerifier, is_pkcs1, is_pss};
use crate::rustls23::rsa_power::power;

/// What is wrong with a signature, in the terms of the closure that made it and of the device's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureFault {
    /// The two numbers of an ECDSA signature side by side.
    RawEcdsa {
        /// The length of both.
        len: usize,
    },
    /// The device signed the message where it had to sign its digest.
    NotHashed,
    /// The device hashed the digest that it was given.
    HashedTwice,
    /// The device signed a digest where it had to sign the message: Ed25519, ML-DSA.
    Hashed,
    /// Another hash.
    OtherHash {
        /// The bits of the digest that was signed.
        found: usize,
        /// The bits of the scheme's digest.
        wanted: usize,
    },
    /// The salt of PSS is of another length than the digest.
    SaltLength {
        /// In bytes.
        found: usize,
        /// In bytes.
        wanted: usize,
    },
    /// The mask of PSS was generated with another hash than the scheme's.
    MaskHash {
        /// The bits of the hash that was used.
        found: usize,
        /// The bits of the scheme's hash.
        wanted: usize,
    },
    /// The padding of PKCS #1 v1.5 in place of PSS.
    Pkcs1ForPss,
    /// PSS in place of the padding of PKCS #1 v1.5.
    PssForPkcs1,
    /// PKCS #1 v1.5 around a bare digest.
    NoDigestInfo,
    /// A signature of a well-formed other message, or with another digest.
    OtherMessage,
    /// Of a length that no signature with the certificate's key has.
    Length {
        /// In bytes.
        found: usize,
        /// In bytes.
        wanted: usize,
    },
    /// Not an encoded signature of this kind at all.
    Malformed {
        /// In bytes.
        len: usize,
    },
    /// Well-formed, and yet not of the certificate's key.
    OtherKey,
    /// An ECDSA signature of another key, or of the message where its digest had to be signed: without the feature
    /// `aws-lc-rs` there is no check that tells the two apart.
    OtherKeyOrNotHashed,
}

impl SignatureFault {
    /// The fault without its numbers.
    pub(crate) const fn summary(self) -> &'static str {
        match self {
            Self::RawEcdsa { .. } => "raw r||s, TLS wants DER (`der_from_raw`)",
            Self::NotHashed => "the message was not hashed: sign its digest (`digest`)",
            Self::HashedTwice => {
                "the digest was hashed again: give the device the message, or tell it not to hash"
            }
            Self::Hashed => "a digest was signed: this scheme signs the message itself (`message`)",
            Self::OtherHash { .. } => "signed with another hash than the scheme's",
            Self::SaltLength { .. } => "the PSS salt must be as long as the digest",
            Self::MaskHash { .. } => "the mask of PSS must be generated with the scheme's hash",
            Self::Pkcs1ForPss => "padded as PKCS #1 v1.5 instead of PSS",
            Self::PssForPkcs1 => "padded as PSS instead of PKCS #1 v1.5",
            Self::NoDigestInfo => {
                "no name of the hash before the digest: pad `pkcs1_digest_info` instead"
            }
            Self::OtherMessage => "a signature of another message",
            Self::Length { .. } | Self::OtherKey => "another key than the certificate's",
            Self::OtherKeyOrNotHashed => {
                "another key than the certificate's, or the message was not hashed: sign its digest (`digest`)"
            }
            Self::Malformed { .. } => "no signature in the encoding of TLS",
        }
    }
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RawEcdsa { len } => write!(f, "{len} bytes: {}", self.summary()),
            Self::OtherHash { found, wanted } => {
                write!(f, "signed with SHA-{found} instead of SHA-{wanted}")
            }
            Self::SaltLength { found, wanted } => write!(f, "PSS salt {found} instead of {wanted}"),
            Self::MaskHash { found, wanted } => {
                write!(f, "the mask of PSS is of SHA-{found} instead of SHA-{wanted}")
            }
            Self::Length { found, wanted } => {
                write!(f, "{found} bytes instead of {wanted}: {}", self.summary())
            }
            Self::Malformed { len } => write!(f, "{len} bytes: {}", self.summary()),
            _ => f.write_str(self.summary()),
        }
    }
}

/// The hashes of TLS's schemes, by the bits of their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// That of a scheme; `None` if it signs the message itself.
    pub(crate) const fn of(scheme: SignatureScheme) -> Option<Self> {
        Some(match scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PSS_SHA256 => Self::Sha256,
            SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PSS_SHA384 => Self::Sha384,
            SignatureScheme::ECDSA_NISTP521_SHA512
            | SignatureScheme::RSA_PKCS1_SHA512
            | SignatureScheme::RSA_PSS_SHA512 => Self::Sha512,
            _ => return None,
        })
    }

    pub(crate) fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    const fn bits(self) -> usize {
        match self {
            Self::Sha256 => 256,
            Self::Sha384 => 384,
            Self::Sha512 => 512,
        }
    }
}

/// Finds out why `signature`, which does not verify, is not one of `message` in `scheme` with the verifier's key.
pub(crate) fn diagnose(
    verifier: &ProviderVerifier,
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
) -> SignatureFault {
    if is_pkcs1(scheme) || is_pss(scheme) {
        return rsa(verifier.public_key(), scheme, message, signature)
            .unwrap_or(SignatureFault::OtherKey);
    }
    let Some(hash) = Hash::of(scheme) else {
        return bare(verifier, scheme, message, signature);
    };
    ecdsa(verifier, scheme, hash, message, signature, signs_bare)
}

/// Whether the first bytes of the message were signed as if they were its digest, which is what devices do that take a
/// digest and are given the message; by a hash, a public key, the message and the signature. `None` if that cannot be told.
type SignsBare = fn(Hash, &[u8], &[u8], &[u8]) -> Option<bool>;

/// Ed25519 and ML-DSA.
fn bare(
    verifier: &ProviderVerifier,
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
) -> SignatureFault {
    let wanted = match scheme {
        SignatureScheme::ED25519 => 64,
        SignatureScheme::ML_DSA_44 => 2420,
        SignatureScheme::ML_DSA_65 => 3309,
        SignatureScheme::ML_DSA_87 => 4627,
        _ => signature.len(),
    };
    if signature.len() != wanted {
        return SignatureFault::Length { found: signature.len(), wanted };
    }
    let hashed = |hash: Hash| verifier.verifies(scheme, &hash.digest(message), signature);
    if Hash::ALL.into_iter().any(hashed) {
        return SignatureFault::Hashed;
    }
    SignatureFault::OtherKey
}

fn ecdsa(
    verifier: &ProviderVerifier,
    scheme: SignatureScheme,
    hash: Hash,
    message: &[u8],
    signature: &[u8],
    signs_bare: SignsBare,
) -> SignatureFault {
    let number = match hash {
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 66,
    };
    let len = signature.len();
    if raw_from_der(signature, number).is_none() {
        // Whatever was signed: two numbers side by side have exactly this length.
        let is_raw = len == 2 * number;
        return if is_raw {
            SignatureFault::RawEcdsa { len }
        } else {
            SignatureFault::Malformed { len }
        };
    }
    if verifier.verifies(scheme, &hash.digest(message), signature) {
        return SignatureFault::HashedTwice;
    }
    // TLS 1.2 has a scheme for each hash, on any curve.
    for (other, its_scheme) in [
        (Hash::Sha256, SignatureScheme::ECDSA_NISTP256_SHA256),
        (Hash::Sha384, SignatureScheme::ECDSA_NISTP384_SHA384),
        (Hash::Sha512, SignatureScheme::ECDSA_NISTP521_SHA512),
    ] {
        if other != hash && verifier.verifies(its_scheme, message, signature) {
            return SignatureFault::OtherHash { found: other.bits(), wanted: hash.bits() };
        }
    }
    match signs_bare(hash, verifier.public_key(), message, signature) {
        Some(true) => SignatureFault::NotHashed,
        Some(false) => SignatureFault::OtherKey,
        None => SignatureFault::OtherKeyOrNotHashed,
    }
}

#[cfg(feature = "aws-lc-rs")]
fn signs_bare(hash: Hash, public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    use aws_lc_rs::{digest, signature};
    let (algorithm, digest): (&signature::EcdsaVerificationAlgorithm, _) = match hash {
        Hash::Sha256 => (&signature::ECDSA_P256_SHA256_ASN1, &digest::SHA256),
        Hash::Sha384 => (&signature::ECDSA_P384_SHA384_ASN1, &digest::SHA384),
        Hash::Sha512 => (&signature::ECDSA_P521_SHA512_ASN1, &digest::SHA512),
    };
    let first = message.get(..hash.bits() / 8);
    let first = first.and_then(|first| digest::Digest::import_less_safe(first, digest).ok());
    let key = signature::UnparsedPublicKey::new(algorithm, public_key);
    Some(first.is_some_and(|first| key.verify_digest(&first, signature).is_ok()))
}

/// No other provider verifies a digest.
#[cfg(not(feature = "aws-lc-rs"))]
fn signs_bare(_: Hash, _: &[u8], _: &[u8], _: &[u8]) -> Option<bool> {
    None
}

/// RSA shows what was signed: the signature raised to the public exponent is the padded digest. `None` if it is nothing of
/// the kind, and so the work of another key.
fn rsa(
    public_key: &[u8],
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
) -> Option<SignatureFault> {
    let (modulus, exponent) = rsa_public_numbers(public_key)?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let wanted = modulus.len() - first;
    let bits = 8 * wanted - modulus[first].leading_zeros() as usize;
    if signature.len() != wanted {
        return Some(SignatureFault::Length { found: signature.len(), wanted });
    }
    // What is recovered from a signature that is wrong by a fault of the device's may give the key away: each copy is wiped.
    let encoded = power(signature, exponent, modulus)?;
    let hash = Hash::of(scheme)?;
    match (pkcs1_payload(&encoded), is_pss(scheme)) {
        (Some(_), true) => Some(SignatureFault::Pkcs1ForPss),
        (Some(payload), false) => Some(pkcs1(payload, hash, message)),
        (None, for_pss) => {
            // The encoding is one bit shorter than the modulus.
            let encoded = &encoded[wanted - (bits - 1).div_ceil(8)..];
            let (mask, fault) = pss(encoded, bits - 1, hash, message)?;
            if !for_pss {
                return Some(SignatureFault::PssForPkcs1);
            }
            let found = mask.bits();
            Some(match fault {
                None if mask != hash => SignatureFault::MaskHash { found, wanted: hash.bits() },
                fault => fault.unwrap_or(SignatureFault::OtherKey),
            })
        }
    }
}

/// What PKCS #1 v1.5 padding is around.
fn pkcs1_payload(encoded: &[u8]) -> Option<&[u8]> {
    let rest = encoded.strip_prefix(&[0, 1])?;
    let ones = rest.iter().take_while(|byte| **byte == 0xff).count();
    (ones >= 8).then(|| rest[ones..].strip_prefix(&[0]))?
}

fn pkcs1(payload: &[u8], hash: Hash, message: &[u8]) -> SignatureFault {
    let digest = hash.digest(message);
    let info = |digest: &[u8]| digest_info(digest).unwrap_or_default();
    if payload == message {
        return SignatureFault::NotHashed;
    }
    if payload == digest {
        return SignatureFault::NoDigestInfo;
    }
    for found in Hash::ALL {
        // Padded bare or with its name, also by a device that was given the digest of the right hash and hashes it.
        let again = found.digest(&digest);
        if payload == info(&again) || payload == again {
            return SignatureFault::HashedTwice;
        }
        let other = found.digest(message);
        if found != hash && (payload == info(&other) || payload == other) {
            return SignatureFault::OtherHash { found: found.bits(), wanted: hash.bits() };
        }
    }
    SignatureFault::OtherMessage
}

/// Reads an encoding of PSS (RFC 8017, section 9.1.2): the hash of its mask, and what else is wrong, if anything is. `None`
/// if it is no such encoding.
fn pss(
    encoded: &[u8],
    bits: usize,
    hash: Hash,
    message: &[u8],
) -> Option<(Hash, Option<SignatureFault>)> {
    let inner = encoded.strip_suffix(&[0xbc])?;
    // The digest inside may be of another hash, and the mask of a third.
    let readings = Hash::ALL.iter().flat_map(|digest| Hash::ALL.map(|mask| (*digest, mask)));
    readings.into_iter().find_map(|(inside, mask)| {
        let (masked, h) = inner.split_at_checked(inner.len().checked_sub(inside.bits() / 8)?)?;
        let mut db = Zeroizing::new(masked.to_vec());
        let generated = mgf1(mask, h, db.len());
        db.iter_mut().zip(generated).for_each(|(byte, mask)| *byte ^= mask);
        *db.first_mut()? &= 0xff >> (8 * encoded.len() - bits);
        let zeros = db.iter().take_while(|byte| **byte == 0).count();
        let salt = db[zeros..].strip_prefix(&[1])?;
        let matches = |hashed: &[u8]| {
            let parts = [&[0; 8][..], hashed, salt].concat();
            inside.digest(&parts) == h
        };
        let right = hash.digest(message);
        let fault = if inside == hash && matches(&right) {
            let (found, wanted) = (salt.len(), hash.bits() / 8);
            (found != wanted).then_some(SignatureFault::SaltLength { found, wanted })
        } else if matches(message) {
            Some(SignatureFault::NotHashed)
        } else if matches(&inside.digest(&right)) {
            Some(SignatureFault::HashedTwice)
        } else if matches(&inside.digest(message)) {
            Some(SignatureFault::OtherHash { found: inside.bits(), wanted: hash.bits() })
        } else if zeros + 1 + salt.len() == db.len() && zeros >= 8 {
            Some(SignatureFault::OtherMessage)
        } else {
            return None;
        };
        Some((mask, fault))
    })
}

fn mgf1(hash: Hash, seed: &[u8], len: usize) -> Vec<u8> {
    let mut mask = Vec::with_capacity(len + 64);
    for counter in 0_u32.. {
        if mask.len() >= len {
            break;
        }
        mask.extend(hash.digest(&[seed, &counter.to_be_bytes()].concat()));
    }
    mask.truncate(len);
    mask
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests;
