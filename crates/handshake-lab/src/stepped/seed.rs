//! One seed of the swarm, in virtual time.

use std::{rc::Rc, sync::Arc};

use crypto_ops::{Algorithm, SoftwareKeys};
use engine_core::{CheckPolicy, Clock, Engine, Inline};
use sim_engine::{Compute, RingLayout, ServiceClass, SimConfig, SteppedCard};
use ssl_async::SslContext;

use super::{
    build::{Build, Fibers, Load, Station, Visit},
    clock::VirtualClock,
    cost::CostProfile,
    profiled::{Checksums, FAST_AND_SLOW, KINDS, Profiled, Signing},
    protocol::Protocol,
    real::Real,
    row::{NETWORK, evidence},
    time::Time,
    trace::TraceSummary,
    world,
};
use crate::{
    certs::TestPki,
    keys::{self, Asked},
    load::{Clients, Verified},
    run::{RowEvidence, RunError},
    scenario::{Mode, Routing, RowPlan},
    swarm::SeedPlan,
};

/// Runs a seed once.
pub(crate) fn run(
    plan: &SeedPlan,
    row: &RowPlan,
    pki: &TestPki,
    costs: &CostProfile,
    fibers: &Fibers,
) -> Result<(RowEvidence, TraceSummary), RunError> {
    let clock = Arc::new(VirtualClock::default());
    let time = Time::new(Arc::clone(&clock), NETWORK);
    let costs = costs.costs(row.mode, &row.mix);
    let visits = plan.visits.iter().map(|visit| Visit {
        at: visit.at,
        hangs_up_after: visit.hangs_up_after,
        given_up_after: visit.given_up_after,
    });
    let load = Load::Open(visits.collect());
    let unprompted_every = Some(plan.unprompted_every);
    let routing = Routing::even(plan.devices.len());
    let (workers, deadlines) = (plan.workers, plan.terms.deadline.is_some());
    let parks = plan.mode == Mode::Async;
    let outcome = if plan.real_tls {
        let store = Arc::new(SoftwareKeys::new());
        let handle = store.load_pem(&pki.key_pem)?;
        let kinds = Algorithm::ALL.map(|algorithm| (algorithm.sign_kind(), ServiceClass(0)));
        let stations: Vec<Station<Real>> = stations(plan, &kinds, &store, &clock)?;
        let (asked, verified) = (Asked::default(), Verified::default());
        let context = |station: &Station<Real>| {
            let key = ssl_async::offload_key(Arc::clone(&station.engine), handle.clone());
            let chain = vec![pki.certificate.clone()];
            let config = keys::server_config(chain, keys::counted(key, &asked))?;
            Ok(SslContext::server(Arc::new(config)).async_mode(parks))
        };
        let contexts = stations.iter().map(context).collect::<Result<_, rustls::Error>>()?;
        let clients = Clients::new(&row.mix, Some(&pki.ca), &verified)?;
        let protocol = Rc::new(Real { contexts, clients, asked, verified });
        let build = Build {
            protocol,
            time,
            stations,
            routing,
            costs,
            unprompted_every,
            polls: false,
            load,
            workers,
            deadlines,
            stop: None,
        };
        world::run(build, fibers)
    } else {
        let [fast, slow] = FAST_AND_SLOW;
        let kinds = [(KINDS[fast], ServiceClass(0)), (KINDS[slow], ServiceClass(1))];
        let stations: Vec<Station<Profiled>> =
            stations(plan, &kinds, &Arc::new(Checksums), &clock)?;
        let engines = stations.iter().map(|station| Arc::clone(&station.engine)).collect();
        let signing = if parks { Signing::Async(engines) } else { Signing::Blocking(engines) };
        let protocol = Rc::new(Profiled::new(signing, row.mix.clone(), plan.slow_every));
        let build = Build {
            protocol,
            time,
            stations,
            routing,
            costs,
            unprompted_every,
            polls: false,
            load,
            workers,
            deadlines,
            stop: None,
        };
        world::run(build, fibers)
    };
    let system = |source| RunError::System { row: format!("seed {}", plan.seed), source };
    let outcome = outcome.map_err(system)?;
    let trace = outcome.trace;
    Ok((evidence(row, outcome), trace))
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
        config.response_timeout = Some(plan.response_timeout);
        config.trace = true;
        // Each device draws for itself.
        config.seed = plan.seed.wrapping_mul(31).wrapping_add(number as u64);
        let clock: Arc<dyn Clock> = Arc::<VirtualClock>::clone(clock);
        let card = SteppedCard::new(config, Arc::clone(compute), Arc::clone(&clock))?;
        let standby = Arc::clone(compute);
        let engine = Engine::builder(Arc::clone(&card) as Arc<_>)
            .queue_bound(plan.queue_bound)
            .checks(CheckPolicy::Always)
            .terms(plan.terms)
            .standby(Arc::new(Inline::new(move |work: &P::Work| standby.compute(work))))
            .clock(clock)
            .build();
        let depth = (instance.rings == RingLayout::PerClass).then_some(instance.ring_depth);
        stations.push(Station { name: instance.name.clone(), engine, card, depth });
    }
    Ok(stations)
}
