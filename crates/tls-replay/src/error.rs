//! Why a handshake ends, or cannot be replayed.

use rustls::{CipherSuite, NamedGroup};

/// Why the handshakes of a configuration cannot be parked by replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReplayable {
    /// The configuration draws its randomness from a provider that [`replayable`](crate::replayable) did not make.
    #[error("the configuration was not built with a provider made by tls_replay::replayable")]
    Provider,
    /// A cipher suite was added to the provider afterwards.
    #[error("the cipher suite {0:?} was added after tls_replay::replayable")]
    CipherSuite(CipherSuite),
    /// A key-exchange group was added to the provider afterwards.
    #[error("the key-exchange group {0:?} was added after tls_replay::replayable")]
    Group(NamedGroup),
}

/// Why a handshake ended, or a call was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The handshake failed as it would have under plain rustls. An alert may have been written.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The second pass differs from the first, for the reason given; the signature was not used and nothing was sent.
    /// A hook does not give the same answer twice: the verifier's hints, a certificate compressor or the key's choice
    /// of scheme.
    #[error("the second pass of the handshake differs from the first: {0}")]
    Differs(&'static str),
    /// The client's hello exceeds [`MAX_HELLO`](crate::MAX_HELLO), or that much arrived while the handshake was parked.
    #[error("more than {} bytes before the server's flight", crate::MAX_HELLO)]
    TooLong,
    /// The established connection has no room for more, because its plaintext is unread, and as much as a hello may have
    /// already waits in the session. The bytes of this call were not taken.
    #[error("the plaintext of the connection is unread, and more arrived than is kept")]
    PlaintextUnread,
    /// A hook would wait inside another one, and [gave up](crate::give_up), or a hook postponed its answer twice. Nothing
    /// was sent, except perhaps a HelloRetryRequest.
    #[error(
        "a hook would wait inside another hook, which rustls asks and which would not see the answer"
    )]
    HookInHook,
    /// The handshake waits for nothing that the caller could reply to.
    #[error("the handshake is not parked")]
    NotParked,
    /// The reply answers another kind of question. The handshake stays parked.
    #[error("the reply is of another kind than the question")]
    WrongReply,
    /// The handshake has already failed.
    #[error("the handshake has already failed")]
    Closed,
}

/// The error that ends a pass whose connection is thrown away. It sends no alert and allocates nothing.
pub(crate) const ABANDONED: rustls::Error = rustls::Error::HandshakeNotComplete;
