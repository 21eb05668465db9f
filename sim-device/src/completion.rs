//! Identifiers, completions and refused submissions.

use core::fmt;
use core::time::Duration;

/// The kind of service unit that a request needs: a number that the user of this crate chooses.
///
/// The device serves each class with its own units and, by default, from its own ring, so that a slow
/// class does not delay a fast one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceClass(pub u8);

impl fmt::Display for ServiceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "class {}", self.0)
    }
}

/// The tag of one accepted request, unique for the life of its instance.
///
/// Tags count up from zero in the order of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub(crate) u64);

impl EntryId {
    /// The tag as a number, for logs and for maps keyed by number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}", self.0)
    }
}

/// The status that the device reports for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompletionStatus {
    /// The work was done. The owner of the payload now computes the result.
    Finished,
    /// The device reports success, but the result is wrong. The owner of the payload falsifies it.
    Corrupt,
    /// The device failed to do the work. Other requests are unaffected.
    DeviceError,
    /// The instance was reset with the request inside; whether the work was done is unknown.
    Reset,
    /// The instance was unplugged with the request inside; whether the work was done is unknown.
    Removed,
}

impl CompletionStatus {
    /// Whether the device *reports* success: [`Finished`](Self::Finished) or
    /// [`Corrupt`](Self::Corrupt).
    #[must_use]
    pub const fn claims_success(self) -> bool {
        matches!(self, Self::Finished | Self::Corrupt)
    }
}

impl fmt::Display for CompletionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Corrupt => "corrupt",
            Self::DeviceError => "device-error",
            Self::Reset => "reset",
            Self::Removed => "removed",
        })
    }
}

/// One response, drained from the response ring.
///
/// All times are since the start of the simulation, like every `now` given to the instance.
#[derive(Clone, PartialEq, Eq)]
pub struct Completion<P> {
    /// The tag that the device reports. A misdirected completion carries the tag of *another*
    /// request, so a driver must compare it with the payload.
    pub entry: EntryId,
    /// The class of the request.
    pub class: ServiceClass,
    /// The payload of the request. `None` in a duplicate: the payload came with the first.
    pub payload: Option<P>,
    /// The reported status.
    pub status: CompletionStatus,
    /// When the request was written to the ring.
    pub submitted: Duration,
    /// When a unit started it; `None` if a reset or removal came first.
    pub started: Option<Duration>,
    /// When the unit finished it, or the reset or removal struck. The response may have become
    /// visible later.
    pub finished: Duration,
}

impl<P> Completion<P> {
    /// The time from submission to the start of service: doorbell and queue.
    #[must_use]
    pub fn queue_wait(&self) -> Duration {
        self.started.unwrap_or(self.finished).saturating_sub(self.submitted)
    }

    /// The time in a service unit.
    #[must_use]
    pub fn service_time(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| self.finished.saturating_sub(started))
    }
}

/// Leaves the payload out: it may hold key material.
impl<P> fmt::Debug for Completion<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("entry", &self.entry)
            .field("class", &self.class)
            .field("status", &self.status)
            .field("submitted", &self.submitted)
            .field("started", &self.started)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

/// A submission that the instance refused, with its payload.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError<P> {
    /// The request ring has no free entry, the only refusal in normal operation. Drain the response ring, then try again.
    RingFull(P),
    /// The instance has no unit of that class. A retry fails again.
    NoSuchUnit(P),
    /// The instance is being reset. It takes requests again when
    /// [`next_deadline`](crate::Instance::next_deadline) has passed.
    Resetting(P),
    /// The instance is unplugged, for a while or for good.
    Removed(P),
}

impl<P> SubmitError<P> {
    /// Returns the payload.
    pub fn into_payload(self) -> P {
        match self {
            Self::RingFull(payload)
            | Self::NoSuchUnit(payload)
            | Self::Resetting(payload)
            | Self::Removed(payload) => payload,
        }
    }

    /// The name of the reason, as traces show it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::RingFull(_) => "ring-full",
            Self::NoSuchUnit(_) => "no-such-unit",
            Self::Resetting(_) => "resetting",
            Self::Removed(_) => "removed",
        }
    }
}

/// Leaves the payload out: it may hold key material.
impl<P> fmt::Debug for SubmitError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmitError({})", self.reason())
    }
}

impl<P> fmt::Display for SubmitError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RingFull(_) => "the request ring is full: drain the response ring, then retry",
            Self::NoSuchUnit(_) => "no service unit of this class: add one to `units`",
            Self::Resetting(_) => "the instance is being reset: retry after its next deadline",
            Self::Removed(_) => "the instance is unplugged: use another one",
        })
    }
}

impl<P> core::error::Error for SubmitError<P> {}
