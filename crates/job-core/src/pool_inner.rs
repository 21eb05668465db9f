//! The state of a pool, shared by its handles and its jobs.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use std::collections::BTreeMap;

use crate::fiber::{self, ClosureType, Slab, Slot};
use crate::id::JobId;
use crate::start::StartRefused;
use crate::stats::{Counts, PoolStats};

/// Pools take ids in blocks, so that a start touches no shared cache line.
const ID_BLOCK: u64 = 1 << 20;

/// Stacks made in advance by one call, at most: bounds what a wrong number costs in page tables.
const MOST_PREALLOCATED: usize = 1 << 16;

pub(crate) struct PoolInner {
    pub(crate) max_jobs: usize,
    pub(crate) capable: bool,
    pub(crate) can_unwind: bool,
    pub(crate) may_pause: Option<fn() -> bool>,
    /// Jobs are switched to in every epoch, so no sentinel is needed.
    pub(crate) resumes_at_thread_exit: bool,
    pub(crate) slab: RefCell<Slab>,
    pub(crate) next_id: Cell<u64>,
    pub(crate) ids_end: Cell<u64>,
    pub(crate) counts: Counts,
    /// Futures that wait for a job of a full pool: first come, first served. The waker is absent once it was taken to be
    /// woken. Wakers are foreign code, which may call the pool: none is cloned, woken or dropped while this is borrowed.
    pub(crate) queue: RefCell<BTreeMap<Ticket, Option<Waker>>>,
    pub(crate) next_ticket: Cell<u64>,
    /// The number of resumes at which the next pause asks for an exit sentinel; `u64::MAX` if none is needed.
    pub(crate) next_sentinel: Cell<u64>,
    /// Whether the next pause may be the first of a closure type that is new to the thread.
    pub(crate) has_new_closure: Cell<bool>,
    pub(crate) last_closure: Cell<ClosureType>,
}

/// A position in the queue. Smaller ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

impl PoolInner {
    /// Counts one more live job and takes a stack for it.
    #[inline]
    pub(crate) fn admit(&self) -> Result<Slot, StartRefused> {
        let live = self.counts.live.get();
        if live >= self.max_jobs {
            return Err(StartRefused::NoJobs { max_jobs: self.max_jobs });
        }
        if !self.capable {
            return Err(StartRefused::NotCapable);
        }
        let wanted = || if self.max_jobs == usize::MAX { live + 1 } else { self.max_jobs - live };
        let slot = self.slab.borrow_mut().take(wanted)?;
        let live = live + 1;
        self.counts.live.set(live);
        if live > self.counts.peak_live.get() {
            self.counts.peak_live.set(live);
        }
        self.counts.started.add_one();
        Ok(slot)
    }

    #[inline]
    pub(crate) fn new_id(&self) -> JobId {
        if self.next_id.get() == self.ids_end.get() {
            self.new_id_block();
        }
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        JobId(id)
    }

    #[cold]
    fn new_id_block(&self) {
        static BLOCKS: AtomicU64 = AtomicU64::new(0);
        let start = BLOCKS.fetch_add(1, Ordering::Relaxed) * ID_BLOCK + 1;
        self.next_id.set(start);
        self.ids_end.set(start + ID_BLOCK);
    }

    /// Takes back the stack of a job that has ended, and wakes the next future in the queue.
    #[inline(always)]
    pub(crate) fn take_back(&self, slot: Slot) {
        self.slab.borrow_mut().give_back(slot);
        self.count_out();
    }

    /// As [`take_back`](Self::take_back), for a stack with frames that were forgotten.
    pub(crate) fn take_back_emptied(&self, slot: Slot) {
        self.slab.borrow_mut().give_back_emptied(slot);
        self.count_out();
    }

    /// Counts a job out that is put in quarantine with its stack.
    pub(crate) fn write_off(&self) {
        self.slab.borrow_mut().write_off();
        self.counts.quarantined.add_one();
        self.counts.cancelled.add_one();
        self.count_out();
    }

    #[inline]
    fn count_out(&self) {
        self.counts.live.set(self.counts.live.get() - 1);
        if !self.queue.borrow().is_empty() {
            self.wake_next();
        }
    }

    /// Whether the pool's check allows a pause here.
    #[inline]
    pub(crate) fn may_pause(&self) -> bool {
        self.may_pause.is_none_or(|check| check())
    }

    pub(crate) fn can_unwind(&self) -> bool {
        self.can_unwind
    }

    /// A job has paused: registers an exit sentinel if one is due.
    #[inline]
    pub(crate) fn note_pause(&self) {
        if self.counts.resumes.value() >= self.next_sentinel.get() {
            self.ask_for_sentinel();
        }
    }

    #[cold]
    fn ask_for_sentinel(&self) {
        self.next_sentinel.set(fiber::next_sentinel(self.counts.resumes.value()));
        fiber::sentinel_if_due(self.has_new_closure.replace(false));
    }

