//! What a token is asked for a signature of TLS, and what TLS wants of its answer.

use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::types::Ulong;
use ssl_async::crypto_ops::encoding::der_from_raw;
use ssl_async::offload::SigningWork;
use ssl_async::rustls::SignatureScheme;

/// A mechanism and its input. The digest is always computed here: what a token hashes by itself differs from token to token,
/// and a digest is short.
pub(crate) fn request(work: &SigningWork) -> Option<(Mechanism<'static>, Vec<u8>)> {
    let pss = |hash_alg, mgf, length| {
        let params = PkcsPssParams { hash_alg, mgf, s_len: Ulong::new(length) };
        Some((Mechanism::RsaPkcsPss(params), work.digest()?))
    };
    match work.scheme() {
        SignatureScheme::RSA_PSS_SHA256 => pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
        SignatureScheme::RSA_PSS_SHA384 => pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
        SignatureScheme::RSA_PSS_SHA512 => pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
        SignatureScheme::RSA_PKCS1_SHA256
        | SignatureScheme::RSA_PKCS1_SHA384
        | SignatureScheme::RSA_PKCS1_SHA512 => {
            Some((Mechanism::RsaPkcs, work.pkcs1_digest_info()?))
        }
        SignatureScheme::ECDSA_NISTP256_SHA256
        | SignatureScheme::ECDSA_NISTP384_SHA384
        | SignatureScheme::ECDSA_NISTP521_SHA512 => Some((Mechanism::Ecdsa, work.digest()?)),
        SignatureScheme::ED25519 => {
            let plain = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            Some((Mechanism::Eddsa(plain), work.message().to_vec()))
        }
        _ => None,
    }
}

/// The signature as TLS encodes it. `None` if the token's answer is no signature.
pub(crate) fn encoded(scheme: SignatureScheme, raw: Vec<u8>) -> Option<Vec<u8>> {
    match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
        | SignatureScheme::ECDSA_NISTP384_SHA384
        | SignatureScheme::ECDSA_NISTP521_SHA512 => der_from_raw(&raw),
        _ => Some(raw),
    }
}
