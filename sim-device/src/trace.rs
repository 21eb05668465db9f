//! The trace of an instance: its events with their virtual times.

use core::fmt;
use core::time::Duration;

use crate::completion::{CompletionStatus, EntryId, ServiceClass};
use crate::fault::Fault;

/// One event and its time.
///
/// `Display` writes `1500 started entry=0`: nanoseconds, the event's name, its fields. Equal seeds
/// and calls give equal text, which contains no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRecord {
    /// The time since the start.
    pub at: Duration,
    /// The event.
    pub event: Event,
}

impl fmt::Display for TraceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at.as_nanos(), self.event)
    }
}

/// An event of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A request was accepted.
    Submitted {
        /// Its tag.
        entry: EntryId,
        /// Its class.
        class: ServiceClass,
    },
    /// A request was refused.
    Refused {
        /// Its class.
        class: ServiceClass,
        /// [`SubmitError::reason`](crate::SubmitError::reason).
        reason: &'static str,
    },
    /// A unit started a request.
    Started(EntryId),
    /// A unit finished a request.
    Finished(EntryId),
    /// A response was written, or held back by a full response ring.
    Answered {
        /// The tag reported.
        entry: EntryId,
        /// The status reported.
        status: CompletionStatus,
    },
    /// The response ring was full, so the unit holds the response.
    Stalled(EntryId),
    /// The software drained a response.
    Drained {
        /// The tag reported.
        entry: EntryId,
        /// Whether it had a payload.
        payload: bool,
    },
    /// The software reclaimed a request whose response was lost.
    Reclaimed(EntryId),
    /// An interrupt reached the software.
    Interrupt,
    /// A fault struck.
    Struck {
        /// The fault.
        fault: Fault,
        /// The request it struck, if it strikes requests.
        entry: Option<EntryId>,
    },
    /// A reset or removal took the instance out of service. Every request inside has this status.
    WentAway(CompletionStatus),
    /// A stuck ring, a hang or a heartbeat loss is over.
    Recovered,
    /// The instance accepts requests again after a reset or a removal.
    Returned,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submitted { entry, class } => {
                write!(f, "submitted entry={} class={}", entry.0, class.0)
            }
            Self::Refused { class, reason } => {
                write!(f, "refused class={} reason={reason}", class.0)
            }
            Self::Started(entry) => write!(f, "started entry={}", entry.0),
            Self::Finished(entry) => write!(f, "finished entry={}", entry.0),
            Self::Answered { entry, status } => {
                write!(f, "answered entry={} outcome={status}", entry.0)
            }
            Self::Stalled(entry) => write!(f, "stalled entry={}", entry.0),
            Self::Drained { entry, payload } => {
                write!(f, "drained entry={} payload={payload}", entry.0)
            }
            Self::Reclaimed(entry) => write!(f, "reclaimed entry={}", entry.0),
            Self::Interrupt => f.write_str("interrupt"),
            Self::Struck { fault, entry: Some(entry) } => {
                write!(f, "struck entry={} fault={fault}", entry.0)
            }
            Self::Struck { fault, entry: None } => write!(f, "struck fault={fault}"),
            Self::WentAway(status) => write!(f, "went-away outcome={status}"),
            Self::Recovered => f.write_str("recovered"),
            Self::Returned => f.write_str("returned"),
        }
    }
}

/// The records not yet drained, and whether the trace is on.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) on: bool,
    pub(crate) records: Vec<TraceRecord>,
}
