//! How a pool finds a stuck thread: the thread counts its calls, and the thread that polls the engine watches the count.
//!
//! The pool's thread reads no clock, and watching it takes no lock.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

/// The calls of one thread: each begin and each end counts, so the count is odd while it computes.
#[derive(Debug, Default)]
pub(crate) struct CallCount {
    count: AtomicU64,
    /// Another thread has replaced this one, which ends when its call returns.
    retired: AtomicBool,
}

impl CallCount {
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

/// What the watching thread remembers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The count of the call it was in, since when that is known, and whether it was found stuck in it.
    seen: Option<(u64, Duration, bool)>,
}

/// The state of a watched thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Idle,
    /// It computes, and counts as stuck if it still does at `until`.
    Busy {
        until: Duration,
    },
    /// It is stuck, and was not before.
    Stuck,
    StillStuck,
}

impl Watch {
    /// Checks a thread whose count is `count` at the time `now`.
    pub(crate) fn check(&mut self, count: u64, limit: Duration, now: Duration) -> Seen {
        if count.is_multiple_of(2) {
            self.seen = None;
            return Seen::Idle;
        }
        match &mut self.seen {
            Some((seen, since, stuck)) if *seen == count => {
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
                self.seen = Some((count, now, false));
                Seen::Busy { until: now.saturating_add(limit) }
            }
        }
    }

    /// Whether the thread was found stuck in the call of that `count`.
    pub(crate) fn is_stuck(&self, count: u64) -> bool {
        matches!(self.seen, Some((seen, _, true)) if seen == count)
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
    fn a_thread_is_found_stuck_once_and_only_in_that_call() {
        let mut watch = Watch::default();
        assert_eq!(watch.check(0, LIMIT, at(0)), Seen::Idle);
        assert_eq!(watch.check(1, LIMIT, at(1)), Seen::Busy { until: at(6) });
        assert_eq!(watch.check(1, LIMIT, at(5)), Seen::Busy { until: at(6) });
        assert_eq!(watch.check(1, LIMIT, at(6)), Seen::Stuck);
        assert_eq!(watch.check(1, LIMIT, at(7)), Seen::StillStuck);
        assert!(watch.is_stuck(1) && !watch.is_stuck(2));
        // The call returned, and the thread computes the next one.
        assert_eq!(watch.check(3, LIMIT, at(8)), Seen::Busy { until: at(13) });
        assert!(!watch.is_stuck(3));
    }

    #[test]
    fn a_thread_whose_calls_return_is_never_stuck() {
        let mut watch = Watch::default();
        for n in 0..100 {
            assert_eq!(
                watch.check(2 * n + 1, LIMIT, at(4 * n)),
                Seen::Busy { until: at(4 * n + 5) }
            );
        }
    }
}
