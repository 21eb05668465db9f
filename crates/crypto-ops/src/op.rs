//! What an engine carries: an operation there, its output back.

use std::fmt;

use zeroize::Zeroize;

use crate::scheme::Algorithm;
use crate::sign::SignOp;
use engine_core::{CheckFailed, Kind, Work};

/// An operation of a TLS handshake that can be computed elsewhere and later.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CryptoOp {
    /// Sign.
    Sign(SignOp),
}

impl CryptoOp {
    /// A worthless output of the right shape, at no cost; see [`SignOp::garbage`].
    pub fn garbage(&self) -> CryptoOutput {
        match self {
            Self::Sign(op) => CryptoOutput::Signature(op.garbage()),
        }
    }
}

impl From<SignOp> for CryptoOp {
    fn from(op: SignOp) -> Self {
        Self::Sign(op)
    }
}

impl Work for CryptoOp {
    type Output = CryptoOutput;

    fn kind(&self) -> Kind {
        match self {
            Self::Sign(op) => op.key().algorithm().sign_kind(),
        }
    }

    /// Verifies a signature with the public key.
    fn check(&self, output: &CryptoOutput) -> Result<(), CheckFailed> {
        match (self, output) {
            (Self::Sign(op), CryptoOutput::Signature(signature)) => {
                op.key().check(op.scheme(), op.message(), signature)
            }
        }
    }

    /// True for RSA. Most implementations sign modulo each prime and join the halves; with one
    /// half wrong, the signature and the public key together give the private key away (Boneh,
    /// DeMillo and Lipton, 1997). For the other algorithms the engine's policy decides, as their
    /// check costs more than their signature.
    fn must_check(&self) -> bool {
        match self {
            Self::Sign(op) => op.key().algorithm() == Algorithm::Rsa,
        }
    }

    /// A copy, for a standby that takes over while the device still holds the original.
    fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Sign(op) => Some(Self::Sign(op.clone())),
        }
    }

    /// Overwrites the output: an unchecked RSA signature may be as good as the private key.
    fn erase(mut output: CryptoOutput) {
        output.zeroize();
    }
}

/// What an operation gives.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CryptoOutput {
    /// A signature, encoded as the scheme asks: DER for ECDSA, plain bytes for the others.
    Signature(Vec<u8>),
}

impl CryptoOutput {
    /// The signature.
    pub fn into_signature(self) -> Vec<u8> {
        match self {
            Self::Signature(signature) => signature,
        }
    }

    /// This result with one bit wrong, as a faulty unit of a device would give it. For simulated devices.
    #[must_use]
    pub fn spoiled(mut self) -> Self {
        match &mut self {
            Self::Signature(signature) => {
                if let Some(byte) = signature.last_mut() {
                    *byte ^= 1;
                }
            }
        }
        self
    }
}

impl Zeroize for CryptoOutput {
    fn zeroize(&mut self) {
        match self {
            Self::Signature(signature) => signature.zeroize(),
        }
    }
}

/// Shows lengths only: an unchecked signature does not belong in a log.
impl fmt::Debug for CryptoOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(signature) => write!(f, "Signature({} bytes)", signature.len()),
        }
    }
}
