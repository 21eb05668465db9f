//! The calendar: what will happen in the device, and when.

use core::cmp::Ordering;
use core::time::Duration;
use std::collections::BinaryHeap;

/// Things to come, earliest first; those of one instant come in the order they were entered.
#[derive(Debug)]
pub(crate) struct Calendar<T> {
    heap: BinaryHeap<Appointment<T>>,
    entered: u64,
}

impl<T> Calendar<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), entered: 0 }
    }

    pub(crate) fn enter(&mut self, at: Duration, what: T) {
        self.heap.push(Appointment { at, order: self.entered, what });
        self.entered += 1;
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|next| next.at)
    }

    pub(crate) fn take_next(&mut self) -> Option<T> {
        self.heap.pop().map(|next| next.what)
    }

    pub(crate) fn clear(&mut self) {
        self.heap.clear();
    }

    /// Strikes out what does not satisfy `keep`.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.heap.retain(|appointment| keep(&appointment.what));
    }
}

#[derive(Debug)]
struct Appointment<T> {
    at: Duration,
    order: u64,
    what: T,
}

/// Reversed, since the heap gives the greatest first.
impl<T> Ord for Appointment<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> PartialOrd for Appointment<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Appointment<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Appointment<T> {}
