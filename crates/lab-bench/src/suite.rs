//! The list of benches, and running the selected ones.

use std::time::Instant;

use lab_report::{BenchMachine, Ticks};

use crate::{
    capi, clocks, device, engine, heartbeat, job, paused, pkcs11,
    report::{Bench, Document},
    sim, tls, wait_ctx,
};

/// A bench, or a family of benches that share their set-up.
struct Entry {
    /// What the command line selects by: the beginning of the names.
    name: &'static str,
    /// About how long it takes on two cores, in seconds.
    seconds: u32,
    run: fn() -> Vec<Bench>,
}

const fn entry(name: &'static str, seconds: u32, run: fn() -> Vec<Bench>) -> Entry {
    Entry { name, seconds, run }
}

/// Every bench, quick ones first.
const ENTRIES: &[Entry] = &[
    entry("wait_ctx.life_cycle", 1, wait_ctx::life_cycle),
    entry("wait_ctx.notify_eventfd", 1, wait_ctx::notify_eventfd),
    entry("wait_ctx.notify_unlistened", 1, wait_ctx::notify_unlistened),
    entry("job.pause_resume", 1, job::pause_resume),
    entry("job.start_finish", 1, job::start_finish),
    entry("job.first_start", 4, job::first_start),
    entry("job.cold_resume", 1, job::cold_resume),
    entry("capi", 5, capi::capi),
    entry("engine.per_op", 1, engine::per_op),
    entry("engine.wake_sleeping", 1, engine::wake_sleeping),
    entry("engine.mass_cancel", 2, engine::mass_cancel),
    entry("device.virtual_requests", 1, device::virtual_requests),
    entry("sim.real_tls_virtual", 3, sim::real_tls_virtual),
    entry("sim.swarm_seeds", 2, sim::swarm_seeds),
    entry("sim.million_seconds", 5, sim::million),
    entry("sim.million_in_flight", 12, sim::million_in_flight),
    entry("clocks", 65, clocks::clocks),
    entry("tls.heartbeat", 31, heartbeat::heartbeat),
    entry("tls.cpu_tokio_vs_mio", 10, heartbeat::cpu),
    entry("job.paused", 7, paused::paused),
    entry("tls.paused_bytes", 1, tls::paused_bytes),
    entry("tls.added_instructions", 12, tls::added_instructions),
    entry("tls.unparked_vs_tokio_rustls", 6, tls::unparked),
    entry("pkcs11", 60, pkcs11::pkcs11),
    entry("tls.cpu_vs_free_sign", 65, tls::cpu_vs_free_sign),
    entry("tls.million_parked", 75, tls::million_parked),
];

/// How often a bench is tried. One that measures threads in turn may find another machine than it counts on: a busy one.
const ATTEMPTS: u32 = 3;

/// One arm of a bench that has a process of its own.
pub(crate) fn child(arm: &str, count: usize) -> Result<(), String> {
    match arm.split('-').next() {
        Some("memory") => tls::memory_child(arm, count),
        Some("million") => tls::million_child(count),
        Some("sim") => sim::child(arm),
        Some("pkcs11") => pkcs11::child(arm, count),
        Some("instructions") => tls::instructions_child(arm, count),
        _ => paused::child(arm, count),
    }
}

/// The benches whose names begin with one of `wanted`, or all.
///
/// # Errors
///
/// The names there are, if one of `wanted` fits none.
fn chosen(wanted: &[String]) -> Result<impl Iterator<Item = &'static Entry>, String> {
    let fits =
        |name: &str, word: &String| name.starts_with(word.as_str()) || word.starts_with(name);
    if let Some(word) = wanted.iter().find(|word| !ENTRIES.iter().any(|e| fits(e.name, word))) {
        let names: Vec<_> = ENTRIES.iter().map(|entry| entry.name).collect();
        return Err(format!("unknown bench \"{word}\"; there are {}", names.join(", ")));
    }
    Ok(ENTRIES
        .iter()
        .filter(move |entry| wanted.is_empty() || wanted.iter().any(|word| fits(entry.name, word))))
}

/// The names of the benches that [`run`] would run, with about how many seconds each takes.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn list(wanted: &[String]) -> Result<Vec<(&'static str, u32)>, String> {
    Ok(chosen(wanted)?.map(|entry| (entry.name, entry.seconds)).collect())
}

/// What [`run`] says while it runs.
pub(crate) enum Said<'a> {
    /// This bench comes next, and takes about this number of seconds.
    Next(&'static str, u32),
    /// It failed and is tried again.
    Again(&'static str, &'a str),
    /// A result is there.
    Result(&'a Bench),
    /// The bench is over, after this number of seconds.
    Over(f64),
}

/// Runs the benches whose names begin with one of `wanted`, or all, and says each result when it is there. A bench that
/// panics is tried again; if it fails three times its row has the reason instead of a value, and the others run. The
/// rows of a bench that did not have the machine for itself say so.
///
/// # Errors
///
/// The names there are, if one of `wanted` fits none.
pub(crate) fn run(wanted: &[String], say: impl Fn(Said<'_>)) -> Result<Document, String> {
    let (mut benches, mut machine) = (Vec::new(), BenchMachine::this());
    let taken_since = |before: Option<Ticks>| Ticks::now()?.taken_since(before?);
    let at_first = Ticks::now();
    for entry in chosen(wanted)? {
        say(Said::Next(entry.name, entry.seconds));
        let (begun, before) = (Instant::now(), Ticks::now());
        let mut rows = attempt(entry, &say);
        if let Some(taken) = taken_since(before).filter(|taken| taken.is_much()) {
            rows = rows.into_iter().map(|row| row.with_note(taken.to_string())).collect();
        }
        rows.iter().for_each(|bench| say(Said::Result(bench)));
        say(Said::Over(begun.elapsed().as_secs_f64()));
        benches.extend(rows);
    }
    machine.taken = taken_since(at_first);
    Ok(Document { machine, benches })
}

fn attempt(entry: &Entry, say: &impl Fn(Said<'_>)) -> Vec<Bench> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match ::wait_ctx::contain("a bench", entry.run).map_err(|panicked| panicked.cause) {
            Ok(rows) => return rows,
            Err(why) if left > 0 => say(Said::Again(entry.name, &why)),
            Err(why) => {
                let why = format!("failed {ATTEMPTS} times: {why}");
                return vec![Bench::missing(entry.name, "-", why)];
            }
        }
    }
}
