//! A ring of 64 entries and ten thousand jobs at once, in virtual time: none retries, none starves, nothing is left.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::{CheckFailed, Clock, DeviceError, Engine, EngineStats, Kind, OnFull, Work};
use job_core::{Job, JobPool, Step};
use sim_device::{ServiceTime, UnitConfig};
use sim_engine::{Compute, InstanceConfig, InstanceStats, ServiceClass, SimConfig, SteppedCard};
use wait_ctx::{ReadyQueue, Route, Token, WaitCtx};

use crate::rig::HandClock;

const JOBS: usize = 10_000;
const RING: usize = 64;
/// Every fifth job's request is of the slow kind.
const KINDS: [Kind; 2] = [Kind::new("slow"), Kind::new("fast")];
/// What a request of each kind takes, on one of three units.
const SERVICE: [Duration; 2] = [Duration::from_micros(400), Duration::from_micros(100)];
const UNITS: u32 = 3;

#[derive(Debug)]
struct Numbered(usize);

fn kind_of(job: usize) -> usize {
    usize::from(!job.is_multiple_of(5))
}

impl Work for Numbered {
    type Output = usize;

    fn kind(&self) -> Kind {
        KINDS[kind_of(self.0)]
    }

    fn check(&self, output: &usize) -> Result<(), CheckFailed> {
        if *output == self.0 { Ok(()) } else { Err(CheckFailed("the number of another job")) }
    }
}

/// Gives numbers back and writes down in which order.
#[derive(Debug, Default)]
struct Ledger(Mutex<Vec<usize>>);

impl Compute for Ledger {
    type Work = Numbered;

    fn compute(&self, work: &Numbered) -> Result<usize, DeviceError> {
        self.0.lock().unwrap().push(work.0);
        Ok(work.0)
    }

    fn spoil(&self, output: usize) -> usize {
        !output
    }
}

fn card() -> SimConfig {
    let classes = [ServiceClass(0), ServiceClass(1)];
    let units = classes.into_iter().zip(SERVICE).map(|(class, service)| {
        let service = ServiceTime::fixed(service).unwrap();
        UnitConfig::new(class, UNITS, service)
    });
    let instance = InstanceConfig {
        ring_depth: RING,
        response_depth: RING,
        units: units.collect(),
        ..InstanceConfig::default()
    };
    SimConfig::new(instance, KINDS.into_iter().zip(classes).collect())
}

/// The course of one job.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    wakes: u32,
    resumes: u32,
    outcome: Option<usize>,
}

struct Storm {
    accounts: Vec<Account>,
    engine: EngineStats,
    card: InstanceStats,
    /// Jobs in the order in which the card computed for them.
    served: Vec<usize>,
    polls: u64,
    took: Duration,
}

/// All jobs submit before time moves. Each is resumed when it is woken, and once without.
fn storm(on_full: OnFull) -> Storm {
    let clock = Arc::<HandClock>::default();
    let served = Arc::<Ledger>::default();
    let card = SteppedCard::new(card(), served.clone(), clock.clone()).unwrap();
    let engine = Engine::builder(card.clone())
        .clock(clock.clone())
        .on_full(on_full)
        .queue_bound(JOBS)
        .build();
    let pool = JobPool::new();
    let mut ready = ReadyQueue::new().unwrap();
    let woken = ready.sender();
    let contexts: Vec<WaitCtx> = (0..JOBS).map(|_| WaitCtx::new()).collect();
    let mut accounts = vec![Account::default(); JOBS];
    let mut jobs: Vec<Option<Job<usize>>> = Vec::new();
    for (n, ctx) in contexts.iter().enumerate() {
        ctx.notifier().set_route(Route::Ready(woken.clone(), Token(n)));
        let engine = Arc::clone(&engine);
        let job = pool.start_with(ctx, move || engine.run(Numbered(n)).expect("no fault"));
        jobs.push(job.unwrap().paused());
    }
    let resume = |n: usize, jobs: &mut Vec<Option<Job<usize>>>, accounts: &mut Vec<Account>| {
        accounts[n].resumes += 1;
        match jobs[n].take().expect("L4: a wake for a job that has finished").resume() {
            Step::Paused(job) => jobs[n] = Some(job),
            Step::Finished(outcome) => accounts[n].outcome = Some(outcome),
        }
    };
    for n in 0..JOBS {
        resume(n, &mut jobs, &mut accounts);
    }
    let (mut tokens, mut polls) = (Vec::new(), 0);
    ready.drain(&mut tokens);
    // A request has a handful of events; this is far more than all of them have.
    for _ in 0..100 * JOBS {
        for Token(n) in tokens.drain(..) {
            accounts[n].wakes += 1;
            resume(n, &mut jobs, &mut accounts);
        }
        polls += 1;
        let next = engine.poll();
        ready.drain(&mut tokens);
        match next {
            Some(next) => clock.set(next),
            None if tokens.is_empty() => break,
            None => {}
        }
    }
    let took = clock.now();
    drop((jobs, contexts));
    let stats = pool.stats();
    assert_eq!((stats.live, stats.stacks_in_use), (0, 0), "L8: jobs");
    let served = std::mem::take(&mut *served.0.lock().unwrap());
    Storm { accounts, engine: engine.stats(), card: card.stats(), served, polls, took }
}

