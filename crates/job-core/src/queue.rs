//! Futures that wait for a job of a full pool to end: first come, first served.

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
    waker: Waker,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Queue {
    /// Whether somebody else comes first.
    pub(crate) fn is_ahead_of(&self, ticket: Option<Ticket>) -> bool {
        self.waiting.borrow().front().is_some_and(|first| Some(first.ticket) != ticket)
    }

    /// Takes a place in the queue, or keeps the one it has, and says whom to wake.
    pub(crate) fn enter(&self, ticket: Option<Ticket>, waker: &Waker) -> Ticket {
        // Wakers are the user's code: none is cloned or dropped under the borrow.
        let mut waker = waker.clone();
        let mut waiting = self.waiting.borrow_mut();
        if let Some(waiter) = waiting.iter_mut().find(|waiter| Some(waiter.ticket) == ticket) {
            core::mem::swap(&mut waiter.waker, &mut waker);
            let ticket = waiter.ticket;
            drop(waiting);
            drop(waker);
            return ticket;
        }
        let ticket = Ticket(self.next.get());
        self.next.set(ticket.0 + 1);
        waiting.push_back(Waiter { ticket, waker });
        ticket
    }

    /// Gives up a place. The job that became free may have been meant for it: see to it that the
    /// next one hears.
    pub(crate) fn leave(&self, ticket: Ticket) {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|waiter| waiter.ticket == ticket);
        let removed = place.and_then(|place| waiting.remove(place));
        drop(waiting);
        drop(removed);
    }

    /// Wakes whoever comes first.
    #[inline]
    pub(crate) fn wake_first(&self) {
        if !self.waiting.borrow().is_empty() {
            self.wake_first_slow();
        }
    }

    #[cold]
    fn wake_first_slow(&self) {
        let first = self.waiting.borrow().front().map(|waiter| waiter.waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }
}
