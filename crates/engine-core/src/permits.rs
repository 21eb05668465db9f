//! Permits: which jobs were told to submit their own request, and until when the room is kept for them.
//!
//! A permit keeps room in the device for one job, so that a later one does not take it. A job that never comes (it was
//! forgotten, leaked, or quarantined) would keep that room for ever; nothing but time tells it from one that is slow. So
//! the room is kept for [`PERMIT_TIME`]. Afterwards the permit still lets its job submit, whenever it comes, but the room
//! goes to the next.
//!
//! Pure bookkeeping; every step costs O(log n).

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::fifo::Position;
use crate::request::RequestId;
use crate::work::Kind;

/// How long a permit keeps room for its job: longer than an event loop takes to come round, shorter than a client's
/// patience.
pub(crate) const PERMIT_TIME: Duration = Duration::from_millis(100);

/// Permits that were granted and not yet used. `T` is what is known of the request.
pub(crate) struct Permits<T> {
    all: FxHashMap<RequestId, Permit<T>>,
    /// How many of each kind keep room. No entry is zero.
    reserved: BTreeMap<Kind, usize>,
    /// Those that keep room, by the time when they no longer do.
    expiries: BTreeSet<(Duration, RequestId)>,
}

struct Permit<T> {
    position: Position,
    turn: T,
    /// Until when it keeps room; `None` if it does not.
    until: Option<Duration>,
}

impl<T> Permits<T> {
    pub(crate) fn new() -> Self {
        Self { all: FxHashMap::default(), reserved: BTreeMap::new(), expiries: BTreeSet::new() }
    }

    /// Grants a permit that keeps room until `until`.
    pub(crate) fn grant(&mut self, id: RequestId, position: Position, turn: T, until: Duration) {
        let before = self.all.insert(id, Permit { position, turn, until: Some(until) });
        debug_assert!(before.is_none(), "a request has one permit");
        *self.reserved.entry(position.kind()).or_default() += 1;
        self.expiries.insert((until, id));
    }

    /// Takes a permit away, used or withdrawn.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<Position> {
        self.release(id);
        self.all.remove(&id).map(|permit| permit.position)
    }

    /// A permit keeps its room no longer.
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

    /// Releases one permit whose time is over at `now`, and says whose it is.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<&T> {
        let &(_, id) = self.expiries.first().filter(|(until, _)| *until <= now)?;
        self.release(id);
        self.all.get(&id).map(|permit| &permit.turn)
    }

    /// When the next permit loses its room.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.expiries.first().map(|(until, _)| *until)
    }

    /// How many permits keep room for a request of `kind`.
    pub(crate) fn n_reserved(&self, kind: Kind) -> usize {
        self.reserved.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}
