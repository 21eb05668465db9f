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
//! it whole, so whatever order threads call it in: nobody is in two places, and nobody is lost.

use std::collections::BTreeSet;

use crate::fifo::{Fifo, Position};
#[cfg(feature = "plant")]
use crate::plant::{self, Bug};
use crate::request::RequestId;
use crate::work::Kind;

/// `R` is a request. `T` is a turn: what is known of a request that its owner keeps until it is told to submit it.
pub(crate) struct WaitingRoom<R, T> {
    fifo: Fifo<(RequestId, Waiting<R, T>)>,
    /// Turns whose owners were told to submit and have not done so yet. Hardly more than the device has room for.
    granted: Vec<Grant>,
    /// Requests that are being offered to the device.
    in_hand: usize,
    /// Kinds of which an owner is offering one, or had one refused, since something has last changed: there is no room
    /// for those, whatever the device says. Were its word enough, a turn granted on it would come back at once, and so on
    /// without end.
    tried: BTreeSet<Kind>,
}

struct Grant {
    id: RequestId,
    position: Position,
    /// Its owner was looking when it was told. One that was not keeps its place, but not the room: it may be long before
    /// it looks.
    heard: bool,
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
    Granted,
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
    pub(crate) const fn new(bound: usize) -> Self {
        Self { fifo: Fifo::new(bound), granted: Vec::new(), in_hand: 0, tried: BTreeSet::new() }
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
    pub(crate) const fn n_granted(&self) -> usize {
        self.granted.len()
    }

    /// Whether the queue of `kind` holds its bound.
    pub(crate) fn is_full(&self, kind: Kind) -> bool {
        self.fifo.is_full(kind)
    }

    pub(crate) fn push(&mut self, kind: Kind, id: RequestId, waiting: Waiting<R, T>) {
        self.fifo.push(kind, (id, waiting));
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
        let (_, request) = self.fifo.take(position)?;
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
        self.fifo.put_back(position, (id, waiting));
    }

    /// Grants a turn, if there is room for it by the `credits` of the device.
    pub(crate) fn grant(&mut self, position: Position, credits: Option<usize>) -> Granting {
        let Some(&(id, Waiting::Turn(_))) = self.fifo.get(position) else {
            return Granting::Changed;
        };
        if !self.has_room(position.kind(), credits) {
            return Granting::NoRoom;
        }
        self.fifo.take(position);
        self.granted.push(Grant { id, position, heard: true });
        Granting::Granted
    }

    /// Nobody was looking when this turn was granted.
    pub(crate) fn note_unheard(&mut self, id: RequestId) {
        if let Some(grant) = self.granted.iter_mut().find(|grant| grant.id == id) {
            grant.heard = false;
        }
    }

    /// Takes the grant of a request that its owner is about to offer, which is in hand from now on. Its attempt takes
    /// the place of the grant, with no moment between in which the room looks free.
    pub(crate) fn take_grant(&mut self, id: RequestId) -> Option<Position> {
        let position = self.take_granted(id)?;
        self.tried.insert(position.kind());
        self.in_hand += 1;
        Some(position)
    }

    /// Lets a request wait in place of its turn. Gives it back if it has none.
    pub(crate) fn replace(&mut self, kind: Kind, id: RequestId, request: R) -> Result<Replaced, R> {
        if let Some((_, turn)) = self.fifo.find_mut(kind, |(waiting, _)| *waiting == id) {
            *turn = Waiting::Request(request);
            return Ok(Replaced::InQueue);
        }
        match self.take_granted(id) {
            Some(position) => {
                self.fifo.put_back(position, (id, Waiting::Request(request)));
                Ok(Replaced::Grant)
            }
            None => Err(request),
        }
    }

    /// Takes out one that waits no longer, wherever it is; not what is in hand.
    pub(crate) fn withdraw(&mut self, kind: Kind, id: RequestId) -> Option<Withdrawn<R, T>> {
        match self.fifo.remove(kind, |(waiting, _)| *waiting == id) {
            Some((_, waiting)) => Some(Withdrawn::Waiting(waiting)),
            None => self.take_granted(id).map(|_| Withdrawn::Grant),
        }
    }

    /// Takes out a request that waits itself. Not a turn.
    pub(crate) fn withdraw_request(&mut self, kind: Kind, id: RequestId) -> Option<R> {
        let is_it =
            |(waiting, what): &(_, _)| *waiting == id && matches!(what, Waiting::Request(_));
        match self.fifo.remove(kind, is_it)? {
            (_, Waiting::Request(request)) => Some(request),
            (_, Waiting::Turn(_)) => None,
        }
    }

    fn take_granted(&mut self, id: RequestId) -> Option<Position> {
        let index = self.granted.iter().position(|grant| grant.id == id)?;
        Some(self.granted.swap_remove(index).position)
    }

    /// Takes all turns out of the queues. Those that were granted are not among them.
    pub(crate) fn take_turns(&mut self) -> Vec<T> {
        let mut turns = Vec::new();
        self.fifo.retain(|(_, waiting)| {
            if let Waiting::Turn(turn) = waiting {
                turns.push(turn.clone());
            }
            matches!(waiting, Waiting::Request(_))
        });
        turns
    }

    /// Whether there may be room for one more of `kind` by the device's `credits`, what was granted to others set aside.
    /// A device that does not tell is believed to have room for one.
    pub(crate) fn has_room(&self, kind: Kind, credits: Option<usize>) -> bool {
        let reserved = |grant: &&Grant| grant.heard && grant.position.kind() == kind;
        let reserved = self.granted.iter().filter(reserved).count();
        !self.tried.contains(&kind) && reserved < credits.unwrap_or(1)
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
        Push { kind: usize, turn: bool },
        Next { full: Vec<usize> },
        Grant { nth: usize, credits: usize, heard: bool },
        TakeGrant { nth: usize },
        EndOffer { nth: usize, taken: bool },
        Replace { nth: usize },
        Withdraw { nth: usize },
        WithdrawRequest { nth: usize },
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
        ]
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Where {
        Request,
        Turn,
        Granted { heard: bool },
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

        fn count(&self, at: &[Where]) -> usize {
            self.at.values().filter(|(_, place)| at.contains(place)).count()
        }
    }

    proptest! {
        /// Law L13, for every order of steps: each one is in one place, comes out once, and goes back to where it was.
        #[test]
        fn l13_nobody_is_lost_or_in_two_places(ops in prop::collection::vec(op(), 1..200)) {
            let mut room: WaitingRoom<u64, u64> = WaitingRoom::new(4);
            let mut model = Model::default();
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
                        let reserved = (kind, Where::Granted { heard: true });
                        let granted = model.at.values().filter(|at| **at == reserved).count();
                        // An attempt leaves its kind without room until something changes.
                        room.note_room();
                        let expected = match model.at.get(&n) {
                            Some((_, Where::Turn)) if granted < credits => Granting::Granted,
                            Some((_, Where::Turn)) => Granting::NoRoom,
                            _ => Granting::Changed,
                        };
                        prop_assert_eq!(room.grant(position, Some(credits)), expected);
                        if expected == Granting::Granted {
                            model.at.insert(n, (kind, Where::Granted { heard }));
                            if !heard {
                                room.note_unheard(RequestId(n));
                            }
                        }
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
                        let replaced = room.replace(kind, RequestId(n), n);
                        let granted = matches!(at, Where::Granted { .. });
                        prop_assert_eq!(replaced, Ok(if granted { Replaced::Grant } else { Replaced::InQueue }));
                        model.at.insert(n, (kind, Where::Request));
                    }
                    Op::Withdraw { nth } => {
                        let Some((n, kind, at)) = model.nth(nth) else { continue };
                        let expected = match at {
                            Where::Request => Some(Withdrawn::Waiting(Waiting::Request(n))),
                            Where::Turn => Some(Withdrawn::Waiting(Waiting::Turn(n))),
                            Where::Granted { .. } => Some(Withdrawn::Grant),
                            Where::InHand => None,
                        };
                        prop_assert_eq!(room.withdraw(kind, RequestId(n)), expected);
                        if at != Where::InHand {
                            model.at.remove(&n);
                            prop_assert_eq!(room.replace(kind, RequestId(n), n), Err(n));
                        }
                    }
                    Op::WithdrawRequest { nth } => {
                        let Some((n, kind, at)) = model.nth(nth) else { continue };
                        let is_request = at == Where::Request;
                        let withdrawn = room.withdraw_request(kind, RequestId(n));
                        prop_assert_eq!(withdrawn, is_request.then_some(n));
                        if is_request {
                            model.at.remove(&n);
                        }
                    }
                }
                let waiting = [Where::Request, Where::Turn, Where::InHand];
                prop_assert_eq!(room.n_waiting(), model.count(&waiting));
                let granted = [true, false].map(|heard| Where::Granted { heard });
                prop_assert_eq!(room.n_granted(), model.count(&granted));
            }
            let turns = model.at.iter().filter(|(_, (_, at))| *at == Where::Turn).map(|(n, _)| *n);
            let mut taken = room.take_turns();
            taken.sort_unstable();
            prop_assert!(turns.eq(taken));
            prop_assert_eq!(room.n_waiting(), model.count(&[Where::Request, Where::InHand]));
        }
    }
}
