//! Verification of signatures with aws-lc-rs.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use crate::error::KeyError;
use crate::scheme::{Algorithm, Scheme, Verifier};

/// A public key, parsed once for each of its schemes, because aws-lc-rs binds a parsed key to one scheme.
pub(crate) struct ParsedVerifier(Box<[(Scheme, ParsedPublicKey)]>);

impl ParsedVerifier {
    pub(crate) fn new(algorithm: Algorithm, spki: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { format: "SubjectPublicKeyInfo" };
        let parsed = algorithm
            .schemes()
            .iter()
            .map(|&scheme| Ok((scheme, ParsedPublicKey::new(verification(scheme), spki)?)))
            .collect::<Result<Box<[_]>, aws_lc_rs::error::KeyRejected>>()
            .map_err(|_| malformed())?;
        // The parser accepts several encodings of a key; each would have a fingerprint of its own.
        if parsed[0].1.as_der().map_err(|_| malformed())?.as_ref() != spki {
            return Err(malformed());
        }
        Ok(Self(parsed))
    }
}

impl Verifier for ParsedVerifier {
    fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        let parsed = self.0.iter().find(|(parsed_for, _)| *parsed_for == scheme);
        parsed.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
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
