//! Why a session ended, sorted by whose doing it was.

use std::io;
use std::sync::Arc;

use engine_core::EngineError;

use crate::rustls23::TlsError;

/// Why a session ended. Once a session has failed, every later call returns the same error (law L15). The exceptions are
/// named.
///
/// Waiting is never an error: see [`Outcome`](crate::Outcome).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SslError {
    /// The engine could not carry out an operation of this handshake. The session is over, and the peer was told by the
    /// alert `internal_error`, in the place of the flight that needed the result. The exceptions are in TLS 1.3, where the
    /// peer expects an encrypted alert and rustls encrypts none of ours: a client whose own signature failed sent
    /// `close_notify`; a side whose verdict on the other's certificate was cut short sent rustls's `handshake_failure`; a
    /// client whose key exchange failed while early data was under way sent rustls's `illegal_parameter`.
    #[error("the handshake's operation failed: {0}")]
    Failed(EngineError),
    /// The peer broke the protocol, or the two sides could not agree. The alert for it was sent if the peer still
    /// listened.
    #[error("TLS: {0}")]
    Tls(TlsError),
    /// The peer closed the connection in the middle of a handshake, or without `close_notify` after it.
    #[error("the peer closed the connection {0}")]
    PeerClosed(ClosedDuring),
    /// The caller wrote after [`Ssl::shutdown`](crate::Ssl::shutdown). The session goes on: the peer may still send.
    #[error("the session was shut down for writing: write before shutdown")]
    ShutDown,
    /// The transport failed.
    #[error("transport: {0}")]
    Io(Arc<io::Error>),
    /// The handshake was not done within its deadline. A parked packet was cancelled. The peer was told: by
    /// `internal_error`, or by `close_notify` once it expects encrypted records. In one case it was not: the packet was
    /// parked after the keys had been agreed, and its connection is lost with it; that is a TLS 1.3 server's verdict on the
    /// client and, with [`tokio`](crate#features), any packet of a client but the first.
    #[error("the handshake was not done within {0:?}")]
    TimedOut(core::time::Duration),
    /// A packet's job panicked; the panic was handed on to the caller of that time, and the connection is lost.
    #[error("a job of this session panicked")]
    Panicked,
}

/// When the peer closed the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedDuring {
    /// Before the handshake was done.
    Handshake,
    /// After the handshake, without `close_notify`: the data may have been cut short.
    Data,
}

impl core::fmt::Display for ClosedDuring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Handshake => "during the handshake",
            Self::Data => "without close_notify; the data may have been cut short",
        })
    }
}

/// For code that knows only `io::Error`; the session's error is its source, to be had by `get_ref` and `downcast_ref`.
impl From<SslError> for io::Error {
    fn from(error: SslError) -> Self {
        let kind = match &error {
            SslError::Io(inner) => inner.kind(),
            SslError::Tls(_) => io::ErrorKind::InvalidData,
            SslError::PeerClosed(_) => io::ErrorKind::UnexpectedEof,
            SslError::TimedOut(_) => io::ErrorKind::TimedOut,
            SslError::ShutDown => io::ErrorKind::BrokenPipe,
            SslError::Failed(_) | SslError::Panicked => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for SslError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
