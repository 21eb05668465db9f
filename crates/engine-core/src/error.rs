//! Why an operation ended without a result.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::work::{CheckFailed, Work};

/// Why an operation ended without a result.
///
/// | error | cause | try again? | trips the breaker |
/// | --- | --- | --- | --- |
/// | [`Refused`](Self::Refused) | too much load, a shutdown, an open breaker | later | no |
/// | [`Device`](Self::Device) | the device | on another one | yes, unless [unsupported](DeviceError::Unsupported) or [permanent](DeviceError::Permanent) |
/// | [`Invalid`](Self::Invalid) | the device: it answered wrongly | on another one | yes |
/// | [`Deadline`](Self::Deadline) | the device was too slow, or the load too high | perhaps | if the device held it |
/// | [`Cancelled`](Self::Cancelled) | the caller | no | no |
/// | [`Gone`](Self::Gone) | the engine was shut down or dropped | no | no |
///
/// With [`Fallback::Standby`](crate::Fallback::Standby) the engine itself tries again, on the standby, and returns the
/// standby's result or error.
///
/// Waiting is never an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine did not accept the work.
    #[error("the engine refused the operation: {0}")]
    Refused(RefusedReason),
    /// The device reported a failure.
    #[error("the device failed: {0}")]
    Device(DeviceError),
    /// The device answered, and the answer did not pass its check.
    #[error("the device returned a result that does not check: {0}")]
    Invalid(CheckFailed),
    /// The operation's deadline passed.
    #[error("the operation's deadline passed")]
    Deadline,
    /// The job was cancelled, or the future was dropped.
    #[error("the operation was cancelled")]
    Cancelled,
    /// The engine was shut down or dropped with the operation in flight.
    #[error("the engine went away with the operation in flight")]
    Gone,
}

/// Why an engine did not accept work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
    /// The ring is full and so is the queue before it: the bound is [`EngineBuilder::queue_bound`](crate::EngineBuilder::queue_bound).
    #[error(
        "its queue is full ({bound} waiting); raise queue_bound, add service units or shed load"
    )]
    QueueFull {
        /// How many requests may wait for each kind.
        bound: usize,
    },
    /// [`Engine::shutdown`](crate::Engine::shutdown) or [`Engine::close`](crate::Engine::close) was called.
    #[error("it is shutting down")]
    Closed,
    /// The engine relies on threads of another process: this one is a child made by `fork`.
    #[error(
        "it was made in another process, whose threads are not in this one; make the key, the engine or the shards after the fork"
    )]
    MadeElsewhere,
    /// The breaker is open, and the options name no standby.
    #[error(
        "its circuit breaker is open after too many failures; try later, or give the engine a standby"
    )]
    Unavailable,
}

/// Work that the engine did not accept, with the reason.
#[derive(thiserror::Error)]
#[error("the engine refused the operation: {reason}")]
pub struct Refused<W: Work> {
    /// The work, unharmed.
    pub work: W,
    /// Why it was refused.
    pub reason: RefusedReason,
}

impl<W: Work> fmt::Debug for Refused<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("kind", &self.work.kind())
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// A failure that the device itself reported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The device does not know this kind of work, or not this key.
    #[error("it does not support this operation: {0}")]
    Unsupported(&'static str),
    /// The computation failed.
    #[error("it could not compute the result: {0}")]
    Failed(&'static str),
    /// The device reported a failure as text, for example that of a security module's library.
    #[error("it said: {0}")]
    Reported(Arc<str>),
    /// As [`Reported`](Self::Reported), where another attempt would end the same way: the key does not exist, or access to
    /// it is denied. The device is well, so it does not count for the breaker, and the request is not
    /// [attempted](crate::RequestOptions::attempts) again.
    #[error("it refuses: {0}")]
    Permanent(Arc<str>),
    /// The device asks to be left alone for a while: it limits the rate of calls, or restarts. It counts as a failure for
    /// the breaker, except where the breaker tries the device again: it has answered, and the breaker closes.
    #[error("it asks to be called again in {after:?}: {said}")]
    Busy {
        /// How long.
        after: Duration,
        /// Its own words.
        said: Arc<str>,
    },
    /// The device was reset with the request in flight.
    #[error("it was reset with the request in flight")]
    Reset,
    /// The device takes no work for now.
    #[error("it is not available: {0}")]
    Unavailable(&'static str),
    /// The device was removed, or dropped the request without an answer.
    #[error("it dropped the request without an answer")]
    Lost,
}

impl DeviceError {
    /// [`Reported`](Self::Reported) with the text of `error`: on one line, and cut off after 500 characters.
    pub fn reported(error: &dyn fmt::Display) -> Self {
        Self::Reported(one_line(error))
    }

    /// [`Permanent`](Self::Permanent) with the text of `error`, likewise.
    pub fn permanent(error: &dyn fmt::Display) -> Self {
        Self::Permanent(one_line(error))
    }

    /// [`Busy`](Self::Busy) with the text of `error`, likewise.
    pub fn busy(after: Duration, error: &dyn fmt::Display) -> Self {
        Self::Busy { after, said: one_line(error) }
    }
}

fn one_line(error: &dyn fmt::Display) -> Arc<str> {
    let text = error.to_string();
    let line = text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c });
    line.collect::<String>().into()
}
