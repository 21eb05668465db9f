//! The heartbeat task of a worker's thread: due at intervals, and its delays are recorded.

use std::time::Duration;

use lab_report::recording::DurationHistogram;

/// A task that is due at intervals. A stall makes one late beat, and the next is due one interval after that: missed beats
/// are not made up for.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    every: Duration,
    due: Duration,
    /// After this it is not due any more.
    until: Duration,
    late: DurationHistogram,
}

impl Heartbeat {
    pub(super) fn new(every: Duration, until: Duration) -> Self {
        Self { every, due: every, until, late: DurationHistogram::default() }
    }

    /// The time of the next beat; `None` after the end.
    pub(super) fn next(&self) -> Option<Duration> {
        (self.due <= self.until).then_some(self.due)
    }

    /// Runs the task if it is due at `now`. Returns whether it was.
    pub(super) fn run(&mut self, now: Duration) -> bool {
        if self.next().is_none_or(|due| now < due) {
            return false;
        }
        self.late.record(now - self.due);
        self.due = now + self.every;
        true
    }

    pub(super) fn into_late(self) -> DurationHistogram {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_stall_is_one_late_beat_and_nothing_is_due_after_the_end() {
        let mut heartbeat = Heartbeat::new(MS, 20 * MS);
        assert!(!heartbeat.run(MS / 2));
        assert!(heartbeat.run(MS));
        // Held up from 2 to 9 milliseconds: one beat, seven late.
        assert!(heartbeat.run(9 * MS));
        assert!(!heartbeat.run(9 * MS));
        assert_eq!(heartbeat.next(), Some(10 * MS));
        assert!(heartbeat.run(20 * MS));
        assert_eq!((heartbeat.next(), heartbeat.run(40 * MS)), (None, false));
        let late = heartbeat.into_late();
        assert_eq!((late.count(), late.quantile_ms(0.0)), (3, 0.0));
        assert!((7.0..7.01).contains(&late.quantile_ms(0.6)));
    }
}
