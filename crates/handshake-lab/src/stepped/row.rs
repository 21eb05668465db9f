//! One row in virtual time.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crypto_ops::{Algorithm, SoftwareKeys};
use engine_core::{CheckPolicy, Clock, Engine, Inline, Work};
use rustls::pki_types::PrivateKeyDer;
use sim_device::{Profile, RingLayout, ServiceClass, ServiceTime};
use sim_engine::{Compute, SimConfig, SteppedCard};
use ssl_async::SslContext;

use super::{
    arrivals::StreamOfArrivals,
    beats::Beats,
    build::{Build, Fibers, Load, Station},
    clock::VirtualClock,
    cost::CostProfile,
    profiled::{Checksums, KINDS, Profiled, Signing},
    protocol::Protocol,
    real::Real,
    recorder::Recorder,
    time::Time,
    trace::TraceSummary,
    world::{self, Outcome},
};
use crate::{
    certs::TestPki,
    keys::{self, Asked},
    load::{Verified, client_config},
    recording::{RowTimeline, Story},
    report::Progress,
    run::{RowEvidence, RunError, engines, ledger, sim_config},
    scenario::{DeviceProfile, Handshakes, KeyType, Mode, Polling, RowPlan, Wake},
};

/// From a client to the server and back half of it: two machines in one data centre.
pub(super) const NETWORK: Duration = Duration::from_micros(50);

/// Who looks on while a row runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Watch<'a> {
    /// Remembers its series and stories, and tells how far it is.
    Record(&'a Progress),
    /// Only tells when it is to be broken off.
    Repeat(&'a Progress),
}

impl Watch<'_> {
    fn stop(self) -> Option<Progress> {
        let (Self::Record(progress) | Self::Repeat(progress)) = self;
        Some(progress.clone())
    }
}

/// What a row in virtual time comes to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) evidence: RowEvidence,
    pub(crate) trace: TraceSummary,
    /// Of a row that was recorded.
    pub(crate) timeline: RowTimeline,
    pub(crate) story: Story,
}

/// Runs one row.
pub(crate) fn run(
    plan: &RowPlan,
    pki: &TestPki,
    private_key: &PrivateKeyDer<'static>,
    costs: &CostProfile,
    unprompted_every: u64,
    watch: Watch<'_>,
) -> Result<Ran, RunError> {
    let clock = Arc::new(VirtualClock::default());
    let time = Time::new(Arc::clone(&clock), NETWORK);
    if let Watch::Record(progress) = watch {
        let handshakes = match &plan.stream {
            Some(stream) => stream.total,
            None => plan.rounds.map(|rounds| rounds * plan.connections as u64),
        };
        let extent = (plan.time_box, handshakes);
        time.recorder.get_or_init(|| Recorder::new(progress.clone(), extent).into());
    }
    let recorded = Rc::clone(&time);
    let costs = costs.costs(plan.mode, plan.key);
    let load = match &plan.stream {
        Some(stream) => Load::Stream {
            places: plan.connections,
            arrivals: Box::new(StreamOfArrivals::new(stream, plan.time_box, plan.seed)),
            hang_up_every: plan.hang_up_every,
        },
        None => Load::Closed {
            places: plan.connections,
            rounds: plan.rounds,
            time_box: plan.time_box,
            hang_up_every: plan.hang_up_every,
        },
    };
    let unprompted_every = Some(unprompted_every);
    let (workers, deadlines) = (plan.workers, plan.engine.deadline_ms > 0.0);
    let beats = plan.beat.map(|every| Beats::new(every, plan.time_box));
    let fibers = Fibers::new(workers, None);
    let collects = plan.mode.uses_device() && plan.device.polling == Polling::Heuristic;
    let mut config = sim_config(&plan.device, &plan.faults, plan.seed)?;
    config.trace = true;
    // A device that puts all kinds on one ring has no ring of its own for any.
    let depth =
        (config.instance.rings == RingLayout::PerClass).then_some(config.instance.ring_depth);
    let outcome = match plan.handshakes {
        Handshakes::Profiled => {
            let wanted = match plan.key {
                KeyType::P256 => Algorithm::EcdsaP256,
                KeyType::Rsa2048 => Algorithm::Rsa,
            };
            let wanted = wanted.sign_kind();
            if let Some(&(_, class)) = config.classes.iter().find(|(kind, _)| *kind == wanted) {
                let slow =
                    if plan.slow_every > 0 { slow_class(plan, &mut config, class) } else { class };
                config.classes = KINDS.into_iter().zip([class, slow]).collect();
            }
            let software = Arc::clone(&time.computed);
            let stations = stations(plan, config, depth, Arc::new(Checksums), &clock, &software)?;
            let engines =
                stations.iter().map(|station: &Station<Profiled>| Arc::clone(&station.engine));
            let signing = match plan.mode {
                Mode::Async => Signing::Async(engines.collect()),
                Mode::Blocking => Signing::Blocking(engines.collect()),
                Mode::Software | Mode::FreeSign => Signing::Inline,
            };
            let protocol = Rc::new(Profiled::new(signing, plan.slow_every));
            let build = Build {
                protocol,
                time,
                stations,
                costs,
                unprompted_every,
                beats,
                collects,
                polls: plan.wake == Wake::Poll,
                load,
                workers,
                deadlines,
                stop: watch.stop(),
            };
            world::run(build, &fibers)
        }
        Handshakes::Real => {
            let keys = Arc::new(SoftwareKeys::new());
            let handle = keys.load_pem(&pki.key_pem)?;
            let software = Arc::clone(&time.computed);
            let stations: Vec<Station<Real>> =
                stations(plan, config, depth, keys, &clock, &software)?;
            let key = match (plan.mode, stations.first()) {
                (Mode::FreeSign, _) => keys::free_sign(handle),
                (Mode::Blocking | Mode::Async, Some(station)) => {
                    ssl_async::offload_key(Arc::clone(&station.engine), handle)
                }
                _ => keys::software(private_key)?,
            };
            let (asked, verified) = (Asked::default(), Verified::default());
            let config =
                keys::server_config(vec![pki.certificate.clone()], keys::counted(key, &asked))?;
            let parks = plan.mode == Mode::Async;
            let contexts = vec![SslContext::server(Arc::new(config)).async_mode(parks)];
            let ca = (plan.mode != Mode::FreeSign).then_some(&pki.ca);
            let client = Arc::new(client_config(ca, plan.tls, &verified)?);
            let protocol = Rc::new(Real { contexts, client, asked, verified });
            let build = Build {
                protocol,
                time,
                stations,
                costs,
                unprompted_every,
                beats,
                collects,
                polls: plan.wake == Wake::Poll,
                load,
                workers,
                deadlines,
                stop: watch.stop(),
            };
            world::run(build, &fibers)
        }
    };
    let system = |source: io::Error| RunError::System { row: plan.name.clone(), source };
    let outcome = outcome.map_err(system)?;
    let trace = outcome.trace;
    let evidence = evidence(plan, outcome);
    let recorder = recorded.recorder.get().map(RefCell::take).unwrap_or_default();
    let device = plan.mode.uses_device();
    let timeline = RowTimeline::of(
        &plan.name,
        evidence.load.elapsed,
        &recorder.outcomes,
        device.then_some(recorder.readings()),
        device.then_some(plan.device.ring as u64),
        &evidence.load.latency_us,
    );
    Ok(Ran { evidence, trace, timeline, story: recorder.story })
}

