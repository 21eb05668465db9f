//! One row: server, device and clients up, load through, everything down again, all counters read.

use std::{io, net::TcpListener, sync::Arc};

use crypto_ops::SoftwareKeys;
use lab_report::Progress;
use lab_report::recording::RowTimeline;

use super::{device::Device, watch::watched};
use crate::{
    certs::TestPki,
    error::RunError,
    evidence::{Harm, RowEvidence, engines, ledger},
    fleet::Fleet,
    keys::Asked,
    load::{Clients, LoadPlan, Verified},
    scenario::{Mode, RowPlan},
    server::{Limits, Server, ServerPlan, Service, StopOrder},
};

/// Every n-th session that parks is resumed once without a wake, which must do no harm (law L2).
pub(super) const UNPROMPTED_EVERY: u64 = 64;

/// Connections that may wait to be accepted; all of a row's arrive at once, and one that finds no room tries again only
/// after a second.
const BACKLOG: i32 = 4096;

pub(super) fn run(
    plan: &RowPlan,
    fleet: &[TestPki],
    progress: &Progress,
) -> Result<(RowEvidence, RowTimeline), RunError> {
    let system = |source: io::Error| RunError::System { row: plan.name.clone(), source };

    let keys = Arc::new(SoftwareKeys::new());
    let asked = Asked::default();
    let servers = Fleet::load(plan, fleet, &keys, &asked)?;
    let device = if plan.mode.uses_device() {
        // Every connection may wait at the same time.
        let bound = plan.connections;
        let keys = Arc::clone(&keys);
        Some(Device::start(plan.device(), &plan.faults, plan.seed, bound, keys, &plan.engine)?)
    } else {
        None
    };
    let context = servers.context(|_, handle| Some(device.as_ref()?.signing_key(handle)))?;

    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(system)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| system(error.into()))?;
    let server = Server::start(
        &listener,
        ServerPlan {
            workers: plan.workers,
            wake: plan.wake,
            context,
            service: Service::HandshakeOnly,
            unprompted_every: Some(UNPROMPTED_EVERY),
            collector: device.as_ref().and_then(Device::collector),
            limits: Limits::default(),
        },
    )
    .map_err(system)?;

    let verified = Verified::default();
    let ca = fleet.first().filter(|_| plan.mode != Mode::FreeSign).map(|pki| &pki.ca);
    let load = LoadPlan {
        target: server.address(),
        connections: plan.connections,
        rounds: plan.rounds,
        time_box: plan.time_box,
        // A worker that waits serves its queue one by one; what is in it when the time is over is given up.
        drain: if plan.mode == Mode::Blocking { std::time::Duration::ZERO } else { plan.drain },
        hang_ups: plan.hang_ups,
        clients: Arc::new(Clients::new(&plan.mix, ca, &verified)?),
        stop: Some(progress.clone()),
    };
    let (load, readings) =
        watched(&load, device.as_ref(), server.live(), progress).map_err(system)?;

    let ending =
        if plan.mode == Mode::Blocking { StopOrder::Abandon } else { StopOrder::Drain(plan.drain) };
    // A worker that blocks ends after its operation at the latest.
    let patience = plan.device().latency() * 2 + plan.drain;
    let ended = server.end(ending, patience).map_err(system)?;
    let device = device.map(|device| device.end(plan.drain));
    let devices: Vec<_> = device.into_iter().collect();
    let ledger = ledger(&ended.workers, &engines(&devices));
    let ring_entries = (!devices.is_empty()).then(|| plan.ring_entries());
    let timeline = RowTimeline::of(
        &plan.name,
        load.elapsed,
        &load.outcomes,
        readings.as_ref(),
        ring_entries,
        &load.latency,
    );
    let harm = Harm::at_most(&devices);
    let evidence = RowEvidence {
        plan: plan.clone(),
        load,
        verified: verified.count(),
        answers: None,
        calls: None,
        parked_bytes: None,
        shortened: None,
        replays: servers.passes().map(|passes| passes.counts()),
        asked: asked.count(),
        workers: ended.workers,
        stuck: ended.stuck,
        devices,
        harm,
        ledger,
    };
    Ok((evidence, timeline))
}
