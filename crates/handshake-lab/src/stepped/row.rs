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

use crypto_ops::SoftwareKeys;
use engine_core::{Accelerator, Clock, Inline, Work};
use lab_report::Progress;
use lab_report::recording::{HandshakeTrace, RowTimeline};
use sim_device::{Profile, RingLayout, ServiceClass, ServiceTime};
use sim_engine::{Compute, SimConfig, SteppedCard};
use ssl_async::SslContext;

use super::{
    arrivals::{self, StreamOfArrivals},
    build::{Fibers, Load, Setting, Station},
    clock::VirtualClock,
    cost::CostProfile,
    heartbeat::Heartbeat,
    profiled::{Checksums, FAST_AND_SLOW, KINDS, Profiled, Signing},
    protocol::Protocol,
    real::Real,
    recorder::Recorder,
    time::Time,
    world::{self, Outcome},
};
use crate::{
    assembly::{EngineSettings, sim_config},
    certs::TestPki,
    error::RunError,
    evidence::{RowEvidence, TraceSummary, engines, ledger},
    fleet::Fleet,
    keys::Asked,
    load::{Clients, Verified},
    scenario::{
        DeviceProfile, DeviceSpec, Handshakes, KeyType, Mode, PollingMode, RowPlan, Serves, Wake,
        millis,
    },
};

/// One-way network delay, as between two machines in one data centre.
pub(super) const NETWORK: Duration = Duration::from_micros(50);

/// Whether a run of a row is recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recording<'a> {
    /// Records series and handshake traces, and reports progress.
    On(&'a Progress),
    /// Records nothing, and only stops when interrupted.
    Off(&'a Progress),
}

impl Recording<'_> {
    fn stop(self) -> Option<Progress> {
        let (Self::On(progress) | Self::Off(progress)) = self;
        Some(progress.clone())
    }
}

/// The results of a row in virtual time.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) evidence: RowEvidence,
    pub(crate) trace: TraceSummary,
    /// Of a row that was recorded.
    pub(crate) timeline: RowTimeline,
    pub(crate) handshake_trace: HandshakeTrace,
}

