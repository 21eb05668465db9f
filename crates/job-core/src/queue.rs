//! Futures that wait for a job of a full pool to end: first come, first served.
//!
//! Wakers are foreign code, which may panic and may come back to the pool. So this file neither
//! clones, wakes nor drops one: it takes them and hands them out.

use core::cell::{Cell, RefCell};
use core::task::Waker;
use std::collections::VecDeque;

/// The queue of one pool.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: RefCell<VecDeque<Waiter>>,
    next: Cell<u64>,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    /// Absent once it was taken to be woken.
    waker: Option<Waker>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Queue {
    /// Whether somebody else comes first.
    pub(crate) fn is_ahead_of(&self, ticket: Option<Ticket>) -> bool {
        self.waiting.borrow().front().is_some_and(|first| Some(first.ticket) != ticket)
    }

    /// Takes a place in the queue, or keeps the one it has, with the waker to wake when it is the
    /// first. Also gives back the waker that this one replaces.
    pub(crate) fn enter(&self, ticket: Option<Ticket>, waker: Waker) -> (Ticket, Option<Waker>) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(waiter) = waiting.iter_mut().find(|waiter| Some(waiter.ticket) == ticket) {
            return (waiter.ticket, waiter.waker.replace(waker));
        }
        let ticket = Ticket(self.next.get());
        self.next.set(ticket.0 + 1);
        waiting.push_back(Waiter { ticket, waker: Some(waker) });
        (ticket, None)
    }

    /// Gives up a place, and gives back its waker. The job that became free may have been meant for
    /// it: see to it that the next one hears.
    pub(crate) fn leave(&self, ticket: Ticket) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|waiter| waiter.ticket == ticket);
        place.and_then(|place| waiting.remove(place))?.waker
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// The first in the queue and its waker, unless that was taken before: then its future was
    /// woken and has not been polled since.
    pub(crate) fn take_first_waker(&self) -> Option<(Ticket, Waker)> {
        let mut waiting = self.waiting.borrow_mut();
        let first = waiting.front_mut()?;
        first.waker.take().map(|waker| (first.ticket, waker))
    }
}
