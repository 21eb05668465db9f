//! What a parked handshake waits for, and the reply that resumes it.

use core::fmt;
use std::sync::Arc;

use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange};
use rustls::sign::CertifiedKey;
use rustls::{Error, NamedGroup, SignatureScheme};
use zeroize::Zeroize as _;

use crate::message::Message;

/// What a parked handshake waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question<'a> {
    /// A signature by the server's key. Reply with [`Reply::Signature`].
    Signature {
        /// The scheme that rustls and the key agreed on.
        scheme: SignatureScheme,
        /// The bytes to sign: the message itself, not a digest.
        message: &'a Message,
    },
    /// A key exchange of TLS 1.3: a key pair and the secret shared with the peer. Reply with [`Reply::KeyExchange`].
    KeyExchange {
        /// The group.
        group: NamedGroup,
        /// The peer's public key, as its hello carries it.
        peer_share: &'a [u8],
    },
    /// A key pair for the key exchange of TLS 1.2. Reply with [`Reply::KeyExchangeStart`]. rustls completes the exchange
    /// when the server's flight has left, where [`complete`](ActiveKeyExchange::complete) has to answer at once: see
    /// [`Session::waits_later`](crate::Session::waits_later).
    KeyExchangeStart {
        /// The group.
        group: NamedGroup,
    },
    /// The plaintext of a session ticket. Reply with [`Reply::Resumption`].
    Ticket {
        /// The ticket, as the client sent it.
        sealed: &'a [u8],
    },
    /// The ticket of a session of TLS 1.2 that is resumed. Reply with [`Reply::Sealed`].
    Seal {
        /// What to seal. Secret.
        plain: &'a [u8],
    },
    /// The session stored under an identifier. Reply with [`Reply::Resumption`].
    StoredSession {
        /// The identifier.
        id: &'a [u8],
    },
    /// The certificate for this hello. What the choice depends on is in the context that the resolver handed to
    /// [`postpone`](crate::postpone). Reply with [`Reply::Certificate`].
    Certificate,
}

impl fmt::Debug for Question<'_> {
    /// The kind, with schemes and groups and the length of bytes: some are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |bytes: &[u8]| format!("{} bytes", bytes.len());
        match self {
            Self::Signature { scheme, message } => {
                write!(f, "Signature({scheme:?}, {})", bytes(message))
            }
            Self::KeyExchange { group, peer_share } => {
                write!(f, "KeyExchange({group:?}, {})", bytes(peer_share))
            }
            Self::KeyExchangeStart { group } => write!(f, "KeyExchangeStart({group:?})"),
            Self::Ticket { sealed } => write!(f, "Ticket({})", bytes(sealed)),
            Self::Seal { plain } => write!(f, "Seal({})", bytes(plain)),
            Self::StoredSession { id } => write!(f, "StoredSession({})", bytes(id)),
            Self::Certificate => f.write_str("Certificate"),
        }
    }
}

/// The reply to a [`Question`].
#[non_exhaustive]
pub enum Reply {
    /// The signature.
    Signature(Vec<u8>),
    /// The finished key exchange, or why the peer's share is refused.
    KeyExchange(Result<CompletedKeyExchange, Error>),
    /// The key pair, to be completed with the client's share, or why there is none.
    KeyExchangeStart(Result<Box<dyn ActiveKeyExchange>, Error>),
    /// The ticket; `None` sends none.
    Sealed(Option<Vec<u8>>),
    /// The plaintext of the ticket or the stored session; `None` if it cannot be used.
    Resumption(Option<Vec<u8>>),
    /// The certificate and its key; `None` if there is none for this client.
    Certificate(Option<Arc<CertifiedKey>>),
}

impl Reply {
    /// Drops a reply that is not used; rustls wipes the secret of a key exchange itself.
    pub(crate) fn wipe(self) {
        if let Self::Resumption(Some(mut plain)) = self {
            plain.zeroize();
        }
    }
}

impl From<Vec<u8>> for Reply {
    fn from(signature: Vec<u8>) -> Self {
        Self::Signature(signature)
    }
}

impl fmt::Debug for Reply {
    /// The kind only: most replies are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature(_) => "Signature",
            Self::KeyExchange(_) => "KeyExchange",
            Self::KeyExchangeStart(_) => "KeyExchangeStart",
            Self::Sealed(_) => "Sealed",
            Self::Resumption(_) => "Resumption",
            Self::Certificate(_) => "Certificate",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_shows_no_secret() {
        let secret = [77; 3];
        for (question, shown) in [
            (Question::Seal { plain: &secret }, "Seal(3 bytes)"),
            (Question::StoredSession { id: &secret }, "StoredSession(3 bytes)"),
            (Question::Ticket { sealed: &secret }, "Ticket(3 bytes)"),
        ] {
            assert_eq!(format!("{question:?}"), shown);
        }
    }
}
