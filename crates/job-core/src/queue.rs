//! Futures that wait for a job of a full pool to end: first come, first served.
//!
//! Wakers are foreign code, which may panic and may come back to the pool. So this file neither
//! clones, wakes nor drops one: it takes them and hands them out.

use core::cell::{Cell, RefCell};
use core::task::Waker;
use std::collections::BTreeMap;

/// The queue of one pool. Any place may be given up at any time, so each is found in O(log n).
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The waker of each place; absent once it was taken to be woken.
    waiting: RefCell<BTreeMap<Ticket, Option<Waker>>>,
    next: Cell<u64>,
}

/// A place in the queue. Smaller ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

impl Queue {
    /// Whether another place comes first.
    pub(crate) fn is_ahead_of(&self, ticket: Option<Ticket>) -> bool {
        self.waiting.borrow().keys().next().is_some_and(|first| Some(*first) != ticket)
    }

    /// Takes a place in the queue, or keeps the one it has, with the waker to wake when it is the
    /// first. Also gives back the waker that this one replaces.
    pub(crate) fn enter(&self, ticket: Option<Ticket>, waker: Waker) -> (Ticket, Option<Waker>) {
        let ticket = ticket.unwrap_or_else(|| {
            let next = self.next.get();
            self.next.set(next + 1);
            Ticket(next)
        });
        let before = self.waiting.borrow_mut().insert(ticket, Some(waker));
        (ticket, before.flatten())
    }

    /// Gives up a place, and gives back its waker. The job that became free may have been meant for
    /// it: see to it that the next one hears.
    pub(crate) fn leave(&self, ticket: Ticket) -> Option<Waker> {
        self.waiting.borrow_mut().remove(&ticket).flatten()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// The first in the queue and its waker, unless that was taken before: then its future was
    /// woken and has not been polled since.
    pub(crate) fn take_first_waker(&self) -> Option<(Ticket, Waker)> {
        let mut waiting = self.waiting.borrow_mut();
        let mut first = waiting.first_entry()?;
        let waker = first.get_mut().take()?;
        Some((*first.key(), waker))
    }
}
