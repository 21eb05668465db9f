//! Permits: which jobs may submit their own request, and until when room is reserved for them.
//!
//! A permit reserves room in the device for one job, so that a later one does not take it. A job that never comes (it was
//! forgotten, leaked, or quarantined) would hold that room for ever, and only time tells it from a slow one. So the room
//! is reserved for [`PERMIT_TIME`]. Afterwards the permit stays valid, but the room goes to the next.
//!
//! Pure bookkeeping; every step costs O(log n).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::fifo::Position;
use crate::work::{Kind, RequestId};

/// How long a permit reserves room: longer than an event loop takes to come round, shorter than a client's
/// patience.
pub(crate) const PERMIT_TIME: Duration = Duration::from_millis(100);

/// Permits that were granted and not yet used. `T` stands for the owner of a request.
pub(crate) struct Permits<T> {
    all: FxHashMap<RequestId, Permit<T>>,
    /// How many of each kind reserve room. No entry is zero.
    reserved: BTreeMap<Kind, usize>,
    /// Those that reserve room, by the time when they expire.
    expiries: BTreeSet<(Duration, RequestId)>,
}

struct Permit<T> {
    position: Position,
    owner: T,
    /// Until when it reserves room; `None` if it does not.
    until: Option<Duration>,
}

impl<T> Permits<T> {
    pub(crate) fn new() -> Self {
        Self { all: FxHashMap::default(), reserved: BTreeMap::new(), expiries: BTreeSet::new() }
    }

    /// Grants a permit that reserves room until `until`.
    pub(crate) fn grant(&mut self, id: RequestId, position: Position, owner: T, until: Duration) {
        let before = self.all.insert(id, Permit { position, owner, until: Some(until) });
        debug_assert!(before.is_none(), "a request has one permit");
        *self.reserved.entry(position.kind()).or_default() += 1;
        self.expiries.insert((until, id));
    }

    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.all.contains_key(&id)
    }

    /// Removes a permit that is used or withdrawn.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<Position> {
        self.release(id);
        self.all.remove(&id).map(|permit| permit.position)
    }

    /// Frees the room of a permit.
    pub(crate) fn release(&mut self, id: RequestId) {
        let Some(permit) = self.all.get_mut(&id) else { return };
        let Some(until) = permit.until.take() else { return };
        self.expiries.remove(&(until, id));
        let kind = permit.position.kind();
        match self.reserved.get_mut(&kind) {
            Some(reserved) if *reserved > 1 => *reserved -= 1,
            _ => drop(self.reserved.remove(&kind)),
        }
    }

    /// Frees the room of one permit that has expired by `now`, and returns its owner.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<&T> {
        let &(_, id) = self.expiries.first().filter(|(until, _)| *until <= now)?;
        self.release(id);
        self.all.get(&id).map(|permit| &permit.owner)
    }

    /// When the next permit loses its room.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.expiries.first().map(|(until, _)| *until)
    }

    /// How many permits reserve room for a request of `kind`.
    pub(crate) fn n_reserved(&self, kind: Kind) -> usize {
        self.reserved.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}
