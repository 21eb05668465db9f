//! The backlog of a device: queued requests, permits to submit, and requests that are being submitted.
//!
//! ```text
//!             +--------- next (requests) ----------+
//!             |                                    v
//!   push --> queue <--------- put_back ---- being submitted --> done
//!             |  ^                                 ^
//!             |  +------- replace ------+          |
//!             |                         |      use_permit
//!             +---- grant (owners) --> permit -----+
//! ```
//!
//! Pure bookkeeping, generic over what waits; [`DeviceQueue`](crate::device_queue::DeviceQueue) keeps it behind one
//! lock. Each call leaves it consistent, in whatever order threads call it: no request is in two places, and none is
//! lost. A step costs at most O(log n) in the number of waiting requests, [`take_owners`](Backlog::take_owners) excepted.

use core::time::Duration;
use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

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

    /// Whether a request is queued, or its owner is or has a permit.
    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.queued.contains_key(&id) || self.permits.contains(id)
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
        match self.queued.remove(&id).and_then(|at| self.fifo.remove(at)) {
            Some((_, waiting)) => Some(Withdrawn::Waiting(waiting)),
            None => self.permits.take(id).map(|_| Withdrawn::Permit),
        }
    }

    /// Takes out a queued request. Not an owner.
    pub(crate) fn withdraw_request(&mut self, id: RequestId) -> Option<R> {
        let at = *self.queued.get(&id)?;
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 2] = [Kind::new("a"), Kind::new("b")];

    /// One step of the pump or of a caller. Each takes the lock once, so any interleaving of threads is a sequence of these.
    #[derive(Clone, Debug)]
    enum Op {
        Push {
            kind: usize,
            owner: bool,
        },
        Next {
            full: Vec<usize>,
        },
        Grant {
            nth: usize,
            credits: usize,
            armed: bool,
        },
        UsePermit {
            nth: usize,
        },
        EndSubmission {
            nth: usize,
            taken: bool,
        },
        Replace {
            nth: usize,
        },
        Withdraw {
            nth: usize,
        },
        WithdrawRequest {
            nth: usize,
        },
        /// Time passes, and permits that were not used lose their room.
        Pass {
            ms: u64,
        },
    }

    fn op() -> impl Strategy<Value = Op> {
        let nth = 0usize..6;
        prop_oneof![
            4 => (0..KINDS.len(), any::<bool>()).prop_map(|(kind, owner)| Op::Push { kind, owner }),
            4 => prop::collection::vec(0..KINDS.len(), 0..2).prop_map(|full| Op::Next { full }),
            3 => (nth.clone(), 0usize..4, any::<bool>())
                .prop_map(|(nth, credits, armed)| Op::Grant { nth, credits, armed }),
            2 => nth.clone().prop_map(|nth| Op::UsePermit { nth }),
            3 => (nth.clone(), any::<bool>()).prop_map(|(nth, taken)| Op::EndSubmission { nth, taken }),
            1 => nth.clone().prop_map(|nth| Op::Replace { nth }),
            1 => nth.clone().prop_map(|nth| Op::Withdraw { nth }),
            1 => nth.prop_map(|nth| Op::WithdrawRequest { nth }),
            2 => (0u64..120).prop_map(|ms| Op::Pass { ms }),
        ]
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Where {
        Request,
        Owner,
        /// It reserves room until then, if at all.
        Permit {
            until: Option<Duration>,
        },
        BeingSubmitted,
    }

    /// Where each request is, by its number, which is also the order of arrival.
    #[derive(Default)]
    struct Model {
        at: BTreeMap<u64, (Kind, Where)>,
        /// Returned by `next` or `use_permit`. The owners may have changed since.
        being_submitted: Vec<(Position, u64)>,
        owners_seen: Vec<(Position, u64)>,
    }

    impl Model {
        fn nth(&self, nth: usize) -> Option<(u64, Kind, Where)> {
            self.at.iter().nth(nth).map(|(n, (kind, at))| (*n, *kind, *at))
        }

        /// One whose owner keeps the request, with a permit or without.
        fn nth_owner(&self, nth: usize) -> Option<u64> {
            let is_owner = |at: &Where| matches!(at, Where::Owner | Where::Permit { .. });
            self.at.iter().filter(|(_, (_, at))| is_owner(at)).map(|(n, _)| *n).nth(nth)
        }

        fn oldest(&self, kind: Kind) -> Option<u64> {
            let queued = |(n, (k, at)): (&u64, &(Kind, Where))| {
                (*k == kind && matches!(at, Where::Request | Where::Owner)).then_some(*n)
            };
            self.at.iter().find_map(queued)
        }

        fn count(&self, at: impl Fn(Where) -> bool) -> usize {
            self.at.values().filter(|(_, is_at)| at(*is_at)).count()
        }

        /// Permits of `kind` that reserve room.
        fn n_reserved(&self, kind: Kind) -> usize {
            let reserves = |at: &Where| matches!(at, Where::Permit { until: Some(_) });
            self.at.values().filter(|(k, at)| *k == kind && reserves(at)).count()
        }
    }

    proptest! {
        /// For every order of steps each request is in one place, is returned once, and goes back to its position.
        #[test]
        fn l13_no_request_is_lost_or_in_two_places(ops in prop::collection::vec(op(), 1..200)) {
            let mut backlog: Backlog<u64, u64> = Backlog::new(4);
            let mut model = Model::default();
            let mut now = Duration::ZERO;
            for (n, op) in (0u64..).zip(ops) {
                match op {
                    Op::Push { kind, owner } => {
                        let kind = KINDS[kind];
                        let queued = model.at.values().filter(|(k, at)| {
                            *k == kind && matches!(at, Where::Request | Where::Owner)
                        });
                        prop_assert_eq!(backlog.is_full(kind), queued.count() >= 4);
                        if !backlog.is_full(kind) {
                            let waiting = if owner { Waiting::Owner(n) } else { Waiting::Request(n) };
                            backlog.push(kind, RequestId(n), waiting);
                            model.at.insert(n, (kind, if owner { Where::Owner } else { Where::Request }));
                        }
                    }
                    Op::Next { full } => {
                        let full: Vec<Kind> = full.into_iter().map(|kind| KINDS[kind]).collect();
                        let next = backlog.next(&full);
                        let open = |kind: &&Kind| !full.contains(kind) && model.oldest(**kind).is_some();
                        prop_assert_eq!(next.is_some(), KINDS.iter().any(|kind| open(&kind)));
                        let Some((position, next)) = next else { continue };
                        prop_assert!(!full.contains(&position.kind()));
                        let oldest = model.oldest(position.kind());
                        match next {
                            Waiting::Request(n) => {
                                prop_assert_eq!(Some(n), oldest);
                                let before = model.at.insert(n, (position.kind(), Where::BeingSubmitted));
                                prop_assert_eq!(before, Some((position.kind(), Where::Request)));
                                model.being_submitted.push((position, n));
                            }
                            Waiting::Owner(n) => {
                                prop_assert_eq!(Some(n), oldest);
                                prop_assert_eq!(model.at[&n].1, Where::Owner);
                                model.owners_seen.push((position, n));
                            }
                        }
                    }
                    Op::Grant { nth, credits, armed } => {
                        if model.owners_seen.is_empty() {
                            continue;
                        }
                        let (position, n) = model.owners_seen.remove(nth % model.owners_seen.len());
                        let kind = position.kind();
                        let permits = model.n_reserved(kind);
                        let until = now + PERMIT_TIME;
                        // An attempt leaves its kind without room until a request leaves.
                        backlog.trust_all_credits();
                        let expected = match model.at.get(&n) {
                            Some((_, Where::Owner)) if permits < credits => Grant::Granted { until },
                            Some((_, Where::Owner)) => Grant::NoRoom,
                            _ => Grant::Changed,
                        };
                        prop_assert_eq!(backlog.grant(position, Some(credits), now), expected);
                        if let Grant::Granted { until } = expected {
                            let until = armed.then_some(until);
                            model.at.insert(n, (kind, Where::Permit { until }));
                            if !armed {
                                backlog.release_room(RequestId(n));
                            }
                        }
                    }
                    Op::Pass { ms } => {
                        now += Duration::from_millis(ms);
                        let mut expired = Vec::new();
                        for (n, (_, at)) in &mut model.at {
                            if let Where::Permit { until } = at
                                && until.take_if(|until| *until <= now).is_some()
                            {
                                expired.push(*n);
                            }
                        }
                        let mut returned: Vec<_> = core::iter::from_fn(|| backlog.expire(now)).collect();
                        returned.sort_unstable();
                        prop_assert_eq!(returned, expired);
                    }
                    Op::UsePermit { nth } => {
                        let Some((n, kind, at)) = model.nth(nth) else { continue };
                        let taken = backlog.use_permit(RequestId(n));
                        prop_assert_eq!(taken.is_some(), matches!(at, Where::Permit { .. }));
                        if let Some(position) = taken {
                            prop_assert!(!backlog.has_room(kind, Some(usize::MAX)));
                            model.at.insert(n, (kind, Where::BeingSubmitted));
                            model.being_submitted.push((position, n));
                        }
                    }
                    Op::EndSubmission { nth, taken } => {
                        if model.being_submitted.is_empty() {
                            continue;
                        }
                        let (position, n) = model.being_submitted.remove(nth % model.being_submitted.len());
                        if taken {
                            let earlier = model.oldest(position.kind()).is_some_and(|oldest| oldest < n);
                            prop_assert_eq!(backlog.done(position), earlier);
                            model.at.remove(&n);
                        } else {
                            backlog.put_back(position, RequestId(n), Waiting::Request(n));
                            model.at.insert(n, (position.kind(), Where::Request));
                        }
                    }
                    Op::Replace { nth } => {
                        // Only the owner does it, and never while submitting.
                        let Some(n) = model.nth_owner(nth) else { continue };
                        let (kind, at) = model.at[&n];
                        let replaced = backlog.replace(RequestId(n), n);
                        let has_permit = matches!(at, Where::Permit { .. });
                        prop_assert_eq!(replaced, Ok(if has_permit { Replaced::Permit } else { Replaced::Owner }));
                        model.at.insert(n, (kind, Where::Request));
                    }
                    Op::Withdraw { nth } => {
                        let Some((n, _, at)) = model.nth(nth) else { continue };
                        let expected = match at {
                            Where::Request => Some(Withdrawn::Waiting(Waiting::Request(n))),
                            Where::Owner => Some(Withdrawn::Waiting(Waiting::Owner(n))),
                            Where::Permit { .. } => Some(Withdrawn::Permit),
                            Where::BeingSubmitted => None,
                        };
                        prop_assert_eq!(backlog.withdraw(RequestId(n)), expected);
                        if at != Where::BeingSubmitted {
                            model.at.remove(&n);
                            prop_assert_eq!(backlog.replace(RequestId(n), n), Err(n));
                        }
                    }
                    Op::WithdrawRequest { nth } => {
                        let Some((n, _, at)) = model.nth(nth) else { continue };
                        let is_request = at == Where::Request;
                        let withdrawn = backlog.withdraw_request(RequestId(n));
                        prop_assert_eq!(withdrawn, is_request.then_some(n));
                        if is_request {
                            model.at.remove(&n);
                        }
                    }
                }
                let permits = model.count(|at| matches!(at, Where::Permit { .. }));
                prop_assert_eq!(backlog.n_waiting(), model.at.len() - permits);
                prop_assert_eq!(backlog.n_permits(), permits);
                // An owner that does not come reserves room for a bounded time.
                let untils = model.at.values().filter_map(|(_, at)| match at {
                    Where::Permit { until } => *until,
                    _ => None,
                });
                let next = untils.min();
                prop_assert!(next.is_none_or(|next| next <= now + PERMIT_TIME));
                prop_assert_eq!(backlog.next_expiry(), next.filter(|_| backlog.n_waiting() > 0));
                backlog.trust_all_credits();
                for kind in KINDS {
                    let reserved = model.n_reserved(kind);
                    prop_assert!(!backlog.has_room(kind, Some(reserved)));
                    prop_assert!(backlog.has_room(kind, Some(reserved + 1)));
                }
            }
            let owners = model.at.iter().filter(|(_, (_, at))| *at == Where::Owner).map(|(n, _)| *n);
            let mut taken = backlog.take_owners();
            taken.sort_unstable();
            prop_assert!(owners.eq(taken));
            prop_assert_eq!(backlog.n_waiting(), model.count(|at| matches!(at, Where::Request | Where::BeingSubmitted)));
        }
    }
}
