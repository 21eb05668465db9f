//! The recorder of a run in virtual time: its series and handshake traces, beyond the hash of its trace.

use lab_report::Progress;
use lab_report::recording::{HandshakeTrace, Outcomes, Reading, Readings};

use std::time::Duration;

/// The series and handshake traces of a run, while it runs.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) outcomes: Outcomes,
    pub(super) readings: Readings,
    pub(super) handshake_trace: HandshakeTrace,
    progress: Option<Progress>,
    /// The longest duration of the row, and its number of handshakes, if known.
    extent: (Duration, Option<u64>),
    handshakes: u64,
    /// The readings when the last client left: a device may go on for longer.
    before_idling: Option<Readings>,
}

impl Recorder {
    /// A recorder that reports to `progress`; `extent` is the longest duration of the row and its number of handshakes.
    pub(super) fn new(progress: Progress, extent: (Duration, Option<u64>)) -> Self {
        Self { progress: Some(progress), extent, ..Self::default() }
    }

    pub(super) fn opened(&mut self, now: Duration, number: u64, worker: usize) {
        self.before_idling = None;
        self.handshake_trace.opened(now, number, worker);
    }

    /// Called when no client is left: the series ends with `reading` unless another client connects.
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

    pub(super) fn handshake(&mut self, now: Duration, took: Duration) {
        self.handshakes += 1;
        self.outcomes.handshake(now, took);
    }

    /// Called before time advances to `until`; nothing changes from `reading` until then.
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
