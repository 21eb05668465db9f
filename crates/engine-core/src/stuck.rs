//! How a pool tells that one of its threads is stuck: the thread counts its turns, and whoever has a clock looks.
//!
//! The thread reads no clock and the look takes no lock of the thread's.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

/// What a thread says of itself: it counts each begin and each end, so the count is odd while it computes.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    count: AtomicU64,
    /// Another thread has its place: it is to end when it comes back.
    retired: AtomicBool,
}

impl Turn {
    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

/// What whoever looks remembers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The turn it was in, since when that is known, and whether it was found stuck in it.
    seen: Option<(u64, Duration, bool)>,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Idle,
    /// It computes, and counts as stuck if it still does then.
    Busy {
        until: Duration,
    },
    /// It is stuck. Said once.
    Stuck,
    StillStuck,
}

impl Watch {
    /// Looks at a thread in its turn `turn` at the time `now`.
    pub(crate) fn look(&mut self, turn: u64, limit: Duration, now: Duration) -> Seen {
        if turn.is_multiple_of(2) {
            self.seen = None;
            return Seen::Idle;
        }
        match &mut self.seen {
            Some((seen, since, stuck)) if *seen == turn => {
                let until = since.saturating_add(limit);
                if *stuck {
                    Seen::StillStuck
                } else if now >= until {
                    *stuck = true;
                    Seen::Stuck
                } else {
                    Seen::Busy { until }
                }
            }
            _ => {
                self.seen = Some((turn, now, false));
                Seen::Busy { until: now.saturating_add(limit) }
            }
        }
    }

    /// Whether the thread, in its turn `turn`, was found stuck in that turn.
    pub(crate) fn is_stuck(&self, turn: u64) -> bool {
        matches!(self.seen, Some((seen, _, true)) if seen == turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_thread_is_found_stuck_once_and_only_in_that_turn() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(0, LIMIT, at(0)), Seen::Idle);
        assert_eq!(watch.look(1, LIMIT, at(1)), Seen::Busy { until: at(6) });
        assert_eq!(watch.look(1, LIMIT, at(5)), Seen::Busy { until: at(6) });
        assert_eq!(watch.look(1, LIMIT, at(6)), Seen::Stuck);
        assert_eq!(watch.look(1, LIMIT, at(7)), Seen::StillStuck);
        assert!(watch.is_stuck(1) && !watch.is_stuck(2));
        // It came back, and computes the next one.
        assert_eq!(watch.look(3, LIMIT, at(8)), Seen::Busy { until: at(13) });
        assert!(!watch.is_stuck(3));
    }

    #[test]
    fn a_thread_that_gets_on_is_never_stuck_however_long_it_works() {
        let mut watch = Watch::default();
        for n in 0..100 {
            assert_eq!(
                watch.look(2 * n + 1, LIMIT, at(4 * n)),
                Seen::Busy { until: at(4 * n + 5) }
            );
        }
    }
}
