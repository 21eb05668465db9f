//! The ledger of a server: what it holds and held, gathered from the pools, engines and devices that keep its accounts.

use engine_core::{EngineStats, Gauge};
use lab_report::{Ledger, LedgerLevel};

use super::device::DeviceReport;
use crate::server::WorkerReport;

/// The engines' accounts of these devices.
pub(crate) fn engines(devices: &[DeviceReport]) -> Vec<&EngineStats> {
    devices.iter().map(|device| &device.engine).collect()
}

/// Gathers the ledger after the workers' end.
pub fn ledger(workers: &[WorkerReport], engines: &[&EngineStats]) -> Ledger {
    let level = |now: usize, peak: usize| LedgerLevel { now: now as u64, peak: peak as u64 };
    let jobs = |worker: &WorkerReport| level(worker.pool.live, worker.pool.peak_live);
    // A stack is in use exactly as long as its job lives, so their peaks are the same.
    let stacks = |worker: &WorkerReport| level(worker.pool.stacks_in_use, worker.pool.peak_live);
    let read = |gauge: Gauge| LedgerLevel { now: gauge.now, peak: gauge.peak };
    let engine_level = |of: fn(&EngineStats) -> Gauge| {
        let levels = engines.iter().map(|engine| read(of(engine)));
        levels.fold(LedgerLevel::default(), LedgerLevel::beside)
    };
    Ledger {
        jobs: workers.iter().map(jobs).fold(LedgerLevel::default(), LedgerLevel::beside),
        stacks: workers.iter().map(stacks).fold(LedgerLevel::default(), LedgerLevel::beside),
        requests: engine_level(|engine| engine.requests),
        waiters: engine_level(|engine| engine.waiters),
        fds: read(wait_ctx::open_fds()),
        // Keys of half-finished key exchanges that devices hold. Signatures leave nothing open.
        device_handles: read(crypto_ops::device_handles()),
    }
}
