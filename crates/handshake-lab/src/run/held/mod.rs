//! Rows whose handshakes are held: all are parked at once in this process, then a few of them are completed.
//!
//! ```text
//!   each worker:  client says hello --> session of an event loop --> parked; the client is dropped
//!                 ... until the last one is parked, and the memory of the process has been read ...
//!                 the drawn ones: the device signs --> the session goes on --> the client that was kept verifies
//!                 the others are given up
//! ```
//!
//! Connections are in memory, for a process has not as many descriptors. The clients of the drawn handshakes exist before
//! memory is read for the first time.

mod keeper;
mod wire;
mod worker;

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crypto_ops::SoftwareKeys;
use lab_report::Progress;
use lab_report::recording::RowTimeline;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use self::{
    keeper::Keeper,
    worker::{Finished, Parts},
};
use crate::{
    assembly::EngineSettings,
    certs::TestPki,
    error::RunError,
    evidence::{DeviceReport, Harm, RowEvidence, engines, ledger},
    fleet::Fleet,
    keys::Asked,
    load::{Clients, LoadReport, Verified},
    memory,
    scenario::{ParkingMethod, RowPlan},
};

/// Memory that a parked handshake may take at most, with room to spare; a row for which there is less is shortened.
const fn room_for_one(parking: ParkingMethod) -> u64 {
    match parking {
        ParkingMethod::Fiber => 40 << 10,
        ParkingMethod::Replay => 6 << 10,
    }
}

/// The interval of progress.
const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(
    plan: &RowPlan,
    fleet: &[TestPki],
    progress: &Progress,
) -> Result<(RowEvidence, RowTimeline), RunError> {
    let system = |source: io::Error| RunError::System { row: plan.name.clone(), source };
    let (keys, asked, verified) =
        (Arc::new(SoftwareKeys::new()), Asked::default(), Verified::default());
    let servers = Fleet::load(plan, fleet, &keys, &asked)?;
    let device = Arc::<Keeper>::default();
    let engine = EngineSettings::of(&plan.engine, plan.connections).build(
        Arc::clone(&device) as Arc<_>,
        None,
        None,
    );
    let context = servers
        .context(|_, handle| Some(ssl_async::offload::key_handle(Arc::clone(&engine), handle)))?;
    let clients = Clients::new(&plan.mix, fleet.first().map(|pki| &pki.ca), &verified)?;

    let room = memory::available().map_err(system)? / 4 * 3 / room_for_one(plan.parking);
    let connections = plan.connections.min(usize::try_from(room).unwrap_or(usize::MAX));
    let shortened = (connections < plan.connections).then(|| {
        format!(
            "row {:?} held {connections} handshakes and not {}, for which this machine has not the memory now",
            plan.name, plan.connections
        )
    });
    let begun = Instant::now();
    let parts = Parts {
        context: &context,
        clients: &clients,
        keys: &keys,
        device: &device,
        drawn: draw(connections, plan),
        live: Arc::default(),
        progress,
    };
    let (bytes, finished) = hold(&parts, connections, plan.workers).map_err(system)?;
    device.clear();
    engine.close();
    let quiet = engine.quiesce(plan.drain);
    let elapsed = begun.elapsed();
    let devices = vec![DeviceReport {
        name: plan.device().name.clone(),
        engine: engine.stats(),
        card: sim_engine::InstanceStats::default(),
        elapsed,
        quiet,
    }];
    let mut load = LoadReport { elapsed, ..LoadReport::default() };
    let mut workers = Vec::with_capacity(finished.len());
    for Finished { report, done, failures } in finished {
        for took in done {
            load.handshakes += 1;
            load.latency.record(took);
        }
        for failure in failures {
            load.failed += 1;
            *load.failures.entry(failure).or_default() += 1;
        }
        workers.push(report);
    }
    let ledger = ledger(&workers, &engines(&devices));
    let timeline = RowTimeline::of(&plan.name, elapsed, &load.outcomes, None, None, &load.latency);
    let harm = Harm::at_most(&devices);
    let evidence = RowEvidence {
        plan: plan.clone(),
        load,
        verified: verified.count(),
        asked: asked.count(),
        answers: None,
        calls: None,
        replays: servers.passes().map(|passes| passes.counts()),
        parked_bytes: bytes,
        shortened,
        workers,
        stuck: 0,
        devices,
        harm,
        ledger,
    };
    Ok((evidence, timeline))
}

/// The numbers of the handshakes that are completed.
fn draw(connections: usize, plan: &RowPlan) -> BTreeSet<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut drawn = BTreeSet::new();
    while drawn.len() < plan.completed.min(connections) {
        drawn.insert(random.random_range(0..connections));
    }
    drawn
}

/// Parks this number of handshakes on that many threads, reads the memory of the process before and after, and lets the
/// threads complete what was drawn. Returns the bytes of each parked handshake, and what each thread did.
fn hold(
    parts: &Parts<'_>,
    connections: usize,
    workers: usize,
) -> io::Result<(Option<f64>, Vec<Finished>)> {
    thread::scope(|scope| {
        let mut ready = Vec::with_capacity(workers);
        // A worker whose end of `go` is dropped ends early.
        let mut go = Vec::with_capacity(workers);
        let mut threads = Vec::with_capacity(workers);
        for worker in 0..workers {
            let range = worker * connections / workers..(worker + 1) * connections / workers;
            let (told, waits) = mpsc::channel();
            let (tells, is_ready) = mpsc::channel();
            let thread = thread::Builder::new().name(format!("worker {worker}"));
            let body = move || worker::serve(parts, range, &tells, &waits);
            threads.push(thread.spawn_scoped(scope, body)?);
            go.push(told);
            ready.push(is_ready);
        }
        wait_for_all(&ready, || {});
        let before = memory::resident_with_page_tables()?;
        for go in &go {
            // A worker that has ended is noticed when it is joined.
            let _told = go.send(());
        }
        wait_for_all(&ready, || {
            let parked = parts.live.sessions();
            parts.progress.at(parked as u64, ratio(parked as u64, connections));
        });
        let after = memory::resident_with_page_tables()?;
        let parked = parts.live.sessions();
        drop(go);
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let finished: io::Result<Vec<Finished>> = threads.into_iter().map(join).collect();
        let bytes = (parked > 0).then(|| ratio(after.saturating_sub(before), parked));
        Ok((bytes, finished?))
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and counts of one process are far below 2^52"
)]
fn ratio(of: u64, to: usize) -> f64 {
    of as f64 / to.max(1) as f64
}

/// Waits until each worker has said that it is ready, or has ended.
fn wait_for_all(ready: &[mpsc::Receiver<()>], mut meanwhile: impl FnMut()) {
    for worker in ready {
        while worker.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
            meanwhile();
        }
    }
}
