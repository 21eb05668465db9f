//! The heartbeat: a count that goes up while the device is alive.

use core::time::Duration;

/// Worked out when asked for, so that a device without work has nothing on its calendar.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    period: Duration,
    /// Beats until `since`.
    beats: u64,
    /// The device is alive from then on; in the future while the heart stands still.
    since: Duration,
}

impl Heartbeat {
    pub(crate) const fn new(period: Duration) -> Self {
        Self { period, beats: 0, since: Duration::ZERO }
    }

    pub(crate) fn count(&self, now: Duration) -> u64 {
        let alive = now.saturating_sub(self.since).as_nanos();
        let beats = u64::try_from(alive / self.period.as_nanos()).unwrap_or(u64::MAX);
        self.beats.saturating_add(beats)
    }

    pub(crate) fn is_beating(&self, now: Duration) -> bool {
        self.since <= now
    }

    /// Stands still from `now` until `until`; a longer standstill already begun goes on.
    pub(crate) fn stop(&mut self, now: Duration, until: Duration) {
        self.beats = self.count(now);
        self.since = self.since.max(until);
    }

    /// Beats again from `now` on, whatever stopped it.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.beats = self.count(now);
        self.since = now;
    }
}
