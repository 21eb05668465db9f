//! Key algorithms, signature schemes, and what verifies signatures.

use std::fmt;

use engine_core::Kind;

/// The algorithm of a key, which determines the schemes it can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on NIST P-256 (FIPS 186-5).
    EcdsaP256,
    /// ECDSA on NIST P-384 (FIPS 186-5).
    EcdsaP384,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA (RFC 8017) with a modulus of 2048 to 8192 bits.
    Rsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519, Self::Rsa];

    /// The schemes a key of this algorithm can sign with, best first.
    ///
    /// For RSA, PSS comes before PKCS #1 v1.5, which TLS 1.3 does not accept in a handshake (RFC 8446, section 4.2.3).
    pub const fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::EcdsaP256 => &[Scheme::EcdsaP256Sha256],
            Self::EcdsaP384 => &[Scheme::EcdsaP384Sha384],
            Self::Ed25519 => &[Scheme::Ed25519],
            Self::Rsa => &[
                Scheme::RsaPssSha256,
                Scheme::RsaPssSha384,
                Scheme::RsaPssSha512,
                Scheme::RsaPkcs1Sha256,
                Scheme::RsaPkcs1Sha384,
                Scheme::RsaPkcs1Sha512,
            ],
        }
    }

    /// The [`Kind`] of a signature with such a key: one per algorithm, because the algorithm determines how long a
    /// device takes.
    pub const fn sign_kind(self) -> Kind {
        match self {
            Self::EcdsaP256 => Kind::new("sign-ecdsa-p256"),
            Self::EcdsaP384 => Kind::new("sign-ecdsa-p384"),
            Self::Ed25519 => Kind::new("sign-ed25519"),
            Self::Rsa => Kind::new("sign-rsa"),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        })
    }
}

/// A signature scheme as TLS negotiates it: algorithm, padding and digest.
///
/// The number is the `SignatureScheme` code point of RFC 8446, section 4.2.3. TLS 1.2 encodes hash and signature
/// algorithm in the same two bytes, so the numbers are valid there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum Scheme {
    /// `ecdsa_secp256r1_sha256`; the signature is DER.
    EcdsaP256Sha256 = 0x0403,
    /// `ecdsa_secp384r1_sha384`; the signature is DER.
    EcdsaP384Sha384 = 0x0503,
    /// `ed25519`; the signature is 64 bytes.
    Ed25519 = 0x0807,
    /// `rsa_pkcs1_sha256`; as with every RSA scheme, the signature is as long as the modulus.
    RsaPkcs1Sha256 = 0x0401,
    /// `rsa_pkcs1_sha384`.
    RsaPkcs1Sha384 = 0x0501,
    /// `rsa_pkcs1_sha512`.
    RsaPkcs1Sha512 = 0x0601,
    /// `rsa_pss_rsae_sha256`; the salt is as long as the digest.
    RsaPssSha256 = 0x0804,
    /// `rsa_pss_rsae_sha384`.
    RsaPssSha384 = 0x0805,
    /// `rsa_pss_rsae_sha512`.
    RsaPssSha512 = 0x0806,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 9] = [
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::Ed25519,
        Self::RsaPkcs1Sha256,
        Self::RsaPkcs1Sha384,
        Self::RsaPkcs1Sha512,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
    ];

    /// The TLS code point.
    pub const fn to_u16(self) -> u16 {
        self as u16
    }

    /// The scheme with this TLS code point, or `None` when it is not supported.
    pub fn from_u16(code_point: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.to_u16() == code_point)
    }

    /// The algorithm of the keys that can sign with this scheme.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::EcdsaP256Sha256 => Algorithm::EcdsaP256,
            Self::EcdsaP384Sha384 => Algorithm::EcdsaP384,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::RsaPkcs1Sha256
            | Self::RsaPkcs1Sha384
            | Self::RsaPkcs1Sha512
            | Self::RsaPssSha256
            | Self::RsaPssSha384
            | Self::RsaPssSha512 => Algorithm::Rsa,
        }
    }
}

/// The name in the TLS registry, such as `rsa_pss_rsae_sha256`.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256Sha256 => "ecdsa_secp256r1_sha256",
            Self::EcdsaP384Sha384 => "ecdsa_secp384r1_sha384",
            Self::Ed25519 => "ed25519",
            Self::RsaPkcs1Sha256 => "rsa_pkcs1_sha256",
            Self::RsaPkcs1Sha384 => "rsa_pkcs1_sha384",
            Self::RsaPkcs1Sha512 => "rsa_pkcs1_sha512",
            Self::RsaPssSha256 => "rsa_pss_rsae_sha256",
            Self::RsaPssSha384 => "rsa_pss_rsae_sha384",
            Self::RsaPssSha512 => "rsa_pss_rsae_sha512",
        })
    }
}

/// Verifies signatures with one public key. A [`KeyHandle`](crate::KeyHandle) checks signatures with it.
pub trait Verifier: Send + Sync {
    /// Whether `signature` is the key's signature of `message` under `scheme`, which is one of the key's schemes.
    fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_are_distinct_and_read_back() {
        for scheme in Scheme::ALL {
            assert_eq!(Scheme::from_u16(scheme.to_u16()), Some(scheme));
        }
        let ours = (0..=u16::MAX).filter_map(Scheme::from_u16).count();
        assert_eq!(ours, Scheme::ALL.len());
    }

    #[test]
    fn each_scheme_belongs_to_exactly_the_algorithm_that_lists_it() {
        for scheme in Scheme::ALL {
            let owners: Vec<_> =
                Algorithm::ALL.into_iter().filter(|a| a.schemes().contains(&scheme)).collect();
            assert_eq!(owners, [scheme.algorithm()]);
        }
    }
}
