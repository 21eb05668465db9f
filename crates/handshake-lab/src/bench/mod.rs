//! `lab bench`: what things cost, each beside the best known rival or a limit, measured in turn in one process.
//!
//! Ratios are the result; absolute numbers belong to the machine that printed them. Ratio above 1 means that ours is
//! ahead.

mod clocks;
mod device;
mod engine;
mod heartbeat;
mod job;
mod measure;
mod openssl;
mod paused;
mod report;
mod sim;
mod tls;
mod wait_ctx;

pub(crate) use report::{Bench, Better, Document};

use measure::Measured;

/// A bench, or a family of benches that share their set-up.
struct Entry {
    /// What the command line selects by: the beginning of the names.
    name: &'static str,
    run: fn() -> Vec<Bench>,
}

/// Every bench, quick ones first.
const ENTRIES: &[Entry] = &[
    Entry { name: "wait_ctx.life_cycle", run: wait_ctx::life_cycle },
    Entry { name: "wait_ctx.notify_eventfd", run: wait_ctx::notify_eventfd },
    Entry { name: "wait_ctx.notify_unlistened", run: wait_ctx::notify_unlistened },
    Entry { name: "job.pause_resume", run: job::pause_resume },
    Entry { name: "job.start_finish", run: job::start_finish },
    Entry { name: "job.first_start", run: job::first_start },
    Entry { name: "job.cold_resume", run: job::cold_resume },
    Entry { name: "engine.per_op", run: engine::per_op },
    Entry { name: "engine.wake_sleeping", run: engine::wake_sleeping },
    Entry { name: "engine.mass_cancel", run: engine::mass_cancel },
    Entry { name: "device.virtual_requests", run: device::virtual_requests },
    Entry { name: "sim.real_tls_virtual", run: sim::real_tls_virtual },
    Entry { name: "sim.swarm_seeds", run: sim::swarm_seeds },
    Entry { name: "sim.million_seconds", run: sim::million },
    Entry { name: "sim.million_in_flight", run: sim::million_in_flight },
    Entry { name: "clocks", run: clocks::clocks },
    Entry { name: "tls.heartbeat", run: heartbeat::heartbeat },
    Entry { name: "tls.cpu_tokio_vs_mio", run: heartbeat::cpu },
    Entry { name: "job.paused", run: paused::paused },
    Entry { name: "tls.paused_bytes", run: tls::paused_bytes },
    Entry { name: "tls.added_instructions", run: tls::added_instructions },
    Entry { name: "tls.cpu_vs_free_sign", run: tls::cpu_vs_free_sign },
];

/// One arm of a bench that has a process of its own.
pub(crate) fn child(arm: &str, count: usize) -> Result<(), String> {
    match arm.split('-').next() {
        Some("memory") => tls::memory_child(arm, count),
        Some("sim") => sim::child(arm),
        Some("instructions") => tls::instructions_child(arm, count),
        _ => paused::child(arm, count),
    }
}

/// Runs the benches whose names begin with one of `wanted`, or all; `progress` is told what comes next.
///
/// # Errors
///
/// The names there are, if one of `wanted` fits none.
pub(crate) fn run(wanted: &[String], progress: impl Fn(&str)) -> Result<Document, String> {
    let fits =
        |name: &str, word: &String| name.starts_with(word.as_str()) || word.starts_with(name);
    if let Some(word) = wanted.iter().find(|word| !ENTRIES.iter().any(|e| fits(e.name, word))) {
        let names: Vec<_> = ENTRIES.iter().map(|entry| entry.name).collect();
        return Err(format!("unknown bench \"{word}\"; there are {}", names.join(", ")));
    }
    let mut benches = Vec::new();
    for entry in ENTRIES {
        if wanted.is_empty() || wanted.iter().any(|word| fits(entry.name, word)) {
            progress(entry.name);
            benches.extend((entry.run)());
        }
    }
    Ok(Document { benches })
}
