//! Future events by time; events of the same time in the order in which they were entered.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

#[derive(Debug)]
pub(super) struct Calendar<E> {
    entries: BinaryHeap<Entry<E>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> Calendar<E> {
    pub(super) const fn new() -> Self {
        Self { entries: BinaryHeap::new(), next: 0 }
    }

    pub(super) fn enter(&mut self, at: Duration, event: E) {
        self.entries.push(Entry { at, order: self.next, event });
        self.next += 1;
    }

    /// Removes the first event.
    pub(super) fn pop(&mut self) -> Option<(Duration, E)> {
        self.entries.pop().map(|entry| (entry.at, entry.event))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The heap's greatest is the earliest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_come_by_time_and_then_in_their_order(times in prop::collection::vec(0..5_u64, 0..40)) {
            let mut calendar = Calendar::new();
            for (order, at) in times.iter().enumerate() {
                calendar.enter(Duration::from_secs(*at), order);
            }
            let mut expected: Vec<_> =
                times.iter().enumerate().map(|(order, at)| (Duration::from_secs(*at), order)).collect();
            expected.sort();
            let popped: Vec<_> = std::iter::from_fn(|| calendar.pop()).collect();
            prop_assert_eq!(popped, expected);
            prop_assert!(calendar.is_empty());
        }
    }
}
