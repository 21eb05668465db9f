//! What an engine carries: an operation there, its output back.

use std::fmt;

use engine_core::{CheckFailed, Kind, Work};
use zeroize::Zeroize;

use crate::agree::AgreeOp;
use crate::ephemeral::EphemeralKey;
use crate::scheme::Algorithm;
use crate::secret::Secret;
use crate::sign::SignOp;
use crate::ticket::TicketOp;

/// An operation of a TLS handshake that can be computed elsewhere and later.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CryptoOp {
    /// Sign.
    Sign(SignOp),
    /// Agree on a secret with the peer.
    Agree(AgreeOp),
    /// Seal or open a session ticket.
    Ticket(TicketOp),
}

impl CryptoOp {
    /// A worthless output of the right shape, at no cost; see [`SignOp::garbage`].
    pub fn garbage(&self) -> CryptoOutput {
        match self {
            Self::Sign(op) => CryptoOutput::Signature(op.garbage()),
            Self::Agree(op) => op.garbage(),
            Self::Ticket(op) => op.garbage(),
        }
    }
}

impl From<SignOp> for CryptoOp {
    fn from(op: SignOp) -> Self {
        Self::Sign(op)
    }
}

impl From<AgreeOp> for CryptoOp {
    fn from(op: AgreeOp) -> Self {
        Self::Agree(op)
    }
}

impl From<TicketOp> for CryptoOp {
    fn from(op: TicketOp) -> Self {
        Self::Ticket(op)
    }
}

impl Work for CryptoOp {
    type Output = CryptoOutput;

    fn kind(&self) -> Kind {
        match self {
            Self::Sign(op) => op.key().algorithm().sign_kind(),
            Self::Agree(op) => op.group().agree_kind(),
            Self::Ticket(_) => Kind::new("ticket"),
        }
    }

    /// Verifies a signature with the public key. The other results can only be checked for their form, short of
    /// computing them again.
    fn check(&self, output: &CryptoOutput) -> Result<(), CheckFailed> {
        match (self, output) {
            (Self::Sign(op), CryptoOutput::Signature(signature)) => {
                op.key().check(op.scheme(), op.message(), signature)
            }
            (Self::Sign(_), _) => Err(CheckFailed("the result is no signature")),
            (Self::Agree(op), output) => op.check(output),
            (Self::Ticket(op), output) => op.check(output),
        }
    }

    /// True for RSA. Most implementations sign modulo each prime and join the halves; with one
    /// half wrong, the signature and the public key together give the private key away (Boneh,
    /// DeMillo and Lipton, 1997). For the other algorithms the engine's policy decides, as their
    /// check costs more than their signature. Checks of form cost nothing, so they are always made.
    fn must_check(&self) -> bool {
        match self {
            Self::Sign(op) => op.key().algorithm() == Algorithm::Rsa,
            Self::Agree(_) | Self::Ticket(_) => true,
        }
    }

    /// A copy, for a standby that takes over while the device still holds the original.
    fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Sign(op) => Some(Self::Sign(op.clone())),
            // Their inputs are secret, and not to be kept twice.
            _ => None,
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
            Self::Signature(signature) => Some(signature),
            _ => None,
        }
    }

    /// This result with one bit wrong, as a faulty unit of a device would give it. For simulated devices.
    #[must_use]
    pub fn spoiled(mut self) -> Self {
        let bytes = match &mut self {
            Self::Signature(bytes) | Self::Sealed(bytes) => bytes.as_mut_slice(),
            Self::Started { share, .. } => share,
            Self::Secret(secret) | Self::Agreed { secret, .. } | Self::Opened(Some(secret)) => {
                secret.expose_mut()
            }
            Self::BadShare | Self::Opened(None) => &mut [],
        };
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        self
    }
}

impl Zeroize for CryptoOutput {
    fn zeroize(&mut self) {
        match self {
            Self::Signature(bytes) | Self::Sealed(bytes) => bytes.zeroize(),
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
