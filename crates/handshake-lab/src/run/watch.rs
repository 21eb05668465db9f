//! Looking on while a row runs in real time: a thread beside the clients that reads engine and device now and then.

use lab_report::Progress;
use lab_report::recording::Readings;
use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::device::Device;
use crate::{
    load::{self, LoadPlan, LoadReport},
    server::LiveCounters,
};

/// The shortest interval between two readings, so that their cost does not show.
const SHORTEST: Duration = Duration::from_millis(2);

/// The longest interval between two readings, which the progress shown is made from.
const LONGEST: Duration = Duration::from_millis(100);

/// Runs the clients, and looks at the device meanwhile, if there is one.
pub(super) fn watched(
    plan: &LoadPlan,
    device: Option<&Device>,
    live: &LiveCounters,
    progress: &Progress,
) -> io::Result<(LoadReport, Option<Readings>)> {
    let mut readings = device.map(|_| Readings::default());
    let begun = Instant::now();
    let all = plan.rounds.map(|rounds| rounds * plan.connections as u64);
    let report = thread::scope(|scope| {
        let clients = thread::Builder::new()
            .name("clients".to_owned())
            .spawn_scoped(scope, || load::run(plan))?;
        while !clients.is_finished() {
            let now = begun.elapsed();
            let mut wait = LONGEST;
            if let (Some(readings), Some(device)) = (&mut readings, device) {
                readings.read(now, &device.reading());
                wait = readings.due().saturating_sub(now).clamp(SHORTEST, LONGEST);
            }
            let handshakes = live.handshakes();
            #[expect(clippy::cast_precision_loss, reason = "counts of one row are far below 2^52")]
            let share = all.map_or_else(
                || now.as_secs_f64() / plan.time_box.as_secs_f64().max(f64::MIN_POSITIVE),
                |all| handshakes as f64 / all.max(1) as f64,
            );
            progress.at(handshakes, share);
            thread::park_timeout(wait);
        }
        if let (Some(readings), Some(device)) = (&mut readings, device) {
            // What was counted since the last look.
            readings.read(begun.elapsed(), &device.reading());
        }
        clients.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok((report, readings))
}