pub(crate) fn run(
    plan: &RowPlan,
    fleet: &[TestPki],
    costs: &CostProfile,
    unprompted_every: u64,
    recording: Recording<'_>,
) -> Result<Ran, RunError> {
    let clock = Arc::new(VirtualClock::default());
    let time = Time::new(Arc::clone(&clock), NETWORK);
    if let Recording::On(progress) = recording {
        let handshakes = match &plan.stream {
            Some(stream) => stream.total,
            None => plan.rounds.map(|rounds| rounds * plan.connections as u64),
        };
        let extent = (plan.time_box, handshakes);
        time.recorder.get_or_init(|| Recorder::new(progress.clone(), extent).into());
    }
    let recorded = Rc::clone(&time);
    let load = match &plan.stream {
        Some(stream) => Load::Stream {
            places: plan.connections,
            arrivals: Box::new(StreamOfArrivals::new(stream, plan.time_box, plan.seed)),
            hang_ups: plan.hang_ups,
        },
        None => Load::Closed {
            places: plan.connections,
            rounds: plan.rounds,
            time_box: plan.time_box,
            hang_ups: plan.hang_ups,
            first: arrivals::first(plan.connections, plan.first_connect, plan.seed),
        },
    };
    let setting = Setting {
        time,
        routing: plan.routing.clone(),
        costs: costs.costs(plan.mode, plan.parking, &plan.mix),
        unprompted_every: Some(unprompted_every),
        heartbeat: plan.heartbeat.map(|every| Heartbeat::new(every, plan.time_box)),
        collects: plan.mode.uses_device()
            && plan.devices.iter().any(|device| device.polling == PollingMode::Heuristic),
        polls: plan.wake == Wake::Poll,
        load,
        workers: plan.workers,
        deadlines: plan.engine.deadline_ms > 0.0,
        stop: recording.stop(),
    };
    let computed = Arc::clone(&recorded.computed);
    let fibers = Fibers::new(plan.workers, None);
    let outcome = match plan.handshakes {
        Handshakes::Profiled => {
            let stations =
                stations(plan, &Arc::new(Checksums), &clock, &computed, |device, config| {
                    profiled_classes(plan, device, config);
                })?;
            let engines =
                stations.iter().map(|station: &Station<Profiled>| Arc::clone(&station.engine));
            let signing = match plan.mode {
                Mode::Async => Signing::Async(plan.parking, engines.collect()),
                Mode::Blocking => Signing::Blocking(engines.collect()),
                Mode::Software | Mode::FreeSign => Signing::Inline,
            };
            let protocol = Profiled::new(signing, plan.mix.clone(), plan.slow_every);
            world::run(protocol, stations, setting, &fibers)
        }
        // Held ones are refused in virtual time.
        Handshakes::Real | Handshakes::Held => {
            let keys = Arc::new(SoftwareKeys::new());
            let (asked, verified) = (Asked::default(), Verified::default());
            let servers = Fleet::load(plan, fleet, &keys, &asked)?;
            let stations: Vec<Station<Real>> = stations(plan, &keys, &clock, &computed, |_, _| {})?;
            let contexts = contexts(plan, &servers, &stations)?;
            let ca = fleet.first().filter(|_| plan.mode != Mode::FreeSign).map(|pki| &pki.ca);
            let clients = Clients::new(&plan.mix, ca, &verified)?;
            let (tried, passes) = (None, servers.passes());
            let protocol = Real { contexts, clients, tried, asked, verified, passes };
            world::run(protocol, stations, setting, &fibers)
        }
    };
    let system = |source: io::Error| RunError::System { row: plan.name.clone(), source };
    let outcome = outcome.map_err(system)?;
    let trace = outcome.trace;
    let parked_bytes = costs.parked_bytes(plan.mode, plan.parking);
    let evidence = RowEvidence { parked_bytes, ..evidence(plan, outcome) };
    let recorder = recorded.recorder.get().map(RefCell::take).unwrap_or_default();
    let device = plan.mode.uses_device();
    let timeline = RowTimeline::of(
        &plan.name,
        evidence.load.elapsed,
        &recorder.outcomes,
        device.then_some(recorder.readings()),
        device.then(|| plan.ring_entries()),
        &evidence.load.latency,
    );
    Ok(Ran { evidence, trace, timeline, handshake_trace: recorder.handshake_trace })
}

/// Gives profiled signatures the service class of the real ones with the same key; the slow kind, where there is one,
/// gets a class of its own.
fn profiled_classes(plan: &RowPlan, device: &DeviceSpec, config: &mut SimConfig) {
    let class = |key: KeyType| {
        let wanted = key.algorithm().sign_kind();
        config.classes.iter().find(|(kind, _)| *kind == wanted).map(|(_, class)| *class)
    };
    let kinds = KINDS.into_iter().zip(KeyType::ALL);
    let mut classes: Vec<_> = kinds.filter_map(|(kind, key)| Some((kind, class(key)?))).collect();
    let [fast, slow] = FAST_AND_SLOW.map(|place| KINDS[place]);
    let served = classes.iter().find(|(kind, _)| *kind == fast).map(|(_, class)| *class);
    if let Some(served) = served.filter(|_| plan.slow_every > 0) {
        classes.retain(|(kind, _)| *kind != slow);
        classes.push((slow, slow_class(device, config, served)));
    }
    config.classes = classes;
}

/// A server for each device, with the keys that the device serves; a single one without devices.
fn contexts(
    plan: &RowPlan,
    servers: &Fleet<'_>,
    stations: &[Station<Real>],
) -> Result<Vec<SslContext>, RunError> {
    if stations.is_empty() {
        return Ok(vec![servers.context(|_, _| None)?]);
    }
    let of = |(station, device): (&Station<Real>, &DeviceSpec)| {
        servers.context(|key, handle| {
            let engine = Arc::clone(&station.engine);
            device.serves.covers(key).then(|| ssl_async::offload::key_handle(engine, handle))
        })
    };
    stations.iter().zip(&plan.devices).map(of).collect()
}

