//! The backlog of a device: queued requests, permits to submit, requests that are being submitted, and those that wait for
//! their next attempt.
//!
//! ```text
//!             +--------- next (requests) ----------+
//!             |                                    v
//!   push --> queue <--------- put_back ---- being submitted --> done
//!             |  ^                                 ^
//!             |  +------- replace ------+          |
//!             |                         |      use_permit
//!             +---- grant (owners) --> permit -----+
//!
//!   postpone --> later -- take_due --> (entered again)
//! ```
//!
//! Pure bookkeeping, generic over what waits; [`DeviceQueue`](crate::device_queue::DeviceQueue) keeps it behind one
//! lock. Each call leaves it consistent, in whatever order threads call it: no request is in two places, and none is
//! lost. A step costs at most O(log n) in the number of waiting requests, [`take_owners`](Backlog::take_owners) excepted.

use core::time::Duration;
use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::attempts::Later;
use crate::fifo::{Fifo, Position};
use crate::permits::{PERMIT_TIME, Permits};
#[cfg(feature = "plant")]
use crate::plant::{self, Bug};
use crate::work::{Kind, RequestId};

/// `R` is a request. `T` stands for the owner of a request, who keeps the request and waits for a permit to submit it.
pub(crate) struct Backlog<R, T> {
    fifo: Fifo<(RequestId, Waiting<R, T>)>,
    /// The position of each in `fifo`. No peer chooses the numbers, so a fast hash is safe.
    queued: FxHashMap<RequestId, Position>,
    /// Permits that were granted and not used yet.
    permits: Permits<T>,
    being_submitted: usize,
    /// The device has failed them, and is given them once more at their time.
    later: Later<R>,
    /// Kinds that a job is submitting, or had refused, since a request last left the device: they count as without
    /// room, whatever credits the device reports. Otherwise this would livelock: a permit granted on wrong credits comes
    /// back refused, and is granted again.
    distrusted: BTreeSet<Kind>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting<R, T> {
    /// The request itself waits.
    Request(R),
    /// Its owner has the request, and waits for a permit.
    Owner(T),
}

/// Result of [`Backlog::grant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Room is reserved for the owner until then.
    Granted {
        until: Duration,
    },
    NoRoom,
    /// The owner has left the queue meanwhile, or its request was queued in its place.
    Changed,
}

/// What was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn<R, T> {
    Waiting(Waiting<R, T>),
    /// A permit: the room that it reserved is free.
    Permit,
}

/// What a request was queued in place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// Its owner, who waited for a permit.
    Owner,
    /// A permit: the room that it reserved is free.
    Permit,
}

