//! The queue of futures that wait for a job of a full pool: first come, first served.
//!
//! Wakers are foreign code, which may panic or call the pool. So nothing here clones, wakes or
//! drops one: the methods take and return them.

use core::cell::{Cell, RefCell};
use core::task::Waker;
use std::collections::BTreeMap;

/// An ordered map, since a future in the middle may be dropped.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The waker is absent once it was taken to be woken.
    waiting: RefCell<BTreeMap<Ticket, Option<Waker>>>,
    next: Cell<u64>,
}

/// A position in the queue. Smaller ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

impl Queue {
    /// Whether the first in the queue is another one.
    pub(crate) fn has_other_first(&self, ticket: Option<Ticket>) -> bool {
        self.waiting.borrow().keys().next().is_some_and(|first| Some(*first) != ticket)
    }

    /// Stores a waker under its ticket, or under a new one. Also returns the waker it replaces.
    pub(crate) fn insert(&self, ticket: Option<Ticket>, waker: Waker) -> (Ticket, Option<Waker>) {
        let ticket = ticket.unwrap_or_else(|| Ticket(self.next.replace(self.next.get() + 1)));
        let replaced = self.waiting.borrow_mut().insert(ticket, Some(waker));
        (ticket, replaced.flatten())
    }

    pub(crate) fn remove(&self, ticket: Ticket) -> Option<Waker> {
        self.waiting.borrow_mut().remove(&ticket).flatten()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Takes the waker of the first in the queue; `None` if its future was woken and has not been
    /// polled since.
    pub(crate) fn take_first_waker(&self) -> Option<(Ticket, Waker)> {
        let mut waiting = self.waiting.borrow_mut();
        let mut first = waiting.first_entry()?;
        let waker = first.get_mut().take()?;
        Some((*first.key(), waker))
    }
}
