//! What an engine carries back from a device: an operation's result.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::ephemeral::EphemeralKey;
use crate::secret::Secret;

/// What an operation gives.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CryptoOutput {
    /// A signature, encoded as the scheme asks: DER for ECDSA, plain bytes for the others. Wiped when it is dropped, for an
    /// unchecked one may give the key away.
    Signature(Zeroizing<Vec<u8>>),
    /// A key exchange has begun.
    Started {
        /// Our share, for the peer.
        share: Vec<u8>,
        /// The private half.
        key: EphemeralKey,
    },
    /// A key exchange is complete that had begun before.
    Secret(Secret),
    /// A key exchange is complete.
    Agreed {
        /// Our share, for the peer.
        share: Vec<u8>,
        /// The secret.
        secret: Secret,
    },
    /// The peer's share is no public key of the group. The device is in order; the peer is not.
    BadShare,
    /// A session's state as a ticket.
    Sealed(Vec<u8>),
    /// The state in a ticket; `None` if the ticket is not authentic.
    Opened(Option<Secret>),
}

impl CryptoOutput {
    /// The signature, if it is one.
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
            // The private half is the device's to wipe, when the handle is dropped.
            Self::Started { .. } | Self::BadShare | Self::Opened(None) => {}
        }
    }
}

/// Shows lengths only: an unchecked signature does not belong in a log, and a secret never does.
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
