//! Errors that end a session.

use std::io;
use std::sync::Arc;

use engine_core::EngineError;

use crate::rustls23::TlsError;

/// Why a session ended. Once a session has failed, every later call returns the same error, except where a variant says
/// that the session goes on ([law L15]: a failed operation ends its session, and the peer is told).
///
/// Waiting is never an error: see [`Outcome`](crate::Outcome).
///
/// [law L15]: https://github.com/layby-rs/layby/blob/main/docs/laws.md
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SslError {
    /// The engine could not carry out an operation of this handshake. The session is over, and the peer was sent the alert
    /// `internal_error` in place of the flight that needed the result. The exceptions are in TLS 1.3, where the peer
    /// expects an encrypted alert and rustls encrypts none of ours: a client whose own signature failed sent
    /// `close_notify`; a side whose verdict on the peer's certificate was interrupted sent rustls's `handshake_failure`; a
    /// client whose key exchange failed while early data was under way sent rustls's `illegal_parameter`.
    #[error("the handshake's operation failed: {0}")]
    Failed(EngineError),
    /// The peer broke the protocol, or the two sides could not agree. The alert for it was sent if the peer still read.
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
    /// The handshake was not done within its deadline. A parked packet was cancelled. The peer was sent `internal_error`,
    /// or `close_notify` once it expects encrypted records. It was sent nothing if the packet was parked after the keys
    /// had been agreed, because the connection is lost with the packet: for a TLS 1.3 server's verdict on the client and,
    /// with [`tokio`](crate#features), any packet of a client but the first.
    #[error("the handshake was not done within {0:?}")]
    TimedOut(core::time::Duration),
    /// The handshake needs a fiber, for the reason given, and [`Parking::Replay`](crate::Parking::Replay) excludes it. The
    /// peer was sent `internal_error`.
    #[error("the handshake cannot be parked by replay, the only way that was allowed: {0}")]
    NeedsFiber(Arc<str>),
    /// The handshake would have had to wait for what is named, for instance a signature, and
    /// [`Parking::Never`](crate::Parking::Never) excludes it. The peer was sent an alert, as for [`Failed`](Self::Failed).
    #[error(
        "the handshake would have to wait for {0}, which Parking::Never excludes; use Parking::Auto"
    )]
    WouldWait(&'static str),
    /// A packet's job panicked. The call that ran it panicked too, and the connection is lost.
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

/// For code that takes `io::Error`. The transport's error is itself. `get_ref` and `downcast_ref` find rustls's error, as in
/// tokio-rustls, and any other as an `SslError`.
impl From<SslError> for io::Error {
    fn from(error: SslError) -> Self {
        let kind = match error {
            SslError::Io(inner) => {
                return Arc::try_unwrap(inner)
                    .unwrap_or_else(|inner| Self::new(inner.kind(), SslError::Io(inner)));
            }
            SslError::Tls(error) => return Self::new(io::ErrorKind::InvalidData, error),
            SslError::PeerClosed(_) => io::ErrorKind::UnexpectedEof,
            SslError::TimedOut(_) => io::ErrorKind::TimedOut,
            SslError::ShutDown => io::ErrorKind::BrokenPipe,
            SslError::Failed(_)
            | SslError::NeedsFiber(_)
            | SslError::WouldWait(_)
            | SslError::Panicked => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<io::Error> for SslError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}
