//! A priority queue of timed events.

use core::cmp::Ordering;
use core::time::Duration;
use std::collections::BinaryHeap;

/// A queue of events by time; events of the same time come out in the order in which they were entered.
///
/// A discrete-event simulation pops an event, sets its clock to the event's time, and enters what follows from it.
///
/// ```
/// use core::time::Duration;
/// use sim_device::Calendar;
///
/// let mut calendar = Calendar::new();
/// calendar.enter(Duration::from_secs(2), "late");
/// calendar.enter(Duration::from_secs(1), "first");
/// calendar.enter(Duration::from_secs(1), "second");
/// assert_eq!(calendar.next_at(), Some(Duration::from_secs(1)));
/// assert_eq!(calendar.pop(), Some((Duration::from_secs(1), "first")));
/// assert_eq!(calendar.pop(), Some((Duration::from_secs(1), "second")));
/// ```
#[derive(Debug)]
pub struct Calendar<E> {
    heap: BinaryHeap<Scheduled<E>>,
    entered: u64,
}

#[derive(Debug)]
struct Scheduled<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> Calendar<E> {
    /// An empty calendar.
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), entered: 0 }
    }

    /// Adds an event.
    pub fn enter(&mut self, at: Duration, event: E) {
        self.heap.push(Scheduled { at, order: self.entered, event });
        self.entered += 1;
    }

    /// The time of the next event.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|next| next.at)
    }

    /// Removes the next event and returns it with its time.
    pub fn pop(&mut self) -> Option<(Duration, E)> {
        self.heap.pop().map(|next| (next.at, next.event))
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Removes all events.
    pub fn clear(&mut self) {
        self.heap.clear();
    }

    /// Removes the events for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&E) -> bool) {
        self.heap.retain(|entry| keep(&entry.event));
    }
}

impl<E> Default for Calendar<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Reversed: the heap returns the greatest first.
impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Scheduled<E> {}

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