impl<R, T: Clone> Backlog<R, T> {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            fifo: Fifo::new(bound),
            queued: FxHashMap::default(),
            permits: Permits::new(),
            being_submitted: 0,
            later: Later::new(),
            distrusted: BTreeSet::new(),
        }
    }

    /// How many of each kind may be queued.
    pub(crate) const fn bound(&self) -> usize {
        self.fifo.bound()
    }

    /// How many are queued or being submitted.
    pub(crate) fn n_waiting(&self) -> usize {
        self.fifo.len() + self.being_submitted
    }

    /// How many permits were granted and not used yet.
    pub(crate) fn n_permits(&self) -> usize {
        self.permits.len()
    }

    /// Whether the queue of `kind` holds its bound.
    pub(crate) fn is_full(&self, kind: Kind) -> bool {
        self.fifo.is_full(kind)
    }

    /// Whether a request is here: queued, or its owner is or has a permit, or it waits for its next attempt. Not one that is
    /// being submitted.
    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.queued.contains_key(&id) || self.permits.contains(id) || self.later.contains(id)
    }

    /// Keeps a request until its next attempt.
    pub(crate) fn postpone(&mut self, at: Duration, id: RequestId, request: R) {
        self.later.insert(at, id, request);
    }

    /// When the next attempt is due.
    pub(crate) fn next_attempt(&self) -> Option<Duration> {
        self.later.next()
    }

    /// Takes out a request whose next attempt is due.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<R> {
        self.later.take_due(now)
    }

    /// Takes out all that wait for their next attempt.
    pub(crate) fn take_later(&mut self) -> Vec<R> {
        self.later.take_all()
    }

    pub(crate) fn push(&mut self, kind: Kind, id: RequestId, waiting: Waiting<R, T>) {
        let position = self.fifo.push(kind, (id, waiting));
        self.queued.insert(id, position);
    }

    /// Returns what is next, passing over the kinds in `full`: a request, which counts as being submitted from now on; or
    /// an owner, who stays queued until the [`grant`](Self::grant) of a permit.
    pub(crate) fn next(&mut self, full: &[Kind]) -> Option<(Position, Waiting<R, T>)> {
        let position = match () {
            #[cfg(feature = "plant")]
            () if plant::armed(Bug::LifoQueue) => self.fifo.newest(full),
            #[cfg(feature = "plant")]
            () if plant::armed(Bug::SlowBlocksFast) => self.fifo.oldest_of_all(full),
            () => self.fifo.next(full),
        }?;
        if let (_, Waiting::Owner(owner)) = self.fifo.get(position)? {
            return Some((position, Waiting::Owner(owner.clone())));
        }
        let (id, request) = self.fifo.take(position)?;
        self.queued.remove(&id);
        self.being_submitted += 1;
        Some((position, request))
    }

    /// Ends a submission for good. True if the request has overtaken an older one of its kind.
    pub(crate) fn done(&mut self, position: Position) -> bool {
        self.being_submitted -= 1;
        self.fifo.overtaken_at(position)
    }

    /// Ends a submission that was refused: the request waits again, at its old position.
    pub(crate) fn put_back(&mut self, position: Position, id: RequestId, waiting: Waiting<R, T>) {
        self.being_submitted -= 1;
        self.queue_at(position, id, waiting);
    }

    fn queue_at(&mut self, position: Position, id: RequestId, waiting: Waiting<R, T>) {
        self.fifo.put_back(position, (id, waiting));
        self.queued.insert(id, position);
    }

    /// Grants a permit `now`, if there is room by the `credits` of the device. The room is reserved for [`PERMIT_TIME`].
    pub(crate) fn grant(
        &mut self,
        position: Position,
        credits: Option<usize>,
        now: Duration,
    ) -> Grant {
        let Some((id, Waiting::Owner(owner))) = self.fifo.get(position) else {
            return Grant::Changed;
        };
        if !self.has_room(position.kind(), credits) {
            return Grant::NoRoom;
        }
        let (id, owner, until) = (*id, owner.clone(), now.saturating_add(PERMIT_TIME));
        self.fifo.take(position);
        self.queued.remove(&id);
        self.permits.grant(id, position, owner, until);
        Grant::Granted { until }
    }

    /// Frees the room of a permit whose owner was not waiting for it, and may use it much later or never. The permit stays
    /// valid.
    pub(crate) fn release_room(&mut self, id: RequestId) {
        self.permits.release(id);
    }

    /// Frees the room of one permit that was not used in time, and returns its owner. The permit stays valid.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<T> {
        self.permits.expire(now).cloned()
    }

    /// When a permit loses its room; `None` while no request waits for that room.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.permits.next_expiry().filter(|_| self.n_waiting() > 0)
    }

    /// Uses the permit of a request, which counts as being submitted from now on. The attempt takes the room that the
    /// permit reserved, with no moment between in which it looks free.
    pub(crate) fn use_permit(&mut self, id: RequestId) -> Option<Position> {
        let position = self.permits.take(id)?;
        self.distrusted.insert(position.kind());
        self.being_submitted += 1;
        Some(position)
    }

    /// Queues a request in place of its owner or its permit. Returns the request if it has neither.
    pub(crate) fn replace(&mut self, id: RequestId, request: R) -> Result<Replaced, R> {
        if let Some((_, waiting)) = self.queued.get(&id).and_then(|at| self.fifo.get_mut(*at)) {
            *waiting = Waiting::Request(request);
            return Ok(Replaced::Owner);
        }
        match self.permits.take(id) {
            Some(position) => {
                self.queue_at(position, id, Waiting::Request(request));
                Ok(Replaced::Permit)
            }
            None => Err(request),
        }
    }

    /// Takes out a request, its owner, or its permit; not a request that is being submitted.
    pub(crate) fn withdraw(&mut self, id: RequestId) -> Option<Withdrawn<R, T>> {
        if let Some((_, waiting)) = self.queued.remove(&id).and_then(|at| self.fifo.remove(at)) {
            return Some(Withdrawn::Waiting(waiting));
        }
        if self.permits.take(id).is_some() {
            return Some(Withdrawn::Permit);
        }
        self.later.take(id).map(|request| Withdrawn::Waiting(Waiting::Request(request)))
    }

    /// Takes out a request that is queued or waits for its next attempt. Not an owner.
    pub(crate) fn withdraw_request(&mut self, id: RequestId) -> Option<R> {
        let Some(at) = self.queued.get(&id).copied() else { return self.later.take(id) };
        let (_, Waiting::Request(_)) = self.fifo.get(at)? else { return None };
        match self.withdraw(id)? {
            Withdrawn::Waiting(Waiting::Request(request)) => Some(request),
            Withdrawn::Waiting(Waiting::Owner(_)) | Withdrawn::Permit => None,
        }
    }

    /// Takes all owners out of the queues. Those with a permit are not among them.
    pub(crate) fn take_owners(&mut self) -> Vec<T> {
        let owners = self.fifo.iter().filter_map(|(at, (id, waiting))| match waiting {
            Waiting::Owner(owner) => Some((at, *id, owner.clone())),
            Waiting::Request(_) => None,
        });
        let owners: Vec<_> = owners.collect();
        let take = |(at, id, owner)| {
            self.queued.remove(&id);
            self.fifo.remove(at);
            owner
        };
        owners.into_iter().map(take).collect()
    }

    /// Whether there may be room for one more of `kind` by the device's `credits`, less the room that permits reserve. A
    /// device that reports no credits is taken to have room for one.
    pub(crate) fn has_room(&self, kind: Kind, credits: Option<usize>) -> bool {
        !self.distrusted.contains(&kind) && self.permits.n_reserved(kind) < credits.unwrap_or(1)
    }

    /// Records that one of `kind` is about to be submitted. Before the attempt: a request that leaves during it must count.
    pub(crate) fn distrust_credits(&mut self, kind: Kind) {
        self.distrusted.insert(kind);
    }

    /// Records that the credits of `kind` agree with the device's answer.
    pub(crate) fn trust_credits(&mut self, kind: Kind) {
        self.distrusted.remove(&kind);
    }

    /// Records that a request has left the device, or that the device announces room: for any kind, since kinds may share
    /// a ring.
    pub(crate) fn trust_all_credits(&mut self) {
        self.distrusted.clear();
    }
}

#[cfg(test)]
mod tests;
