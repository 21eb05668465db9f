//! The bounded queues before a full ring: one per kind, each first in first out, the kinds served in turn (law L13).
//!
//! Pure bookkeeping, generic over what waits. Every step costs O(log n) in the length of a queue, for any item in it:
//! requests are cancelled in any order, tens of thousands at a time.

use std::collections::BTreeMap;

use crate::work::Kind;

/// A position in the queues, never used twice. Within a kind the smaller one is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    kind: Kind,
    number: Number,
}

impl Position {
    pub(crate) const fn kind(self) -> Kind {
        self.kind
    }
}

/// Counts the items in the order of their arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(u64);

impl Ord for Number {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        #[cfg(test)]
        tests::COMPARISONS.with(|n| n.set(n.get() + 1));
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
pub(crate) struct Fifo<T> {
    /// Each in the order of its numbers.
    queues: BTreeMap<Kind, BTreeMap<Number, T>>,
    bound: usize,
    next_number: u64,
    /// The kind served last; the kind after it is next.
    last_served: Option<Kind>,
}

impl<T> Fifo<T> {
    pub(crate) const fn new(bound: usize) -> Self {
        Self { queues: BTreeMap::new(), bound, next_number: 0, last_served: None }
    }

    /// Whether the queue of `kind` holds its bound.
    pub(crate) fn is_full(&self, kind: Kind) -> bool {
        self.queues.get(&kind).map_or(0, BTreeMap::len) >= self.bound
    }

    /// Puts `item` at the end of its queue.
    pub(crate) fn push(&mut self, kind: Kind, item: T) -> Position {
        let position = Position { kind, number: Number(self.next_number) };
        self.next_number += 1;
        self.put_back(position, item);
        position
    }

    /// The position of the oldest item of the next kind, passing over the kinds in `full`.
    pub(crate) fn next(&self, full: &[Kind]) -> Option<Position> {
        let ready = |(&kind, queue): (&Kind, &BTreeMap<Number, T>)| {
            let (&number, _) = queue.first_key_value()?;
            (!full.contains(&kind)).then_some(Position { kind, number })
        };
        let after = self.last_served.and_then(|last| {
            let later = (core::ops::Bound::Excluded(last), core::ops::Bound::Unbounded);
            self.queues.range(later).find_map(ready)
        });
        after.or_else(|| self.queues.iter().find_map(ready))
    }

    /// The position of the *newest* item of any kind, which a queue must not serve.
    #[cfg(feature = "plant")]
    pub(crate) fn newest(&self, full: &[Kind]) -> Option<Position> {
        let open = self.queues.iter().filter(|(kind, _)| !full.contains(kind));
        open.filter_map(|(&kind, queue)| {
            let (&number, _) = queue.last_key_value()?;
            Some(Position { kind, number })
        })
        .next()
    }

    /// The position of the oldest item of any kind, as if there were one queue for all; `None` if its ring is full.
    #[cfg(feature = "plant")]
    pub(crate) fn oldest_of_all(&self, full: &[Kind]) -> Option<Position> {
        let fronts = self.queues.iter().filter_map(|(&kind, queue)| {
            let (&number, _) = queue.first_key_value()?;
            Some(Position { kind, number })
        });
        fronts.min_by_key(|position| position.number).filter(|at| !full.contains(&at.kind))
    }

    pub(crate) fn get(&self, position: Position) -> Option<&T> {
        self.queues.get(&position.kind)?.get(&position.number)
    }

    pub(crate) fn get_mut(&mut self, position: Position) -> Option<&mut T> {
        self.queues.get_mut(&position.kind)?.get_mut(&position.number)
    }

    /// Takes an item out to serve it.
    pub(crate) fn take(&mut self, position: Position) -> Option<T> {
        let item = self.remove(position)?;
        self.last_served = Some(position.kind);
        Some(item)
    }

