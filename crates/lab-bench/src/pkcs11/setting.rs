//! What the arms share.

pub(super) type Failure = Box<dyn std::error::Error>;

/// Sessions with the token, and threads that use them.
pub(super) const SESSIONS: usize = 8;
pub(super) const CLIENTS: usize = 64;
