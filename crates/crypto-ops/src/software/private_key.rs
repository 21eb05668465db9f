//! Private keys in memory.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};

use crate::error::KeyError;
use crate::key::KeyHandle;
use crate::scheme::Scheme;

/// A private key. aws-lc wipes it when it is dropped.
pub(crate) enum PrivateKey {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    pub(crate) fn handle(&self) -> Result<KeyHandle, KeyError> {
        let spki = match self {
            Self::Ecdsa(key) => key.public_key().as_der(),
            Self::Ed25519(key) => key.public_key().as_der(),
            Self::Rsa(key) => key.public_key().as_der(),
        };
        let spki = spki.map_err(|_| KeyError::Malformed { format: "private key" })?;
        KeyHandle::from_spki_der(spki.as_ref())
    }

    pub(crate) fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        // aws-lc ignores this and uses its own generator.
        let rng = &SystemRandom::new();
        match self {
            Self::Ecdsa(key) => Ok(key.sign(rng, message)?.as_ref().to_vec()),
            Self::Ed25519(key) => Ok(key.try_sign(message)?.as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(rsa_padding(scheme)?, rng, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

fn rsa_padding(scheme: Scheme) -> Result<&'static dyn RsaEncoding, Unspecified> {
    Ok(match scheme {
        Scheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_SHA512,
        Scheme::RsaPssSha256 => &signature::RSA_PSS_SHA256,
        Scheme::RsaPssSha384 => &signature::RSA_PSS_SHA384,
        Scheme::RsaPssSha512 => &signature::RSA_PSS_SHA512,
        Scheme::EcdsaP256Sha256 | Scheme::EcdsaP384Sha384 | Scheme::Ed25519 => {
            return Err(Unspecified);
        }
    })
}
