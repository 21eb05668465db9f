//! The entries that the device holds: every accepted request from submission until the software
//! has drained its response.

use core::ops::{Index, IndexMut};
use core::time::Duration;

use crate::completion::{CompletionStatus, EntryId, ServiceClass};

/// Where an entry is stored; reused after the entry has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// One accepted request. While it is here its payload belongs to the device.
#[derive(Debug)]
pub(crate) struct Entry<P> {
    pub(crate) id: EntryId,
    /// What the response will say; differs from `id` after a misdirection.
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

/// How far an entry has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Written to the ring; the device has not seen it yet.
    Rung,
    /// Seen; no unit is free.
    Queued,
    /// A unit works on it.
    InService,
    /// The unit is done and free again; the response follows at a set time.
    Late,
    /// The unit is done and free again; the response waits to be overtaken.
    HeldBack,
    /// The unit is done and free again; no response will ever be written.
    Lost,
    /// On the response ring, or waiting for a place there.
    Answered(CompletionStatus),
}

impl Stage {
    /// Whether a response is still to come, without waiting for others.
    pub(crate) const fn is_under_way(self) -> bool {
        matches!(self, Self::Rung | Self::Queued | Self::InService | Self::Late)
    }

    pub(crate) const fn is_answered(self) -> bool {
        matches!(self, Self::Answered(_))
    }
}

/// A slab: places are reused, last left first taken, so memory is bounded by the credits given out.
#[derive(Debug)]
pub(crate) struct Entries<P> {
    slots: Vec<Option<Entry<P>>>,
    free: Vec<Slot>,
}

impl<P> Entries<P> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, entry: Entry<P>) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.slots[slot.0 as usize] = Some(entry);
            return slot;
        }
        let slot = Slot(u32::try_from(self.slots.len()).expect("rings bound the entries"));
        self.slots.push(Some(entry));
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Entry<P> {
        let entry = self.slots[slot.0 as usize].take().expect("a slot leaves once");
        self.free.push(slot);
        entry
    }

    pub(crate) fn find(&self, wanted: impl Fn(&Entry<P>) -> bool) -> Option<Slot> {
        self.iter().find(|(_, entry)| wanted(entry)).map(|(slot, _)| slot)
    }

    /// All entries, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Entry<P>)> {
        (0..).zip(&self.slots).filter_map(|(index, entry)| Some((Slot(index), entry.as_ref()?)))
    }
}

impl<P> Index<Slot> for Entries<P> {
    type Output = Entry<P>;

    fn index(&self, slot: Slot) -> &Entry<P> {
        self.slots[slot.0 as usize].as_ref().expect("slots in use hold an entry")
    }
}

impl<P> IndexMut<Slot> for Entries<P> {
    fn index_mut(&mut self, slot: Slot) -> &mut Entry<P> {
        self.slots[slot.0 as usize].as_mut().expect("slots in use hold an entry")
    }
}
