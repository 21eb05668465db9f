//! The key-agreement operation.

use std::fmt;

use engine_core::CheckFailed;

use crate::ephemeral::EphemeralKey;
use crate::group::Group;
use crate::output::CryptoOutput;
use crate::secret::Secret;

/// A key exchange, or one step of it.
///
/// ```text
///   client:  start ------------> its share, an EphemeralKey
///            complete(key, peer's share) ------> the secret
///   server:  start_and_complete(peer's share) -> its share, the secret
/// ```
///
/// A TLS 1.3 server needs a single operation. A TLS 1.2 server sends its share first, so it takes the same steps as a
/// client. In the hybrid group the client sends a key and the server a ciphertext, so only a client can start.
#[derive(Clone, Debug)]
pub struct AgreeOp {
    group: Group,
    step: AgreeStep,
}

/// The step of a key exchange to compute, with its result in parentheses.
#[derive(Clone)]
#[non_exhaustive]
pub enum AgreeStep {
    /// Make an ephemeral key ([`CryptoOutput::Started`]).
    Start,
    /// Combine the ephemeral key with the peer's share ([`CryptoOutput::Secret`], or
    /// [`BadShare`](CryptoOutput::BadShare)).
    Complete {
        /// The key: of the operation's group, or of the hybrid group whose classical half that is.
        key: EphemeralKey,
        /// The peer's share.
        peer: Vec<u8>,
    },
    /// Make an ephemeral key and combine it with the peer's share ([`CryptoOutput::Agreed`], or
    /// [`BadShare`](CryptoOutput::BadShare)).
    StartAndComplete {
        /// The peer's share.
        peer: Vec<u8>,
    },
}

/// Error for a peer's share that does not have the form of its group. The peer violates the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's key share is no {group} share")]
pub struct MalformedShare {
    /// The group.
    pub group: Group,
}

impl AgreeOp {
    /// Makes the operation that starts an exchange.
    pub const fn start(group: Group) -> Self {
        Self { group, step: AgreeStep::Start }
    }

    /// Makes the operation that completes an exchange with the server's share `peer`.
    ///
    /// # Errors
    ///
    /// [`MalformedShare`] when `peer` does not have the form of a server's share.
    pub fn complete(key: EphemeralKey, peer: &[u8]) -> Result<Self, MalformedShare> {
        let group = key.group();
        Self::complete_in(group, key, peer)
    }

    /// Makes the operation that completes only the classical half of a hybrid exchange, with a server that chose that.
    ///
    /// # Errors
    ///
    /// [`MalformedShare`] when `peer` does not have the form of a server's share in that half's group, or the exchange
    /// is not hybrid.
    pub fn complete_classical_half(key: EphemeralKey, peer: &[u8]) -> Result<Self, MalformedShare> {
        let hybrid = key.group();
        let half = hybrid.classical_half().ok_or(MalformedShare { group: hybrid })?;
        Self::complete_in(half, key, peer)
    }

    fn complete_in(group: Group, key: EphemeralKey, peer: &[u8]) -> Result<Self, MalformedShare> {
        if !group.is_server_share(peer) {
            return Err(MalformedShare { group });
        }
        Ok(Self { group, step: AgreeStep::Complete { key, peer: peer.to_vec() } })
    }

    /// Makes the operation that starts an exchange and completes it with the client's share `peer`.
    ///
    /// # Errors
    ///
    /// [`MalformedShare`] when `peer` does not have the form of a client's share.
    pub fn start_and_complete(group: Group, peer: &[u8]) -> Result<Self, MalformedShare> {
        if !group.is_client_share(peer) {
            return Err(MalformedShare { group });
        }
        Ok(Self { group, step: AgreeStep::StartAndComplete { peer: peer.to_vec() } })
    }

    /// The group.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The step.
    pub fn step(&self) -> &AgreeStep {
        &self.step
    }

    /// Checks the form of a result. A wrong secret of the right form is found later, when `Finished` does not verify.
    pub(crate) fn check(&self, output: &CryptoOutput) -> Result<(), CheckFailed> {
        let secret = |secret: &Secret| match self.group.is_secret(secret.expose()) {
            true => Ok(()),
            false => Err(CheckFailed("the shared secret does not have the form of its group")),
        };
        match (&self.step, output) {
            (AgreeStep::Start, CryptoOutput::Started { share, key }) => {
                if key.group() != self.group || !self.group.is_client_share(share) {
                    return Err(CheckFailed("the key share does not have the form of its group"));
                }
                Ok(())
            }
            (AgreeStep::Complete { .. }, CryptoOutput::Secret(output)) => secret(output),
            (
                AgreeStep::StartAndComplete { .. },
                CryptoOutput::Agreed { share, secret: output },
            ) => {
                if !self.group.is_server_share(share) {
                    return Err(CheckFailed("the key share does not have the form of its group"));
                }
                secret(output)
            }
            (
                AgreeStep::Complete { .. } | AgreeStep::StartAndComplete { .. },
                CryptoOutput::BadShare,
            ) => Ok(()),
            _ => Err(CheckFailed("the result is not that of the step of the key exchange")),
        }
    }
}

/// Shows the step only.
impl fmt::Debug for AgreeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "Start",
            Self::Complete { .. } => "Complete",
            Self::StartAndComplete { .. } => "StartAndComplete",
        })
    }
}
