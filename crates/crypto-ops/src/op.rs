//! The operation of a handshake, as an engine sees it.

use engine_core::{CheckFailed, Kind, Work};
use zeroize::Zeroize as _;

use crate::agree::{AgreeOp, AgreeStep};
use crate::output::CryptoOutput;
use crate::scheme::Algorithm;
use crate::sign::SignOp;
use crate::ticket::TicketOp;

/// An operation of a TLS handshake that a device can compute.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CryptoOp {
    /// Signs.
    Sign(SignOp),
    /// Agrees on a secret with the peer.
    Agree(AgreeOp),
    /// Seals or opens a session ticket.
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

    /// Verifies a signature with the public key, and checks the form of other results.
    fn check(&self, output: &CryptoOutput) -> Result<(), CheckFailed> {
        match (self, output) {
            (Self::Sign(op), CryptoOutput::Signature(signature)) => {
                op.key().check(op.scheme(), op.message(), signature)
            }
            (Self::Sign(_), _) => Err(CheckFailed("the result is not a signature")),
            (Self::Agree(op), output) => op.check(output),
            (Self::Ticket(op), output) => op.check(output),
        }
    }

    /// True for RSA signatures and for checks of form, which are cheap.
    ///
    /// Most implementations of RSA sign modulo each prime and combine the halves. With one half wrong, the signature and
    /// the public key together reveal the private key (Boneh, DeMillo and Lipton, 1997).
    fn must_check(&self) -> bool {
        match self {
            Self::Sign(op) => op.key().algorithm() == Algorithm::Rsa,
            Self::Agree(_) | Self::Ticket(_) => true,
        }
    }

    /// A copy, or `None` for the second step of a key exchange: only the device of the first step has the key.
    fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Agree(op) if matches!(op.step(), AgreeStep::Complete { .. }) => None,
            op => Some(op.clone()),
        }
    }

    /// Overwrites the output: an unchecked RSA signature can reveal the private key.
    fn erase(mut output: CryptoOutput) {
        output.zeroize();
    }
}
