//! What is remembered of a run in virtual time, beyond the hash of its trace.

use std::time::Duration;

use crate::{
    recording::{Outcomes, Reading, Readings, Story},
    report::Progress,
};

/// The series and stories of a run, while it runs.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) outcomes: Outcomes,
    pub(super) readings: Readings,
    pub(super) story: Story,
    /// Told now and then how far the run is.
    pub(super) progress: Option<Progress>,
    /// How long the row may last, and how many handshakes it has, where that is known.
    pub(super) extent: (Duration, Option<u64>),
    pub(super) handshakes: u64,
}

impl Recorder {
    /// A handshake was done.
    pub(super) fn handshake(&mut self, now: Duration, took: Duration) {
        self.handshakes += 1;
        self.outcomes.handshake(now, took);
    }

    /// Time is about to go on to `until`; nothing has changed since `reading`.
    pub(super) fn stand_still(&mut self, until: Duration, reading: &Reading) {
        self.readings.stand_still(until, reading);
        if let Some(progress) = &self.progress {
            let (time_box, handshakes) = self.extent;
            #[expect(clippy::cast_precision_loss, reason = "counts of one row are far below 2^52")]
            let share = match handshakes {
                Some(all) => self.handshakes as f64 / all.max(1) as f64,
                None => until.as_secs_f64() / time_box.as_secs_f64().max(f64::MIN_POSITIVE),
            };
            progress.at(self.handshakes, share);
        }
    }
}
