//! The results of operations.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::ephemeral::EphemeralKey;
use crate::secret::Secret;

/// The result of a [`CryptoOp`](crate::CryptoOp).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CryptoOutput {
    /// A signature, encoded as the scheme requires: DER for ECDSA, plain bytes otherwise. Wiped when it is dropped,
    /// because an unchecked one can reveal the key.
    Signature(Zeroizing<Vec<u8>>),
    /// The result of [`AgreeStep::Start`](crate::AgreeStep::Start).
    Started {
        /// Our share, for the peer.
        share: Vec<u8>,
        /// The handle of our private key.
        key: EphemeralKey,
    },
    /// The result of [`AgreeStep::Complete`](crate::AgreeStep::Complete).
    Secret(Secret),
    /// The result of [`AgreeStep::StartAndComplete`](crate::AgreeStep::StartAndComplete).
    Agreed {
        /// Our share, for the peer.
        share: Vec<u8>,
        /// The secret.
        secret: Secret,
    },
    /// The peer's share is not a public key of the group: the peer's fault, not the device's.
    BadShare,
    /// A ticket: the sealed state of a session.
    Sealed(Vec<u8>),
    /// The state in a ticket; `None` when the ticket is not authentic.
    Opened(Option<Secret>),
}

impl CryptoOutput {
    /// The signature, or `None` for another result.
    pub fn into_signature(self) -> Option<Vec<u8>> {
        match self {
            Self::Signature(mut signature) => Some(std::mem::take(&mut *signature)),
            _ => None,
        }
    }
}

impl Zeroize for CryptoOutput {
    fn zeroize(&mut self) {
        match self {
            Self::Signature(bytes) => bytes.zeroize(),
            Self::Sealed(bytes) => bytes.zeroize(),
            Self::Secret(secret) | Self::Agreed { secret, .. } | Self::Opened(Some(secret)) => {
                secret.zeroize();
            }
            // The device wipes its private key when the handle is dropped.
            Self::Started { .. } | Self::BadShare | Self::Opened(None) => {}
        }
    }
}

/// Shows lengths only, because secrets and unchecked signatures must not be logged.
impl fmt::Debug for CryptoOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(signature) => write!(f, "Signature({} bytes)", signature.len()),
            Self::Started { share, .. } => write!(f, "Started({} bytes)", share.len()),
            Self::Secret(secret) => secret.fmt(f),
            Self::Agreed { share, .. } => write!(f, "Agreed({} bytes)", share.len()),
            Self::BadShare => f.write_str("BadShare"),
            Self::Sealed(ticket) => write!(f, "Sealed({} bytes)", ticket.len()),
            Self::Opened(state) => write!(f, "Opened({})", state.is_some()),
        }
    }
}
