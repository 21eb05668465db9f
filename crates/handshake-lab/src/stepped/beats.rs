//! Another task of a worker's thread, which is due every so often, and how late it gets its turn.

use std::time::Duration;

use hdrhistogram::Histogram;

/// A task that is due every so often. Turns that were missed are not caught up with: each stall is one late turn, and the
/// next one is due a whole pause later.
#[derive(Debug, Clone)]
pub(super) struct Beats {
    every: Duration,
    due: Duration,
    /// After this it is not due any more.
    until: Duration,
    late_us: Histogram<u64>,
}

impl Beats {
    pub(super) fn new(every: Duration, until: Duration) -> Self {
        let late_us = Histogram::new(3).expect("three digits are a valid precision");
        Self { every, due: every, until, late_us }
    }

    /// When it is due next, if it ever is.
    pub(super) fn next(&self) -> Option<Duration> {
        (self.due <= self.until).then_some(self.due)
    }

    /// The thread has a moment for it. Says whether it was due.
    pub(super) fn turn(&mut self, now: Duration) -> bool {
        if self.next().is_none_or(|due| now < due) {
            return false;
        }
        let late = u64::try_from((now - self.due).as_micros()).unwrap_or(u64::MAX);
        // Fails only for histograms of a fixed size.
        let _ = self.late_us.record(late);
        self.due = now + self.every;
        true
    }

    /// How late it was, in microseconds.
    pub(super) fn into_late_us(self) -> Histogram<u64> {
        self.late_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_stall_is_one_late_turn_and_nothing_is_due_after_the_end() {
        let mut beats = Beats::new(MS, 20 * MS);
        assert!(!beats.turn(MS / 2));
        assert!(beats.turn(MS));
        // Held up from 2 to 9 milliseconds: one turn, seven late.
        assert!(beats.turn(9 * MS));
        assert!(!beats.turn(9 * MS));
        assert_eq!(beats.next(), Some(10 * MS));
        assert!(beats.turn(20 * MS));
        assert_eq!((beats.next(), beats.turn(40 * MS)), (None, false));
        let late = beats.into_late_us();
        assert_eq!((late.len(), late.min()), (3, 0));
        assert!((7_000..7_010).contains(&late.value_at_quantile(0.6)));
    }
}