fn no_request_is_lost_and_nothing_is_left(storm: &Storm) {
    for (n, account) in storm.accounts.iter().enumerate() {
        assert_eq!(account.outcome, Some(n), "L3, L13: job {n}: {account:?}");
        assert!(account.resumes <= account.wakes + 1, "L7: job {n}: {account:?}");
    }
    let Storm { engine, card, .. } = storm;
    assert_eq!((engine.requests.now, engine.waiters.now), (0, 0), "L8");
    assert_eq!(engine.completed, JOBS as u64);
    assert_eq!((card.submitted, card.drained), (JOBS as u64, JOBS as u64), "L8: ring entries");
    assert!(card.peak_occupancy <= 2 * RING, "a ring for each kind");
    // No loop of ours retries a full ring: each is asked once when a job comes, when one is served, when the engine is
    // polled, and when that poll has moved something; however many wait.
    let occasions = 3 * JOBS as u64 + storm.polls;
    assert!(engine.ring_full <= 2 * occasions, "L7: {} in {occasions}", engine.ring_full);
}

/// Service follows the order of submission, kind by kind, and no unit was idle while a request waited for it.
fn no_request_starves(storm: &Storm) {
    for (kind, name) in KINDS.iter().enumerate() {
        let of_kind = |jobs: &[usize]| -> Vec<usize> {
            jobs.iter().copied().filter(|n| kind_of(*n) == kind).collect()
        };
        let asked: Vec<usize> = (0..JOBS).collect();
        assert!(of_kind(&storm.served) == of_kind(&asked), "L13: {name}");
    }
    assert_eq!(storm.engine.out_of_order, 0, "L13");
    let ideal = (0..KINDS.len()).map(|kind| {
        let requests = (0..JOBS).filter(|n| kind_of(*n) == kind).count();
        SERVICE[kind] * u32::try_from(requests).unwrap().div_ceil(UNITS)
    });
    let ideal = ideal.max().unwrap();
    assert!(storm.took < ideal + SERVICE[0], "{:?} instead of {ideal:?}", storm.took);
}

#[test]
fn l7_l13_a_storm_on_a_ring_of_64_when_the_engine_queues() {
    let storm = storm(OnFull::Queue);
    no_request_is_lost_and_nothing_is_left(&storm);
    no_request_starves(&storm);
    assert!(storm.accounts.iter().all(|account| account.wakes == 1), "L4: for the result only");
    assert_eq!(storm.engine.retry_wakes, 0);
}

#[test]
fn l7_l13_a_storm_on_a_ring_of_64_when_the_engine_notifies() {
    let storm = storm(OnFull::Notify);
    no_request_is_lost_and_nothing_is_left(&storm);
    no_request_starves(&storm);
    let waited = JOBS - 2 * RING;
    let twice = storm.accounts.iter().filter(|account| account.wakes == 2).count();
    assert!(storm.accounts.iter().all(|account| account.wakes <= 2), "L4: a turn and a result");
    assert_eq!(twice, waited, "all but those that the rings had room for");
    assert_eq!(storm.engine.retry_wakes, waited as u64);
}