    /// Puts an item back at its position, after the device refused what [`take`](Self::take) took.
    pub(crate) fn put_back(&mut self, position: Position, item: T) {
        self.queues.entry(position.kind).or_default().insert(position.number, item);
    }

    /// Takes an item out without serving it.
    pub(crate) fn remove(&mut self, position: Position) -> Option<T> {
        self.queues.get_mut(&position.kind)?.remove(&position.number)
    }

    /// All items, kind by kind, each kind in its order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Position, &T)> {
        self.queues.iter().flat_map(|(&kind, queue)| {
            queue.iter().map(move |(&number, item)| (Position { kind, number }, item))
        })
    }

    /// Whether an older item of the same kind waits.
    pub(crate) fn overtaken_at(&self, position: Position) -> bool {
        let oldest = self.queues.get(&position.kind).and_then(BTreeMap::first_key_value);
        oldest.is_some_and(|(oldest, _)| *oldest < position.number)
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.values().map(BTreeMap::len).sum()
    }

    pub(crate) const fn bound(&self) -> usize {
        self.bound
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use proptest::prelude::*;

    std::thread_local! {
        /// How many numbers were compared.
        pub(super) static COMPARISONS: Cell<u64> = const { Cell::new(0) };
    }

    const KINDS: [Kind; 3] = [Kind::new("a"), Kind::new("b"), Kind::new("c")];

    #[derive(Clone, Debug)]
    enum Op {
        Push(usize),
        Pop { full: Vec<usize>, taken: bool },
        Remove(usize, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0..KINDS.len()).prop_map(Op::Push),
            3 => (prop::collection::vec(0..KINDS.len(), 0..3), any::<bool>())
                .prop_map(|(full, taken)| Op::Pop { full, taken }),
            1 => (0..KINDS.len(), 0usize..4).prop_map(|(kind, nth)| Op::Remove(kind, nth)),
        ]
    }

    /// Takes out what is next.
    fn pop<T>(fifo: &mut Fifo<T>, full: &[Kind]) -> Option<(Position, T)> {
        let position = fifo.next(full)?;
        Some((position, fifo.take(position).expect("it was there")))
    }

    /// Removing n items costs O(n log n) in any order: counted in comparisons, not in time.
    #[test]
    fn l13_giving_up_an_item_is_logarithmic_in_any_order() {
        const N: usize = 1 << 14;
        let orders: [fn(usize) -> usize; 3] =
            [|n| n, |n| N - 1 - n, |n| n.wrapping_mul(0x9E37_79B1) % N];
        for order in orders {
            let mut fifo = Fifo::new(N);
            let at: Vec<_> = (0..N).map(|n| fifo.push(KINDS[0], n)).collect();
            let before = COMPARISONS.get();
            for n in (0..N).map(order) {
                assert_eq!(fifo.remove(at[n]), Some(n));
            }
            assert_eq!(fifo.len(), 0);
            // A node of a BTreeMap has at most 11 keys, which are compared one by one.
            let each = (COMPARISONS.get() - before) / N as u64;
            assert!(each <= 11 * u64::from(N.ilog2()) / 2, "{each} comparisons an item");
        }
    }

    /// Whatever the order in which items are taken and put back.
    #[test]
    fn l13_what_was_taken_goes_back_to_its_place() {
        for first in [0, 1] {
            let mut fifo = Fifo::new(8);
            for n in 0..3 {
                fifo.push(KINDS[0], n);
            }
            let mut taken: Vec<_> = (0..2).map(|_| pop(&mut fifo, &[]).unwrap()).collect();
            let (position, item) = taken.remove(first);
            fifo.put_back(position, item);
            let (position, item) = taken.remove(0);
            fifo.put_back(position, item);
            let order: Vec<_> = (0..3).map(|_| pop(&mut fifo, &[]).unwrap().1).collect();
            assert_eq!(order, [0, 1, 2], "number {first} first");
        }
    }

