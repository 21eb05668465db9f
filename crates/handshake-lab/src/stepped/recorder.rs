//! What is remembered of a run in virtual time, beyond the hash of its trace.

use lab_report::Progress;
use lab_report::recording::{Outcomes, Reading, Readings, Story};

use std::time::Duration;

/// The series and stories of a run, while it runs.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) outcomes: Outcomes,
    pub(super) readings: Readings,
    pub(super) story: Story,
    /// Told now and then how far the run is.
    progress: Option<Progress>,
    /// How long the row may last, and how many handshakes it has, where that is known.
    extent: (Duration, Option<u64>),
    handshakes: u64,
    /// The readings as they were when the last client went, unless another has come: a device may take its time after that.
    before_idling: Option<Readings>,
}

impl Recorder {
    /// A recorder that tells `progress` how far the row is, which lasts as long and has as many handshakes as `extent` says.
    pub(super) fn new(progress: Progress, extent: (Duration, Option<u64>)) -> Self {
        Self { progress: Some(progress), extent, ..Self::default() }
    }

    /// A client has connected.
    pub(super) fn opened(&mut self, now: Duration, number: u64, worker: usize) {
        self.before_idling = None;
        self.story.opened(now, number, worker);
    }

    /// There is no client, and `reading` is what is left; whatever follows may be the end.
    pub(super) fn idles(&mut self, now: Duration, reading: &Reading) {
        if self.before_idling.is_none() {
            let mut readings = self.readings.clone();
            readings.read(now, reading);
            self.before_idling = Some(readings);
        }
    }

    /// The readings up to the last client's end.
    pub(super) fn readings(&self) -> &Readings {
        self.before_idling.as_ref().unwrap_or(&self.readings)
    }

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