    /// A closure of this type is about to start. The first of its type may use thread-local
    /// variables that no job has used before, so its first pause asks for an exit sentinel.
    #[inline]
    pub(crate) fn note_closure(&self, closure: ClosureType) {
        if self.last_closure.get() != closure {
            self.note_other_closure(closure);
        }
    }

    #[cold]
    fn note_other_closure(&self, closure: ClosureType) {
        self.last_closure.set(closure);
        if !self.resumes_at_thread_exit && closure.is_new() {
            self.next_sentinel.set(0);
            self.has_new_closure.set(true);
        }
    }

    /// Runs foreign code; catches and counts a panic of it.
    pub(crate) fn contain<R>(&self, what: &'static str, foreign: impl FnOnce() -> R) -> Option<R> {
        let result = wait_ctx::contain(what, foreign);
        if result.is_err() {
            self.counts.swallowed_panics.add_one();
        }
        result.ok()
    }

    /// Wakes the first future in the queue. One whose waker panics was not woken and is removed:
    /// otherwise it would hold up the others for ever.
    #[cold]
    fn wake_next(&self) {
        let take_first = || {
            let mut queue = self.queue.borrow_mut();
            let mut first = queue.first_entry()?;
            // Absent if that future was woken, and has not been polled since.
            let waker = first.get_mut().take()?;
            Some((*first.key(), waker))
        };
        while let Some((first, waker)) = take_first() {
            if self.contain("a waker", || waker.wake()).is_some() {
                return;
            }
            self.remove(first);
        }
    }

    fn remove(&self, ticket: Ticket) {
        let removed = self.queue.borrow_mut().remove(&ticket);
        if let Some(waker) = removed.flatten() {
            self.contain("the Drop of a waker", || drop(waker));
        }
    }

    /// Whether a future with this ticket has to wait for another one.
    pub(crate) fn must_queue(&self, ticket: Option<Ticket>) -> bool {
        self.queue.borrow().keys().next().is_some_and(|first| Some(*first) != ticket)
    }

    /// Queues a future for the next free job; one that has a ticket keeps it.
    pub(crate) fn enqueue(&self, ticket: Option<Ticket>, waker: Waker) -> Ticket {
        let new = || Ticket(self.next_ticket.replace(self.next_ticket.get() + 1));
        let ticket = ticket.unwrap_or_else(new);
        let replaced = self.queue.borrow_mut().insert(ticket, Some(waker));
        if let Some(replaced) = replaced.flatten() {
            self.contain("the Drop of a waker", || drop(replaced));
        }
        ticket
    }

    /// Removes a future from the queue: it has a job, or was dropped.
    pub(crate) fn dequeue(&self, ticket: Ticket) {
        self.remove(ticket);
        // This one may have been woken for a job that it leaves to the next.
        if self.counts.live.get() < self.max_jobs && !self.queue.borrow().is_empty() {
            self.wake_next();
        }
    }

    pub(crate) fn preallocate(&self, n: usize) -> usize {
        let mut slab = self.slab.borrow_mut();
        let room = self.max_jobs.saturating_sub(slab.made());
        slab.preallocate(n.min(MOST_PREALLOCATED).min(room))
    }

    /// The figures, given the number of jobs that run now.
    pub(crate) fn stats(&self, running: usize) -> PoolStats {
        let counts = &self.counts;
        let mut slab = self.slab.borrow_mut();
        let live = counts.live.get();
        PoolStats {
            live,
            paused: live - running,
            idle: slab.idle(),
            peak_live: counts.peak_live.get(),
            stacks_in_use: slab.made() - slab.idle(),
            created: slab.made(),
            started: counts.started.value(),
            finished: counts.started.value() - counts.cancelled.value() - live as u64,
            cancelled: counts.cancelled.value(),
            resumes: counts.resumes.value(),
            swallowed_panics: counts.swallowed_panics.value(),
            swallowed_unwinds: counts.swallowed_unwinds.value(),
            quarantined: counts.quarantined.value(),
            stack_high_water: slab.high_water(),
        }
    }
}

impl fmt::Debug for PoolInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobPool")
            .field("max_jobs", &self.max_jobs)
            .field("live", &self.counts.live.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobPool;

    /// Two pools by turns, each past the end of a block.
    #[test]
    fn no_two_jobs_of_a_process_have_the_same_id() {
        let pools = [JobPool::new(), JobPool::new()];
        let mut ids = std::collections::BTreeSet::new();
        for turn in 0..ID_BLOCK + 2 {
            // Ids only rise within a block, so its first and last are enough to compare.
            let is_compared = !(2..ID_BLOCK - 2).contains(&turn);
            for pool in &pools {
                let id = pool.inner().new_id();
                assert!(!is_compared || ids.insert(id), "{id:?} twice, in turn {turn}");
            }
        }
    }
}
