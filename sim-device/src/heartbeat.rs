//! The heartbeat: a counter that rises while the device is alive.

use core::time::Duration;

/// Computed when it is read, so that an idle device has no events.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    period: Duration,
    /// The count at `since`.
    beats: u64,
    /// Counting continues from this time; in the future while it is stopped.
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

    /// Stops counting until `until`, or longer if an earlier stop lasts longer.
    pub(crate) fn stop(&mut self, now: Duration, until: Duration) {
        self.beats = self.count(now);
        self.since = self.since.max(until);
    }

    /// Counts again from `now`, ending any stop.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.beats = self.count(now);
        self.since = now;
    }
}
