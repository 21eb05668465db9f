//! One seed of the swarm, in virtual time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crypto_ops::{Algorithm, SoftwareKeys};
use engine_core::{Clock, Inline, OnFull};
use sim_device::RingLayout;
use sim_engine::{Compute, ServiceClass, SimConfig, SteppedCard};
use ssl_async::SslContext;

use super::{
    build::{Fibers, Load, Setting, Station},
    clock::VirtualClock,
    cost::CostProfile,
    plan::SeedPlan,
    profiled::{Checksums, FAST_AND_SLOW, KINDS, Profiled, Signing},
    protocol::Protocol,
    real::Real,
    row::{NETWORK, evidence},
    time::Time,
    world,
};
use crate::{
    certs::TestPki,
    error::RunError,
    evidence::{RowEvidence, TraceSummary},
    keys::{self, Asked},
    load::{Clients, Verified},
    passes::Passes,
    plant::{self, Bug},
    scenario::{Mode, Routing, RowPlan, Wake},
};

pub(crate) fn run(
    plan: &SeedPlan,
    row: &RowPlan,
    pki: &TestPki,
    costs: &CostProfile,
    fibers: &Fibers,
) -> Result<(RowEvidence, TraceSummary), RunError> {
    let clock = Arc::new(VirtualClock::default());
    let time = Time::new(Arc::clone(&clock), NETWORK);
    let setting = Setting {
        time,
        routing: Routing::even(plan.devices.len()),
        costs: costs.costs(row.mode, plan.parking, &row.mix),
        unprompted_every: Some(plan.unprompted_every),
        heartbeat: None,
        collects: false,
        polls: plan.wake == Wake::Poll,
        load: Load::Open(plan.connections.clone()),
        workers: plan.workers,
        deadlines: plan.engine.options.deadline.is_some(),
        stop: None,
    };
    let parks = plan.mode == Mode::Async;
    let outcome = if plan.real_tls {
        let store = Arc::new(SoftwareKeys::new());
        let handle = store.load_pem(&pki.key_pem)?;
        let kinds = Algorithm::ALL.map(|algorithm| (algorithm.sign_kind(), ServiceClass(0)));
        let stations: Vec<Station<Real>> = stations(plan, &kinds, &store, &clock)?;
        let (asked, verified) = (Asked::default(), Verified::default());
        let passes = row.replays().then(Passes::default);
        let context = |station: &Station<Real>| {
            let key = ssl_async::offload::key_handle(Arc::clone(&station.engine), handle.clone());
            let config = match &passes {
                Some(passes) => plan.trials.server(pki, passes.key(key, &asked), passes)?,
                None => {
                    let chain = vec![pki.certificate.clone()];
                    keys::server_config(chain, keys::counted(key, &asked))?
                }
            };
            let context = SslContext::server(Arc::new(config)).parking(plan.parking.strictly());
            Ok(context.async_mode(parks))
        };
        let contexts = stations.iter().map(context).collect::<Result<_, rustls::Error>>()?;
        let clients = Clients::new(&row.mix, Some(&pki.ca), &verified)?;
        let tried = passes.as_ref().map(|_| plan.trials.clients(pki, plan.tls, &verified));
        let tried = tried.transpose()?;
        let protocol = Real { contexts, clients, tried, asked, verified, passes };
        world::run(protocol, stations, setting, fibers)
    } else {
        let [fast, slow] = FAST_AND_SLOW;
        let kinds = [(KINDS[fast], ServiceClass(0)), (KINDS[slow], ServiceClass(1))];
        let stations: Vec<Station<Profiled>> =
            stations(plan, &kinds, &Arc::new(Checksums), &clock)?;
        let engines = stations.iter().map(|station| Arc::clone(&station.engine)).collect();
        let signing =
            if parks { Signing::Async(plan.parking, engines) } else { Signing::Blocking(engines) };
        let mut protocol = Profiled::new(signing, row.mix.clone(), plan.slow_every);
        if plan.wake == Wake::Callback {
            protocol = protocol.called_back(plan.unset_every);
        }
        world::run(protocol, stations, setting, fibers)
    };
    let system = |source| RunError::System { row: format!("seed {}", plan.seed), source };
    let outcome = outcome.map_err(system)?;
    let trace = outcome.trace;
    Ok((evidence(row, outcome), trace))
}

fn any_seed() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed)
}

fn stations<P: Protocol>(
    plan: &SeedPlan,
    kinds: &[(engine_core::Kind, ServiceClass)],
    compute: &Arc<impl Compute<Work = P::Work> + 'static>,
    clock: &Arc<VirtualClock>,
) -> Result<Vec<Station<P>>, RunError> {
    let mut stations = Vec::with_capacity(plan.devices.len());
    for (number, instance) in plan.devices.iter().enumerate() {
        let mut config = SimConfig::new(instance.clone(), kinds.to_vec());
        config.polling = plan.polling;
        config.instances = plan.instances;
        config.response_timeout = Some(plan.response_timeout);
        config.trace = true;
        // Each device draws independently.
        let seed = if plant::armed(Bug::ForgetSeed) { any_seed() } else { plan.seed };
        config.seed = seed.wrapping_mul(31).wrapping_add(number as u64);
        let clock: Arc<dyn Clock> = Arc::<VirtualClock>::clone(clock);
        let card = SteppedCard::new(config, Arc::clone(compute), Arc::clone(&clock))?;
        let standby = Arc::clone(compute);
        let standby = Arc::new(Inline::new(move |work: &P::Work| standby.compute(work)));
        let engine = plan.engine.build(Arc::clone(&card) as Arc<_>, Some(standby), Some(clock));
        // With several instances a full ring does not mean a full device: one that is removed returns its requests, which
        // then wait to be collected while another has room.
        let is_plain = instance.rings == RingLayout::PerClass && plan.instances == 1;
        let depth = is_plain.then_some(instance.ring_depth);
        let notifies = plan.engine.on_full == OnFull::Notify;
        let name = instance.name.clone();
        stations.push(Station { name, engine, card, depth, notifies });
    }
    Ok(stations)
}
