//! The bounded queues before a full ring: one per kind, first come first served, served in turn (law L13).
//!
//! Pure bookkeeping, generic over what waits.

use std::collections::{BTreeMap, VecDeque};

use crate::work::Kind;

/// The order in which something entered the queue of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

#[derive(Debug)]
pub(crate) struct Fifo<T> {
    /// Each in the order of its positions.
    queues: BTreeMap<Kind, VecDeque<(Position, T)>>,
    bound: usize,
    next_position: u64,
    /// The kind served last; the next turn is the kind after it.
    last_served: Option<Kind>,
}

impl<T> Fifo<T> {
    pub(crate) const fn new(bound: usize) -> Self {
        Self { queues: BTreeMap::new(), bound, next_position: 0, last_served: None }
    }

    /// Puts `item` at the end of its queue, or gives it back if the queue holds its bound.
    pub(crate) fn push(&mut self, kind: Kind, item: T) -> Result<(), T> {
        let queue = self.queues.entry(kind).or_default();
        if queue.len() >= self.bound {
            return Err(item);
        }
        queue.push_back((Position(self.next_position), item));
        self.next_position += 1;
        Ok(())
    }

    /// Takes the oldest item of the kind whose turn it is, passing over the kinds in `full`.
    pub(crate) fn pop(&mut self, full: &[Kind]) -> Option<(Kind, Position, T)> {
        let ready = |(kind, queue): (&Kind, &VecDeque<(Position, T)>)| {
            (!queue.is_empty() && !full.contains(kind)).then_some(*kind)
        };
        let after = self.last_served.and_then(|last| {
            let later = (core::ops::Bound::Excluded(last), core::ops::Bound::Unbounded);
            self.queues.range(later).find_map(ready)
        });
        let kind = after.or_else(|| self.queues.iter().find_map(ready))?;
        let (position, item) = self.queues.get_mut(&kind)?.pop_front()?;
        self.last_served = Some(kind);
        Some((kind, position, item))
    }

    /// Takes the *newest* item of any kind: what a queue must not do.
    #[cfg(feature = "plant")]
    pub(crate) fn pop_newest(&mut self, full: &[Kind]) -> Option<(Kind, Position, T)> {
        let (kind, queue) =
            self.queues.iter_mut().find(|(kind, q)| !q.is_empty() && !full.contains(kind))?;
        let (position, item) = queue.pop_back()?;
        Some((*kind, position, item))
    }

    /// Takes the oldest item of any kind, as if there were one queue for all: none if that one's ring is full.
    #[cfg(feature = "plant")]
    pub(crate) fn pop_oldest(&mut self, full: &[Kind]) -> Option<(Kind, Position, T)> {
        let waiting = self.queues.iter_mut().filter(|(_, queue)| !queue.is_empty());
        let (kind, queue) = waiting.min_by_key(|(_, queue)| queue.front().map(|(at, _)| *at))?;
        if full.contains(kind) {
            return None;
        }
        let (position, item) = queue.pop_front()?;
        Some((*kind, position, item))
    }

    /// Puts back what [`pop`](Self::pop) took and the device did not, where it was.
    pub(crate) fn put_back(&mut self, kind: Kind, position: Position, item: T) {
        let queue = self.queues.entry(kind).or_default();
        // Nearly always it was the first.
        if queue.front().is_none_or(|(first, _)| position < *first) {
            queue.push_front((position, item));
        } else {
            let index = queue.partition_point(|(earlier, _)| *earlier < position);
            queue.insert(index, (position, item));
        }
    }

    /// Takes out the first item of `kind` that `wanted` picks.
    pub(crate) fn remove(&mut self, kind: Kind, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let queue = self.queues.get_mut(&kind)?;
        let index = queue.iter().position(|(_, item)| wanted(item))?;
        queue.remove(index).map(|(_, item)| item)
    }