    proptest! {
        /// Against a plain list: each kind leaves in the order it came, nothing is lost, no bound is exceeded.
        #[test]
        fn l13_each_kind_is_served_first_come_first_served(ops in prop::collection::vec(op(), 1..120), bound in 1usize..5) {
            let mut fifo = Fifo::new(bound);
            let mut model: Vec<(usize, u32)> = Vec::new();
            let mut at = BTreeMap::new();
            for (n, op) in ops.into_iter().enumerate() {
                let n = n as u32;
                match op {
                    Op::Push(kind) => {
                        let waiting = model.iter().filter(|(k, _)| *k == kind).count();
                        prop_assert_eq!(fifo.is_full(KINDS[kind]), waiting >= bound);
                        if waiting < bound {
                            at.insert(n, fifo.push(KINDS[kind], n));
                            model.push((kind, n));
                        }
                    }
                    Op::Pop { full, taken } => {
                        let full: Vec<Kind> = full.into_iter().map(|k| KINDS[k]).collect();
                        let servable = model.iter().any(|(k, _)| !full.contains(&KINDS[*k]));
                        let next = fifo.next(&full);
                        prop_assert_eq!(next.is_some(), servable);
                        let Some(position) = next else { continue };
                        let kind = position.kind();
                        prop_assert!(!full.contains(&kind));
                        let looked = fifo.get(position).copied();
                        let item = fifo.take(position).unwrap();
                        prop_assert_eq!(looked, Some(item));
                        prop_assert!(fifo.get(position).is_none() && fifo.take(position).is_none());
                        let oldest = model.iter().position(|(k, _)| KINDS[*k] == kind).unwrap();
                        prop_assert_eq!(model[oldest].1, item);
                        if taken {
                            model.remove(oldest);
                        } else {
                            fifo.put_back(position, item);
                        }
                    }
                    Op::Remove(kind, nth) => {
                        let Some(wanted) = model.iter().filter(|(k, _)| *k == kind).nth(nth).map(|(_, n)| *n)
                        else { continue };
                        prop_assert_eq!(fifo.get_mut(at[&wanted]).copied(), Some(wanted));
                        prop_assert_eq!(fifo.remove(at[&wanted]), Some(wanted));
                        prop_assert_eq!(fifo.remove(at[&wanted]), None);
                        model.retain(|(_, n)| *n != wanted);
                    }
                }
                prop_assert_eq!(fifo.len(), model.len());
                for (kind, name) in KINDS.into_iter().enumerate() {
                    let waiting: Vec<_> = fifo.iter().filter(|(at, _)| at.kind() == name).collect();
                    for (nth, (position, _)) in waiting.iter().enumerate() {
                        prop_assert_eq!(fifo.overtaken_at(*position), nth > 0);
                    }
                    let held = model.iter().filter(|(k, _)| *k == kind).map(|(_, n)| *n);
                    prop_assert!(waiting.into_iter().map(|(_, n)| *n).eq(held));
                }
            }
        }

        /// A kind that never finds room does not keep the others waiting, and no servable kind waits longer than one
        /// turn of the others.
        #[test]
        fn l13_kinds_take_turns(counts in prop::array::uniform3(1usize..20)) {
            let mut fifo = Fifo::new(32);
            for (kind, count) in KINDS.into_iter().zip(counts) {
                for n in 0..count {
                    fifo.push(kind, n);
                }
            }
            let mut left = counts;
            let mut since = [0usize; 3];
            while let Some((position, _)) = pop(&mut fifo, &[]) {
                let served = KINDS.iter().position(|k| *k == position.kind()).unwrap();
                left[served] -= 1;
                for i in 0..3 {
                    since[i] = if i == served || left[i] == 0 { 0 } else { since[i] + 1 };
                    prop_assert!(since[i] <= 2, "{} passed over {} times", KINDS[i], since[i]);
                }
            }
            prop_assert_eq!(left, [0, 0, 0]);
        }
    }
}
