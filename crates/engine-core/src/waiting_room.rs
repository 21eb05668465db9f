//! Who waits before a device: the queues, the turns that were granted, and the requests in the hand of whoever offers
//! them just now.
//!
//! ```text
//!             +--------- next (requests) ----------+
//!             |                                    v
//!   push --> queue <--------- put_back -------- in hand --> done, the device took it
//!             |  ^                                 ^
//!             |  +------- replace ------+          |
//!             |                         |     take_grant
//!             +---- grant (turns) --> granted -----+
//! ```
//!
//! Pure bookkeeping, generic over what waits; a [`Lane`](crate::lane::Lane) keeps it behind one lock. Each call leaves
//! it whole, so whatever order threads call it in: no request is in two places, and none is lost. No step costs more than
//! O(log n) in the number of waiting requests, [`take_turns`](WaitingRoom::take_turns) excepted.

use core::time::Duration;
use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::fifo::{Fifo, Position};
use crate::permits::{PERMIT_TIME, Permits};
#[cfg(feature = "plant")]
use crate::plant::{self, Bug};
use crate::request::RequestId;
use crate::work::Kind;

/// `R` is a request. `T` is a turn: what is known of a request that its owner keeps until it is told to submit it.
pub(crate) struct WaitingRoom<R, T> {
    fifo: Fifo<(RequestId, Waiting<R, T>)>,
    /// Where in `fifo` each one is, by its number, which counts up here and is no stranger's choice.
    queued: FxHashMap<RequestId, Position>,
    /// Turns whose owners were told to submit and have not done so yet.
    granted: Permits<T>,
    /// Requests that are being offered to the device.
    in_hand: usize,
    /// Kinds of which an owner is offering one, or had one refused, since something has last changed: there is no room
    /// for those, whatever the device says. Were its word enough, a turn granted on it would come back at once, and so on
    /// without end.
    tried: BTreeSet<Kind>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting<R, T> {
    /// The request itself waits.
    Request(R),
    /// Its owner has it; this is its turn.
    Turn(T),
}

/// What came of granting a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granting {
    /// The room is kept for its owner until then.
    Granted {
        until: Duration,
    },
    NoRoom,
    /// The turn has left the queue meanwhile, or its request has come to wait in its place.
    Changed,
}

/// What was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn<R, T> {
    Waiting(Waiting<R, T>),
    /// It was its turn: the room that it was granted is free.
    Grant,
}

/// Where a request has come to wait in place of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    InQueue,
    /// It was its turn: the room that it was granted is free.
    Grant,
}

