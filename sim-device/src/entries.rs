//! The entries that the device holds: each accepted request from submission until the software has
//! drained its response.

use core::time::Duration;

use slab::Slab;

use crate::completion::{Completion, CompletionStatus, EntryId, ServiceClass};

/// Where an entry is stored; reused after the entry has left.
pub(crate) type Slot = usize;

/// The entries by slot. Slots are reused, so the rings bound the memory.
pub(crate) type Entries<P> = Slab<Entry<P>>;

/// One accepted request. The device owns its payload.
#[derive(Debug)]
pub(crate) struct Entry<P> {
    pub(crate) id: EntryId,
    /// The tag of the response; differs from `id` after a misdirection.
    pub(crate) tag: EntryId,
    pub(crate) class: ServiceClass,
    /// Index of the group of units that serves the class.
    pub(crate) group: usize,
    pub(crate) stage: Stage,
    pub(crate) payload: P,
    pub(crate) submitted: Duration,
    pub(crate) started: Option<Duration>,
    pub(crate) finished: Duration,
}

impl<P> Entry<P> {
    /// Its response, without the payload.
    pub(crate) fn completion(&self, status: CompletionStatus) -> Completion<P> {
        let Self { tag, class, submitted, started, finished, .. } = *self;
        Completion { entry: tag, class, payload: None, status, submitted, started, finished }
    }
}

/// The progress of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// On the ring; the device has not seen it yet.
    Rung,
    /// Seen by the device; no unit is free.
    Queued,
    /// In a unit.
    InService,
    /// Finished; the response follows at a set time.
    Late,
    /// Finished; the response waits to be overtaken.
    HeldBack,
    /// Finished; the response is never written.
    Lost,
    /// On the response ring, or waiting for room there.
    Answered(CompletionStatus),
}

impl Stage {
    /// Whether its response will be written without waiting for other responses.
    pub(crate) const fn is_in_progress(self) -> bool {
        matches!(self, Self::Rung | Self::Queued | Self::InService | Self::Late)
    }

    pub(crate) const fn is_answered(self) -> bool {
        matches!(self, Self::Answered(_))
    }
}