    /// The first item of `kind` that `wanted` picks.
    pub(crate) fn find_mut(&mut self, kind: Kind, wanted: impl Fn(&T) -> bool) -> Option<&mut T> {
        self.queues.get_mut(&kind)?.iter_mut().map(|(_, item)| item).find(|item| wanted(item))
    }

    /// The position of the oldest item of `kind`.
    pub(crate) fn oldest(&self, kind: Kind) -> Option<Position> {
        self.queues.get(&kind)?.front().map(|(position, _)| *position)
    }

    pub(crate) const fn bound(&self) -> usize {
        self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    /// As turns do that were granted and are taken back, in any order.
    #[test]
    fn l13_what_was_taken_goes_back_to_its_place() {
        for first in [0, 1] {
            let mut fifo = Fifo::new(8);
            (0..3).for_each(|n| fifo.push(KINDS[0], n).unwrap());
            let mut taken: Vec<_> = (0..2).map(|_| fifo.pop(&[]).unwrap()).collect();
            let (kind, position, item) = taken.remove(first);
            fifo.put_back(kind, position, item);
            let (kind, position, item) = taken.remove(0);
            fifo.put_back(kind, position, item);
            let order: Vec<_> = (0..3).map(|_| fifo.pop(&[]).unwrap().2).collect();
            assert_eq!(order, [0, 1, 2], "number {first} first");
        }
    }

    proptest! {
        /// Against a plain list: each kind leaves in the order it came, nothing is lost, no bound is exceeded.
        #[test]
        fn l13_each_kind_is_served_first_come_first_served(ops in prop::collection::vec(op(), 1..120), bound in 1usize..5) {
            let mut fifo = Fifo::new(bound);
            let mut model: Vec<(usize, u32)> = Vec::new();
            for (n, op) in ops.into_iter().enumerate() {
                let n = n as u32;
                match op {
                    Op::Push(kind) => {
                        let waiting = model.iter().filter(|(k, _)| *k == kind).count();
                        prop_assert_eq!(fifo.push(KINDS[kind], n).is_ok(), waiting < bound);
                        if waiting < bound {
                            model.push((kind, n));
                        }
                    }
                    Op::Pop { full, taken } => {
                        let full: Vec<Kind> = full.into_iter().map(|k| KINDS[k]).collect();
                        let servable = model.iter().any(|(k, _)| !full.contains(&KINDS[*k]));
                        let popped = fifo.pop(&full);
                        prop_assert_eq!(popped.is_some(), servable);
                        let Some((kind, position, item)) = popped else { continue };
                        prop_assert!(!full.contains(&kind));
                        let oldest = model.iter().position(|(k, _)| KINDS[*k] == kind).unwrap();
                        prop_assert_eq!(model[oldest].1, item);
                        if taken {
                            model.remove(oldest);
                        } else {
                            fifo.put_back(kind, position, item);
                        }
                    }
                    Op::Remove(kind, nth) => {
                        let wanted = model.iter().filter(|(k, _)| *k == kind).nth(nth).map(|(_, n)| *n);
                        prop_assert_eq!(fifo.remove(KINDS[kind], |item| Some(*item) == wanted), wanted);
                        model.retain(|(_, n)| Some(*n) != wanted);
                    }
                }
                for (kind, name) in KINDS.into_iter().enumerate() {
                    let waiting = fifo.queues.get(&name).into_iter().flatten();
                    let oldest = waiting.clone().map(|(position, _)| *position).min();
                    prop_assert_eq!(fifo.oldest(name), oldest);
                    let held = model.iter().filter(|(k, _)| *k == kind).map(|(_, n)| *n);
                    prop_assert!(waiting.map(|(_, n)| *n).eq(held));
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
                    fifo.push(kind, n).unwrap();
                }
            }
            let mut left = counts;
            let mut since = [0usize; 3];
            while let Some((kind, _, _)) = fifo.pop(&[]) {
                let served = KINDS.iter().position(|k| *k == kind).unwrap();
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
