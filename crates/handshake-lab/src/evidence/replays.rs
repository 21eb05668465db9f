//! What handshakes by replay did, seen from outside of them (law L16).

/// Handshakes by replay, as the key, the resolver and the clients saw them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replays {
    /// Signatures that second passes were handed ...
    pub handed: u64,
    /// ... and of those the ones for a scheme and a message that no first pass had asked to sign.
    pub unasked: u64,
    /// Times that the resolver of certificates was asked.
    pub resolved: u64,
    /// Clients that were made to say hello twice.
    pub retried: u64,
    /// Times that a hook was made to answer otherwise than in the other pass.
    pub contradicted: u64,
    /// Clients that were made to offer only what the server has not.
    pub unfit: u64,
    /// Clients that got what breaks the protocol, or the beginning of a flight that the server had no signature for.
    pub misled: u64,
    /// Clients over TLS 1.3 that were refused before the server's hello and not behind it.
    pub refused_early: u64,
}