/// The class of the slow kind of operation, beside that of the others: with units and service times of its own, unless
/// the device is of a kind that has its own for RSA.
fn slow_class(plan: &RowPlan, config: &mut SimConfig, class: ServiceClass) -> ServiceClass {
    if plan.device.profile != DeviceProfile::Custom {
        return Profile::RSA_SIGN;
    }
    let kinds = plan.device.kinds;
    let Some(slow) = config.instance.units.iter_mut().find(|unit| unit.class != class) else {
        return class;
    };
    slow.count = kinds.slow_units;
    slow.service = ServiceTime::Fixed(kinds.slow_latency());
    slow.batch = None;
    slow.class
}

/// The devices of a row, if it has any.
fn stations<P: Protocol>(
    plan: &RowPlan,
    config: SimConfig,
    depth: Option<usize>,
    compute: Arc<impl Compute<Work = P::Work> + 'static>,
    clock: &Arc<VirtualClock>,
    computed: &Arc<AtomicU32>,
) -> Result<Vec<Station<P>>, RunError>
where
    P::Work: Work,
{
    if !plan.mode.uses_device() {
        return Ok(Vec::new());
    }
    let clock: Arc<dyn Clock> = Arc::<VirtualClock>::clone(clock);
    let (standby, computed) = (Arc::clone(&compute), Arc::clone(computed));
    let software = move |work: &P::Work| {
        // What is done in the completion of a device takes no time of a worker's.
        if job_core::current().is_some() {
            computed.fetch_add(1, Ordering::Relaxed);
        }
        standby.compute(work)
    };
    let card = SteppedCard::new(config, compute, Arc::clone(&clock))?;
    let mut engine = Engine::builder(Arc::clone(&card) as Arc<_>)
        .queue_bound(plan.connections)
        // As with a device that has a thread for its completions.
        .checks(CheckPolicy::Always)
        .terms(plan.engine.terms())
        .standby(Arc::new(Inline::new(software)))
        .offload(plan.engine.offload())
        .clock(clock);
    if let Some(policy) = plan.engine.breaker() {
        engine = engine.breaker(policy);
    }
    Ok(vec![Station { engine: engine.build(), card, depth }])
}

pub(super) fn evidence(plan: &RowPlan, outcome: Outcome) -> RowEvidence {
    let ledger = ledger(&outcome.workers, &engines(&outcome.devices));
    RowEvidence {
        plan: plan.clone(),
        load: outcome.load,
        verified: outcome.verified,
        answers: outcome.answers,
        asked: outcome.asked,
        workers: outcome.workers,
        stuck: 0,
        devices: outcome.devices,
        harm: outcome.harm,
        ledger,
    }
}
