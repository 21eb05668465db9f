//! The request word: everything that has to change together, in one atomic number.
//!
//! ```text
//!   63                         9    8       7      6        5       4        3      2..0
//!  +----------------------------+--------+------+--------+-------+---------+-------+-------+
//!  | generation                 | future | owed | routed | retry | claimed | armed | phase |
//!  +----------------------------+--------+------+--------+-------+---------+-------+-------+
//! ```
//!
//! - `armed`: the job is about to pause or has paused; the next reason to resume wakes it, and takes the bit.
//! - `claimed`: a completion has won and is storing its result. The phase is still queued or submitted.
//! - `retry`: a retry was announced while the request was not armed. The next `arm` sees it.
//! - `routed`: some route for wakes exists. Kept here so that a wake without a route touches nothing else.
//! - `owed`: a wake of the request found no route. The next route that is added delivers it, unless the job has armed or ended
//!   the request meanwhile: it knows then.
//! - `future`: the same for the wake of a future, which no request concerns. Only its delivery takes the bit.

use std::sync::atomic::Ordering;

use crate::request::{RequestEvent, RequestPhase, transition};
use crate::sync::AtomicU64;

const PHASE_MASK: u64 = 0b111;
const GENERATION_SHIFT: u32 = 9;

/// One bit of the word.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Flag {
    Armed = 1 << 3,
    Claimed = 1 << 4,
    Retry = 1 << 5,
    Routed = 1 << 6,
    Owed = 1 << 7,
    OwedToFuture = 1 << 8,
}

/// Counts the requests of one notifier. Wraps after 2^55 requests, some thousand years of one every microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Generation(u64);

impl Generation {
    pub(crate) const fn as_u64(self) -> u64 {
        self.0
    }
}

/// One value of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) const fn phase(self) -> RequestPhase {
        match self.0 & PHASE_MASK {
            0 => RequestPhase::Free,
            1 => RequestPhase::Queued,
            2 => RequestPhase::Submitted,
            3 => RequestPhase::Done,
            4 => RequestPhase::Failed,
            _ => RequestPhase::Cancelled,
        }
    }

    pub(crate) const fn generation(self) -> Generation {
        Generation(self.0 >> GENERATION_SHIFT)
    }

    pub(crate) const fn has(self, flag: Flag) -> bool {
        self.0 & flag as u64 != 0
    }

    pub(crate) const fn with(self, flag: Flag) -> Self {
        Self(self.0 | flag as u64)
    }

    pub(crate) const fn without(self, flag: Flag) -> Self {
        Self(self.0 & !(flag as u64))
    }

    /// Applies an event to the phase; the flags stay. `None` if the event is not allowed.
    pub(crate) fn after(self, event: RequestEvent) -> Option<Self> {
        let phase = transition(self.phase(), event)?;
        Some(Self(self.0 & !PHASE_MASK | phase as u64))
    }

    /// The word of the next request: a new generation, and of the flags only those that belong to no request. `None` while
    /// this one is live.
    pub(crate) fn next(self) -> Option<Self> {
        let generation = (self.0 >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT;
        let stays = self.0 & (Flag::Routed as u64 | Flag::OwedToFuture as u64 | PHASE_MASK);
        Self(generation | stays).after(RequestEvent::Begin)
    }

    /// The word without the flags of a live request.
    pub(crate) const fn at_rest(self) -> Self {
        self.without(Flag::Armed).without(Flag::Claimed).without(Flag::Retry)
    }
}

/// The request word of one notifier.
#[derive(Debug)]
pub(crate) struct AtomicWord(AtomicU64);

impl AtomicWord {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    pub(crate) fn load(&self) -> Word {
        Word(self.0.load(Ordering::Acquire))
    }

    /// Replaces the word by `f` of it, in one atomic step, and returns the value before and after.
    #[inline]
    pub(crate) fn update(&self, mut f: impl FnMut(Word) -> Word) -> (Word, Word) {
        self.try_update(|word| Some(f(word))).expect("the closure above never returns `None`")
    }

    /// Does the same unless `f` returns `None`, which leaves the word unchanged.
    #[inline]
    pub(crate) fn try_update(&self, f: impl FnMut(Word) -> Option<Word>) -> Option<(Word, Word)> {
        self.try_update_from(self.load(), f)
    }

    /// Starts from a word the caller has read a moment ago, which saves a load. `f` decides on the current word, not on
    /// a stale `seen`.
    #[inline]
    pub(crate) fn try_update_from(
        &self,
        seen: Word,
        mut f: impl FnMut(Word) -> Option<Word>,
    ) -> Option<(Word, Word)> {
        let mut before = seen;
        loop {
            let after = f(before)?;
            let exchange = self.0.compare_exchange_weak(
                before.0,
                after.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match exchange {
                Ok(_) => return Some((before, after)),
                Err(current) => before = Word(current),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_next_request_is_one_later_and_keeps_the_flags_of_no_request() {
        const OF_NO_REQUEST: u64 = Flag::Routed as u64 | Flag::OwedToFuture as u64;
        for generation in [0, 1, 77, (1 << 55) - 1] {
            for left in 0..1 << GENERATION_SHIFT {
                let word = Word(generation << GENERATION_SHIFT | left);
                let Some(next) = word.next() else {
                    assert!(word.phase().is_live());
                    continue;
                };
                assert_eq!(next.phase(), RequestPhase::Queued);
                assert_eq!(next.generation().0, (generation + 1) % (1 << 55));
                assert_eq!(next.0 & 0x1f8, word.0 & OF_NO_REQUEST);
            }
        }
    }
}
