//! What an engine carries to a device: an operation.

use engine_core::{CheckFailed, Kind, Work};
use zeroize::Zeroize as _;

use crate::agree::{AgreeOp, AgreeStep};
use crate::output::CryptoOutput;
use crate::scheme::Algorithm;
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

    /// A copy, but for the second step of a key exchange: only the device that made the first has the key.
    fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Agree(op) if matches!(op.step(), AgreeStep::Complete { .. }) => None,
            op => Some(op.clone()),
        }
    }

    /// Overwrites the output: an unchecked RSA signature may be as good as the private key.
    fn erase(mut output: CryptoOutput) {
        output.zeroize();
    }
}
