//! The request word: everything that has to change together, in one atomic number.
//!
//! ```text
//!   63                                   8   7     6       5      4        3      2..0
//!  +--------------------------------------+------+--------+-------+---------+-------+-------+
//!  | generation                           | owed | routed | retry | claimed | armed | state |
//!  +--------------------------------------+------+--------+-------+---------+-------+-------+
//! ```
//!
//! - `armed`: the job is about to pause or has paused; the next reason to resume must wake it, and takes the bit.
//! - `claimed`: a completion has won and is storing its result. The state still says queued or submitted.
//! - `retry`: a retry was announced while nobody was armed. The next `arm` sees it.
//! - `routed`: some route for wakes exists. Kept here so that a wake that nobody listens to touches nothing else.
//! - `owed`: a wake found no route. Whoever adds a route next delivers it.

use std::sync::atomic::Ordering;

use crate::request::{IllegalTransition, RequestEvent, RequestPhase, transition};
use crate::sync::AtomicU64;

const STATE_MASK: u64 = 0b111;
const GENERATION_SHIFT: u32 = 8;

/// One bit of the word.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Flag {
    Armed = 1 << 3,
    Claimed = 1 << 4,
    Retry = 1 << 5,
    Routed = 1 << 6,
    Owed = 1 << 7,
}

/// Which request of a notifier is meant. Wraps after 2^56 requests, some two thousand years of one every microsecond.
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
        match self.0 & STATE_MASK {
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

    /// Applies an event to the state; the flags stay.
    pub(crate) const fn after(self, event: RequestEvent) -> Result<Self, IllegalTransition> {
        match transition(self.phase(), event) {
            Ok(state) => Ok(Self(self.0 & !STATE_MASK | state as u64)),
            Err(illegal) => Err(illegal),
        }
    }

    /// The word of the next request: a new generation, and of the flags only `routed`.
    pub(crate) const fn next(self) -> Result<Self, IllegalTransition> {
        let generation = (self.0 >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT;
        let routed = self.0 & Flag::Routed as u64;
        Self(generation | routed | self.0 & STATE_MASK).after(RequestEvent::Begin)
    }

    /// The word once nobody waits for this request any more.
    pub(crate) const fn at_rest(self) -> Self {
        self.without(Flag::Armed).without(Flag::Claimed).without(Flag::Retry)
    }
}

/// The word itself.
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

    /// Replaces the word by `f` of it, in one step, and returns the value before and after.
    ///
    /// # Errors
    /// What `f` returns; the word is then as it was.
    #[inline]
    pub(crate) fn update<E>(
        &self,
        f: impl FnMut(Word) -> Result<Word, E>,
    ) -> Result<(Word, Word), E> {
        self.update_from(self.load(), f)
    }

    /// The same for a caller who has seen the word a moment ago, and so saves reading it.
    ///
    /// # Errors
    /// What `f` returns for the word that is there; not for the one that was seen.
    #[inline]
    pub(crate) fn update_from<E>(
        &self,
        seen: Word,
        mut f: impl FnMut(Word) -> Result<Word, E>,
    ) -> Result<(Word, Word), E> {
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
                Ok(_) => return Ok((before, after)),
                Err(current) => before = Word(current),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Whatever the last request has left.
    #[test]
    fn the_next_request_is_one_later_and_of_the_flags_only_routed_stays() {
        for generation in [0, 1, 77, (1 << 56) - 1] {
            for left in 0..1 << GENERATION_SHIFT {
                let word = Word(generation << GENERATION_SHIFT | left);
                let Ok(next) = word.next() else {
                    assert!(word.phase().is_live());
                    continue;
                };
                assert_eq!(next.phase(), RequestPhase::Queued);
                assert_eq!(next.generation().0, (generation + 1) % (1 << 56));
                let routed = word.has(Flag::Routed);
                assert_eq!(next.without(Flag::Routed).0 & 0xf8, 0);
                assert_eq!(next.has(Flag::Routed), routed);
            }
        }
    }
}
