//! The life of one request, as a pure transition function, and the status that an application sees.

use std::fmt;

/// Where a request is. [`transition`] says which event leads where.
///
/// ```text
///                 Begin                 Accept
///   Free ------------------> Queued ----------------> Submitted
///                            | ^  |                   |   |   |
///                            | |__| Full              |   |   |
///                            |                        |   |   |
///                            +-- Complete --> Done <--+   |   |
///                            +-- Fail ------> Failed <----+   |
///                            +-- Cancel ----> Cancelled <-----+
///
///   Done, Failed, Cancelled -- Begin --> Queued   (the next request, with a new generation)
/// ```
///
/// A completion may overtake the acceptance: a device can answer before the call that submits has returned. That is the
/// edge from `Queued` straight to `Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RequestPhase {
    /// No request was ever begun here.
    Free = 0,
    /// Begun, and not (yet) accepted by the device.
    Queued = 1,
    /// Accepted by the device, which will complete it.
    Submitted = 2,
    /// Completed: the result is there.
    Done = 3,
    /// Failed for good: the error is there.
    Failed = 4,
    /// Given up by its owner. A completion that comes later is discarded.
    Cancelled = 5,
}

impl RequestPhase {
    /// Every state, in the order of the committed table.
    pub const ALL: [Self; 6] =
        [Self::Free, Self::Queued, Self::Submitted, Self::Done, Self::Failed, Self::Cancelled];

    /// Whether somebody still owes this request an outcome: `Queued` or `Submitted`.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Queued | Self::Submitted)
    }

    /// Whether the request has an outcome: `Done`, `Failed` or `Cancelled`.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RequestEvent {
    /// A new request starts.
    Begin = 0,
    /// The device took it.
    Accept = 1,
    /// The device had no room; the request stays queued.
    Full = 2,
    /// The device finished it.
    Complete = 3,
    /// It failed for good.
    Fail = 4,
    /// Its owner no longer wants it.
    Cancel = 5,
}

impl RequestEvent {
    /// Every event, in the order of the committed table.
    pub const ALL: [Self; 6] =
        [Self::Begin, Self::Accept, Self::Full, Self::Complete, Self::Fail, Self::Cancel];
}

/// An event that has no meaning in the state it met. The request is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request that is {from:?} cannot take the event {event:?}")]
pub struct IllegalTransition {
    /// The state the event met.
    pub from: RequestPhase,
    /// The event.
    pub event: RequestEvent,
}

/// The state after `event`, for every pair of state and event.
///
/// # Errors
/// [`IllegalTransition`] for every pair that the picture at [`RequestPhase`] does not show.
pub const fn transition(
    from: RequestPhase,
    event: RequestEvent,
) -> Result<RequestPhase, IllegalTransition> {
    use RequestEvent as E;
    use RequestPhase as S;
    match (from, event) {
        (S::Free | S::Done | S::Failed | S::Cancelled, E::Begin) => Ok(S::Queued),
        (S::Queued, E::Full) => Ok(S::Queued),
        (S::Queued, E::Accept) => Ok(S::Submitted),
        (S::Queued | S::Submitted, E::Complete) => Ok(S::Done),
        (S::Queued | S::Submitted, E::Fail) => Ok(S::Failed),
        (S::Queued | S::Submitted, E::Cancel) => Ok(S::Cancelled),
        (S::Queued | S::Submitted, E::Begin)
        | (S::Submitted, E::Accept | E::Full)
        | (
            S::Free | S::Done | S::Failed | S::Cancelled,
            E::Accept | E::Full | E::Complete | E::Fail | E::Cancel,
        ) => Err(IllegalTransition { from, event }),
    }
}

/// What an application is told about the request of its session: the values of `ASYNC_WAIT_CTX_get_status` in OpenSSL.
///
/// It is a projection of [`RequestPhase`], so it can never be stale or published late, and it belongs to one request:
/// beginning the next one replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// No request was ever made here, so no wake is to be expected (`ASYNC_STATUS_UNSUPPORTED`).
    Unsupported = 0,
    /// The request failed or was given up (`ASYNC_STATUS_ERR`).
    Err = 1,
    /// The request was accepted, and perhaps completed: wait for the wake (`ASYNC_STATUS_OK`).
    Ok = 2,
    /// The device had no room yet. The request waits in the engine's queue (`ASYNC_STATUS_EAGAIN`).
    Again = 3,
}

impl From<RequestPhase> for Status {
    fn from(state: RequestPhase) -> Self {
        match state {
            RequestPhase::Free => Self::Unsupported,
            RequestPhase::Queued => Self::Again,
            RequestPhase::Submitted | RequestPhase::Done => Self::Ok,
            RequestPhase::Failed | RequestPhase::Cancelled => Self::Err,
        }
    }
}

impl From<Status> for i32 {
    fn from(status: Status) -> Self {
        status as Self
    }
}

/// A number that is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no status: expected 0 (unsupported), 1 (error), 2 (ok) or 3 (again)")]
pub struct UnknownStatus(pub i32);

impl TryFrom<i32> for Status {
    type Error = UnknownStatus;

    fn try_from(number: i32) -> Result<Self, UnknownStatus> {
        match number {
            0 => Ok(Self::Unsupported),
            1 => Ok(Self::Err),
            2 => Ok(Self::Ok),
            3 => Ok(Self::Again),
            other => Err(UnknownStatus(other)),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "unsupported",
            Self::Err => "error",
            Self::Ok => "ok",
            Self::Again => "again",
        })
    }
}

/// How a request was completed, as the completing side reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// With a result: the state becomes [`RequestPhase::Done`].
    Done,
    /// With an error: the state becomes [`RequestPhase::Failed`].
    Failed,
}

impl Ending {
    pub(crate) const fn event(self) -> RequestEvent {
        match self {
            Self::Done => RequestEvent::Complete,
            Self::Failed => RequestEvent::Fail,
        }
    }
}
