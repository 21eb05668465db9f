//! Results of calls on a session.

/// Result of a call on a session: done, or the event that the caller has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a session makes no progress until the caller waits for the event and calls again"]
pub enum Outcome<T> {
    /// The call is done.
    Ready(T),
    /// Call again when the transport is readable. `SSL_ERROR_WANT_READ`.
    WantRead,
    /// Call again when the transport is writable. `SSL_ERROR_WANT_WRITE`.
    WantWrite,
    /// A packet is parked on an operation of the engine. Call again after the session's wake: by ready queue, callback
    /// or descriptor. `SSL_ERROR_WANT_ASYNC`.
    WantAsync,
    /// The pool of jobs is at its maximum. Call again when a job of this thread has finished.
    /// `SSL_ERROR_WANT_ASYNC_JOB`.
    WantAsyncJob,
}

impl<T> Outcome<T> {
    /// Whether the call is done.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    /// The value of a call that is done.
    pub fn ready(self) -> Option<T> {
        match self {
            Self::Ready(value) => Some(value),
            _ => None,
        }
    }

    /// The same outcome with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Ready(value) => Outcome::Ready(f(value)),
            Self::WantRead => Outcome::WantRead,
            Self::WantWrite => Outcome::WantWrite,
            Self::WantAsync => Outcome::WantAsync,
            Self::WantAsyncJob => Outcome::WantAsyncJob,
        }
    }
}
