//! The states that a session reports to its worker: progress, phase, milestone and cause of failure.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    HungUp,
    /// The peer broke the protocol, or nothing could be agreed on.
    Tls,
    /// The key's operation failed.
    Key,
    /// The operation or the peer missed its deadline.
    TimedOut,
    /// Anything else, such as a transport that fails.
    Other,
}

impl Cause {
    pub const ALL: [Self; 5] = [Self::HungUp, Self::Tls, Self::Key, Self::TimedOut, Self::Other];

    pub const fn name(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::Tls => "tls",
            Self::Key => "key",
            Self::TimedOut => "timed_out",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionProgress {
    /// The session waits for its transport or, if it is parked, for its wake.
    Waits,
    /// The session waits for a job: the pool is at its maximum.
    WaitsForJob,
    /// The session has ended without a failure.
    Ended,
}

/// What a session waits for. The number distinguishes waits of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The end of its handshake.
    Handshake,
    /// The end of a request: the first one, or one that has begun.
    Request(u64),
    /// Writing a response until the peer has taken it.
    Response(u64),
    /// The next request.
    Idle(u64),
    /// Writing `close_notify` until the peer has taken it.
    Closing,
}

/// Milestones of a server's handshake. The work between two of them costs about the same every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Milestone {
    /// Nothing has been received.
    Accepted,
    /// The client's hello has been processed, and the key has been asked for a signature.
    Signing,
    /// The server's flight has been sent.
    Answered,
    /// The client's has been received.
    Established,
}