/// The class of the slow kind of operation, with units and service times of its own; that of RSA where the device's profile
/// has one.
fn slow_class(device: &DeviceSpec, config: &mut SimConfig, class: ServiceClass) -> ServiceClass {
    if device.profile != DeviceProfile::Custom {
        return Profile::RSA_SIGN;
    }
    let Some(slow) = config.instance.units.iter_mut().find(|unit| unit.class != class) else {
        return class;
    };
    slow.count = device.slow_units;
    slow.service = ServiceTime::Fixed(millis(device.slow_latency_ms));
    slow.batch = None;
    slow.class
}

/// The devices of a row, if it has any, each with its engine. `change` adapts each configuration, and `computed` counts the
/// signatures that software computes on a worker's thread.
fn stations<P: Protocol>(
    plan: &RowPlan,
    compute: &Arc<impl Compute<Work = P::Work> + 'static>,
    clock: &Arc<VirtualClock>,
    computed: &Arc<AtomicU32>,
    change: impl Fn(&DeviceSpec, &mut SimConfig),
) -> Result<Vec<Station<P>>, RunError>
where
    P::Work: Work,
{
    if !plan.mode.uses_device() {
        return Ok(Vec::new());
    }
    let clock: Arc<dyn Clock> = Arc::<VirtualClock>::clone(clock);
    let mut cards = Vec::with_capacity(plan.devices.len());
    for (number, device) in plan.devices.iter().enumerate() {
        // Each device draws independently.
        let seed = plan.seed.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut config = sim_config(device, &plan.faults, seed)?;
        config.trace = true;
        change(device, &mut config);
        // A device that puts all kinds on one ring has no ring of its own for any.
        let depth = (config.instance.rings == RingLayout::PerClass)
            .then_some(config.instance.ring_depth * config.instances);
        cards.push((SteppedCard::new(config, Arc::clone(compute), Arc::clone(&clock))?, depth));
    }
    let other = plan.devices.iter().position(|device| device.serves == Serves::Standby);
    let station = |(number, device): (usize, &DeviceSpec)| {
        let (card, depth) = &cards[number];
        let standby: Arc<dyn Accelerator<P::Work>> = match other {
            Some(other) => Arc::clone(&cards[other].0) as Arc<_>,
            None => {
                let (standby, computed) = (Arc::clone(compute), Arc::clone(computed));
                Arc::new(Inline::new(move |work: &P::Work| {
                    computed.fetch_add(1, Ordering::Relaxed);
                    standby.compute(work)
                }))
            }
        };
        // The standby has an engine of its own, which gives it nothing to do but watches its health.
        let standby = (device.serves != Serves::Standby).then_some(standby);
        let engine = EngineSettings::of(&plan.engine, plan.connections).build(
            Arc::clone(card) as Arc<_>,
            standby,
            Some(Arc::clone(&clock)),
        );
        Station {
            name: device.name.clone(),
            engine,
            card: Arc::clone(card),
            // Requests that wait for the standby count as those of their first device.
            depth: depth.filter(|_| other.is_none()),
            notifies: false,
        }
    };
    Ok(plan.devices.iter().enumerate().map(station).collect())
}

pub(super) fn evidence(plan: &RowPlan, outcome: Outcome) -> RowEvidence {
    let ledger = ledger(&outcome.workers, &engines(&outcome.devices));
    RowEvidence {
        plan: plan.clone(),
        load: outcome.load,
        verified: outcome.verified,
        answers: outcome.answers,
        calls: outcome.calls,
        replays: outcome.replays,
        parked_bytes: None,
        shortened: None,
        asked: outcome.asked,
        workers: outcome.workers,
        stuck: 0,
        devices: outcome.devices,
        harm: outcome.harm,
        ledger,
    }
}