impl<R, T: Clone> WaitingRoom<R, T> {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            fifo: Fifo::new(bound),
            queued: FxHashMap::default(),
            granted: Permits::new(),
            in_hand: 0,
            tried: BTreeSet::new(),
        }
    }

    /// How many wait of each kind at most.
    pub(crate) const fn bound(&self) -> usize {
        self.fifo.bound()
    }

    /// Those in a queue or in hand.
    pub(crate) fn n_waiting(&self) -> usize {
        self.fifo.len() + self.in_hand
    }

    /// Those that were told to submit and have not done so yet.
    pub(crate) fn n_granted(&self) -> usize {
        self.granted.len()
    }

    /// Whether the queue of `kind` holds its bound.
    pub(crate) fn is_full(&self, kind: Kind) -> bool {
        self.fifo.is_full(kind)
    }

    pub(crate) fn push(&mut self, kind: Kind, id: RequestId, waiting: Waiting<R, T>) {
        let position = self.fifo.push(kind, (id, waiting));
        self.queued.insert(id, position);
    }

    /// Comes with what is next, passing over the kinds in `full`: a request to offer, in hand from now on; or a turn to
    /// [`grant`](Self::grant), which stays in its queue until then.
    pub(crate) fn next(&mut self, full: &[Kind]) -> Option<(Position, Waiting<R, T>)> {
        let position = match () {
            #[cfg(feature = "plant")]
            () if plant::armed(Bug::LifoQueue) => self.fifo.newest(full),
            #[cfg(feature = "plant")]
            () if plant::armed(Bug::SlowBlocksFast) => self.fifo.oldest_of_all(full),
            () => self.fifo.next(full),
        }?;
        if let (_, Waiting::Turn(turn)) = self.fifo.get(position)? {
            return Some((position, Waiting::Turn(turn.clone())));
        }
        let (id, request) = self.fifo.take(position)?;
        self.queued.remove(&id);
        self.in_hand += 1;
        Some((position, request))
    }

    /// Ends the offer of what was in hand: it is gone. True if it has overtaken an older one of its kind.
    pub(crate) fn done(&mut self, position: Position) -> bool {
        self.in_hand -= 1;
        self.fifo.overtaken_at(position)
    }

    /// Ends the offer of what was in hand: it waits again, where it did before.
    pub(crate) fn put_back(&mut self, position: Position, id: RequestId, waiting: Waiting<R, T>) {
        self.in_hand -= 1;
        self.queue_at(position, id, waiting);
    }

    fn queue_at(&mut self, position: Position, id: RequestId, waiting: Waiting<R, T>) {
        self.fifo.put_back(position, (id, waiting));
        self.queued.insert(id, position);
    }

    /// Grants a turn `now`, if there is room for it by the `credits` of the device. Says until when the room is kept.
    pub(crate) fn grant(
        &mut self,
        position: Position,
        credits: Option<usize>,
        now: Duration,
    ) -> Granting {
        let Some((id, Waiting::Turn(turn))) = self.fifo.get(position) else {
            return Granting::Changed;
        };
        if !self.has_room(position.kind(), credits) {
            return Granting::NoRoom;
        }
        let (id, turn, until) = (*id, turn.clone(), now.saturating_add(PERMIT_TIME));
        self.fifo.take(position);
        self.queued.remove(&id);
        self.granted.grant(id, position, turn, until);
        Granting::Granted { until }
    }

    /// No caller was waiting when this turn was granted. It keeps its place, but not the room: it may be long before its
    /// owner looks.
    pub(crate) fn note_unheard(&mut self, id: RequestId) {
        self.granted.release(id);
    }

    /// Takes the room back from one permit that was not used in time, and says whose it is. Its owner may still use it
    /// when it comes.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<T> {
        self.granted.expire(now).cloned()
    }

    /// When a permit loses its room; `None` while no request waits for that room.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.granted.next_expiry().filter(|_| self.n_waiting() > 0)
    }

    /// Takes the grant of a request that its owner is about to offer, which is in hand from now on. Its attempt takes
    /// the place of the grant, with no moment between in which the room looks free.
    pub(crate) fn take_grant(&mut self, id: RequestId) -> Option<Position> {
        let position = self.granted.take(id)?;
        self.tried.insert(position.kind());
        self.in_hand += 1;
        Some(position)
    }

    /// Lets a request wait in place of its turn. Gives it back if it has none.
    pub(crate) fn replace(&mut self, id: RequestId, request: R) -> Result<Replaced, R> {
        if let Some((_, turn)) = self.queued.get(&id).and_then(|at| self.fifo.get_mut(*at)) {
            *turn = Waiting::Request(request);
            return Ok(Replaced::InQueue);
        }
        match self.granted.take(id) {
            Some(position) => {
                self.queue_at(position, id, Waiting::Request(request));
                Ok(Replaced::Grant)
            }
            None => Err(request),
        }
    }

    /// Takes out one that waits no longer, wherever it is; not what is in hand.
    pub(crate) fn withdraw(&mut self, id: RequestId) -> Option<Withdrawn<R, T>> {
        match self.queued.remove(&id).and_then(|at| self.fifo.remove(at)) {
            Some((_, waiting)) => Some(Withdrawn::Waiting(waiting)),
            None => self.granted.take(id).map(|_| Withdrawn::Grant),
        }
    }

    /// Takes out a request that waits itself. Not a turn.
    pub(crate) fn withdraw_request(&mut self, id: RequestId) -> Option<R> {
        let at = *self.queued.get(&id)?;
        let (_, Waiting::Request(_)) = self.fifo.get(at)? else { return None };
        match self.withdraw(id)? {
            Withdrawn::Waiting(Waiting::Request(request)) => Some(request),
            Withdrawn::Waiting(Waiting::Turn(_)) | Withdrawn::Grant => None,
        }
    }

    /// Takes all turns out of the queues. Those that were granted are not among them.
    pub(crate) fn take_turns(&mut self) -> Vec<T> {
        let turns = self.fifo.iter().filter_map(|(at, (id, waiting))| match waiting {
            Waiting::Turn(turn) => Some((at, *id, turn.clone())),
            Waiting::Request(_) => None,
        });
        let turns: Vec<_> = turns.collect();
        let take = |(at, id, turn)| {
            self.queued.remove(&id);
            self.fifo.remove(at);
            turn
        };
        turns.into_iter().map(take).collect()
    }

    /// Whether there may be room for one more of `kind` by the device's `credits`, what was granted to others set aside.
    /// A device that does not tell is believed to have room for one.
    pub(crate) fn has_room(&self, kind: Kind, credits: Option<usize>) -> bool {
        !self.tried.contains(&kind) && self.granted.n_reserved(kind) < credits.unwrap_or(1)
    }

    /// One of `kind` is about to be offered. Before the offer: what leaves during it must count.
    pub(crate) fn note_attempt(&mut self, kind: Kind) {
        self.tried.insert(kind);
    }

    /// What the device says of its room for `kind` fits what it does.
    pub(crate) fn note_fit(&mut self, kind: Kind) {
        self.tried.remove(&kind);
    }

    /// Something has left the device, or it says that it has room again. Kinds may share a ring, so this may be news
    /// for any of them.
    pub(crate) fn note_room(&mut self) {
        self.tried.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 2] = [Kind::new("a"), Kind::new("b")];

    /// One step of the pump or of somebody who waits. A step takes the lock once, so whatever order the threads come
    /// in, it is an order of these.
    #[derive(Clone, Debug)]
    enum Op {
        Push {
            kind: usize,
            turn: bool,
        },
        Next {
            full: Vec<usize>,
        },
        Grant {
            nth: usize,
            credits: usize,
            heard: bool,
        },
        TakeGrant {
            nth: usize,
        },
        EndOffer {
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
        /// Time goes on, and permits that were not used lose their room.
        Pass {
            ms: u64,
        },
    }

    fn op() -> impl Strategy<Value = Op> {
        let nth = 0usize..6;
        prop_oneof![
            4 => (0..KINDS.len(), any::<bool>()).prop_map(|(kind, turn)| Op::Push { kind, turn }),
            4 => prop::collection::vec(0..KINDS.len(), 0..2).prop_map(|full| Op::Next { full }),
            3 => (nth.clone(), 0usize..4, any::<bool>())
                .prop_map(|(nth, credits, heard)| Op::Grant { nth, credits, heard }),
            2 => nth.clone().prop_map(|nth| Op::TakeGrant { nth }),
            3 => (nth.clone(), any::<bool>()).prop_map(|(nth, taken)| Op::EndOffer { nth, taken }),
            1 => nth.clone().prop_map(|nth| Op::Replace { nth }),
            1 => nth.clone().prop_map(|nth| Op::Withdraw { nth }),
            1 => nth.prop_map(|nth| Op::WithdrawRequest { nth }),
            2 => (0u64..120).prop_map(|ms| Op::Pass { ms }),
        ]
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Where {
        Request,
        Turn,
        /// It keeps room until then, if at all.
        Granted {
            until: Option<Duration>,
        },
        InHand,
    }

    /// What is known from outside: where each one is, by its number, which is also the order of coming.
    #[derive(Default)]
    struct Model {
        at: BTreeMap<u64, (Kind, Where)>,
        /// What the room has come with, by `next` or by `take_grant`: the turns may have changed since.
        in_hand: Vec<(Position, u64)>,
        turns_seen: Vec<(Position, u64)>,
    }

    impl Model {
        fn nth(&self, nth: usize) -> Option<(u64, Kind, Where)> {
            self.at.iter().nth(nth).map(|(n, (kind, place))| (*n, *kind, *place))
        }

        /// One whose owner has its request, told to submit or not.
        fn nth_turn(&self, nth: usize) -> Option<u64> {
            let is_turn = |at: &Where| matches!(at, Where::Turn | Where::Granted { .. });
            self.at.iter().filter(|(_, (_, at))| is_turn(at)).map(|(n, _)| *n).nth(nth)
        }

        fn oldest(&self, kind: Kind) -> Option<u64> {
            let queued = |(n, (k, at)): (&u64, &(Kind, Where))| {
                (*k == kind && matches!(at, Where::Request | Where::Turn)).then_some(*n)
            };
            self.at.iter().find_map(queued)
        }

        fn count(&self, at: impl Fn(Where) -> bool) -> usize {
            self.at.values().filter(|(_, place)| at(*place)).count()
        }

        /// Permits of `kind` that keep room.
        fn n_reserved(&self, kind: Kind) -> usize {
            let keeps = |at: &Where| matches!(at, Where::Granted { until: Some(_) });
            self.at.values().filter(|(k, at)| *k == kind && keeps(at)).count()
        }
    }

    proptest! {
        /// Law L13, for every order of steps: each one is in one place, comes out once, and goes back to where it was.
        #[test]
        fn l13_nobody_is_lost_or_in_two_places(ops in prop::collection::vec(op(), 1..200)) {
            let mut room: WaitingRoom<u64, u64> = WaitingRoom::new(4);
            let mut model = Model::default();
            let mut now = Duration::ZERO;
            for (n, op) in (0u64..).zip(ops) {
                match op {
                    Op::Push { kind, turn } => {
                        let kind = KINDS[kind];
                        let queued = model.at.values().filter(|(k, at)| {
                            *k == kind && matches!(at, Where::Request | Where::Turn)
                        });
                        prop_assert_eq!(room.is_full(kind), queued.count() >= 4);
                        if !room.is_full(kind) {
                            let waiting = if turn { Waiting::Turn(n) } else { Waiting::Request(n) };
                            room.push(kind, RequestId(n), waiting);
                            model.at.insert(n, (kind, if turn { Where::Turn } else { Where::Request }));
                        }
                    }
                    Op::Next { full } => {
                        let full: Vec<Kind> = full.into_iter().map(|kind| KINDS[kind]).collect();
                        let next = room.next(&full);
                        let open = |kind: &&Kind| !full.contains(kind) && model.oldest(**kind).is_some();
                        prop_assert_eq!(next.is_some(), KINDS.iter().any(|kind| open(&kind)));
                        let Some((position, next)) = next else { continue };
                        prop_assert!(!full.contains(&position.kind()));
                        let oldest = model.oldest(position.kind());
                        match next {
                            Waiting::Request(n) => {
                                prop_assert_eq!(Some(n), oldest);
                                let before = model.at.insert(n, (position.kind(), Where::InHand));
                                prop_assert_eq!(before, Some((position.kind(), Where::Request)));
                                model.in_hand.push((position, n));
                            }
                            Waiting::Turn(n) => {
                                prop_assert_eq!(Some(n), oldest);
                                prop_assert_eq!(model.at[&n].1, Where::Turn);
                                model.turns_seen.push((position, n));
                            }
                        }
                    }
                    Op::Grant { nth, credits, heard } => {
                        if model.turns_seen.is_empty() {
                            continue;
                        }
                        let (position, n) = model.turns_seen.remove(nth % model.turns_seen.len());
                        let kind = position.kind();
                        let granted = model.n_reserved(kind);
                        let until = now + PERMIT_TIME;
                        // An attempt leaves its kind without room until something changes.
                        room.note_room();
                        let expected = match model.at.get(&n) {
                            Some((_, Where::Turn)) if granted < credits => Granting::Granted { until },
                            Some((_, Where::Turn)) => Granting::NoRoom,
                            _ => Granting::Changed,
                        };
                        prop_assert_eq!(room.grant(position, Some(credits), now), expected);
                        if let Granting::Granted { until } = expected {
                            let until = heard.then_some(until);
                            model.at.insert(n, (kind, Where::Granted { until }));
                            if !heard {
                                room.note_unheard(RequestId(n));
                            }
                        }
                    }
                    Op::Pass { ms } => {
                        now += Duration::from_millis(ms);
                        let mut expired = Vec::new();
                        for (n, (_, at)) in &mut model.at {
                            if let Where::Granted { until } = at
                                && until.take_if(|until| *until <= now).is_some()
                            {
                                expired.push(*n);
                            }
                        }
                        let mut told: Vec<_> = core::iter::from_fn(|| room.expire(now)).collect();
                        told.sort_unstable();
                        prop_assert_eq!(told, expired);
                    }
                    Op::TakeGrant { nth } => {
                        let Some((n, kind, at)) = model.nth(nth) else { continue };
                        let taken = room.take_grant(RequestId(n));
                        prop_assert_eq!(taken.is_some(), matches!(at, Where::Granted { .. }));
                        if let Some(position) = taken {
                            prop_assert!(!room.has_room(kind, Some(usize::MAX)));
                            model.at.insert(n, (kind, Where::InHand));
                            model.in_hand.push((position, n));
                        }
                    }
                    Op::EndOffer { nth, taken } => {
                        if model.in_hand.is_empty() {
                            continue;
                        }
                        let (position, n) = model.in_hand.remove(nth % model.in_hand.len());
                        if taken {
                            let earlier = model.oldest(position.kind()).is_some_and(|oldest| oldest < n);
                            prop_assert_eq!(room.done(position), earlier);
                            model.at.remove(&n);
                        } else {
                            room.put_back(position, RequestId(n), Waiting::Request(n));
                            model.at.insert(n, (position.kind(), Where::Request));
                        }
                    }
                    Op::Replace { nth } => {
                        // Its owner does it, who is not offering it at the time.
                        let Some(n) = model.nth_turn(nth) else { continue };
                        let (kind, at) = model.at[&n];
                        let replaced = room.replace(RequestId(n), n);
                        let granted = matches!(at, Where::Granted { .. });
                        prop_assert_eq!(replaced, Ok(if granted { Replaced::Grant } else { Replaced::InQueue }));
                        model.at.insert(n, (kind, Where::Request));
                    }
                    Op::Withdraw { nth } => {
                        let Some((n, _, at)) = model.nth(nth) else { continue };
                        let expected = match at {
                            Where::Request => Some(Withdrawn::Waiting(Waiting::Request(n))),
                            Where::Turn => Some(Withdrawn::Waiting(Waiting::Turn(n))),
                            Where::Granted { .. } => Some(Withdrawn::Grant),
                            Where::InHand => None,
                        };
                        prop_assert_eq!(room.withdraw(RequestId(n)), expected);
                        if at != Where::InHand {
                            model.at.remove(&n);
                            prop_assert_eq!(room.replace(RequestId(n), n), Err(n));
                        }
                    }
                    Op::WithdrawRequest { nth } => {
                        let Some((n, _, at)) = model.nth(nth) else { continue };
                        let is_request = at == Where::Request;
                        let withdrawn = room.withdraw_request(RequestId(n));
                        prop_assert_eq!(withdrawn, is_request.then_some(n));
                        if is_request {
                            model.at.remove(&n);
                        }
                    }
                }
                let granted = model.count(|at| matches!(at, Where::Granted { .. }));
                prop_assert_eq!(room.n_waiting(), model.at.len() - granted);
                prop_assert_eq!(room.n_granted(), granted);
                // Law L13: what does not come keeps the others from the room for a bounded time.
                let untils = model.at.values().filter_map(|(_, at)| match at {
                    Where::Granted { until } => *until,
                    _ => None,
                });
                let next = untils.min();
                prop_assert!(next.is_none_or(|next| next <= now + PERMIT_TIME));
                prop_assert_eq!(room.next_expiry(), next.filter(|_| room.n_waiting() > 0));
                room.note_room();
                for kind in KINDS {
                    let reserved = model.n_reserved(kind);
                    prop_assert!(!room.has_room(kind, Some(reserved)));
                    prop_assert!(room.has_room(kind, Some(reserved + 1)));
                }
            }
            let turns = model.at.iter().filter(|(_, (_, at))| *at == Where::Turn).map(|(n, _)| *n);
            let mut taken = room.take_turns();
            taken.sort_unstable();
            prop_assert!(turns.eq(taken));
            prop_assert_eq!(room.n_waiting(), model.count(|at| matches!(at, Where::Request | Where::InHand)));
        }
    }
}
