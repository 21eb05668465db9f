//! The instance against a reference model that steps by nanoseconds and keeps only a list of requests.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sim_device::{
    Batch, Completion, Instance, InstanceConfig, InterruptMode, RingLayout, ServiceClass,
};

use crate::group;

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn an_instance_does_what_the_reference_does(sequential 1..80 => Device);
}

/// All times in nanoseconds, and small, so that events often coincide.
#[derive(Debug, Clone)]
struct Setup {
    ring_depth: usize,
    shared: bool,
    response_depth: usize,
    pool: Option<u32>,
    doorbell: u64,
    groups: Vec<Group>,
}

/// The units of a class.
#[derive(Debug, Clone)]
struct Group {
    count: u32,
    service: u64,
    /// The batch size and timeout of a unit.
    batch: (u32, u64),
}

#[derive(Debug, Clone)]
enum Step {
    Submit { class: usize, after: u64 },
    Advance { by: u64 },
    Poll { max: usize },
}

#[derive(Debug, Clone)]
struct Reference {
    setup: Setup,
    now: u64,
    jobs: Vec<Job>,
    ring: VecDeque<usize>,
    stalled: VecDeque<usize>,
    starts: usize,
    /// The expected result of the last submission or poll.
    accepted: bool,
    polled: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Job {
    class: usize,
    stage: Stage,
    visible: u64,
    started: u64,
    /// The number of the unit start that included it.
    start: usize,
    ends: u64,
}

impl Job {
    /// Whether no unit has finished it.
    fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::InService | Stage::Stalled)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Rung,
    Queued,
    InService,
    Stalled,
    OnRing,
    Gone,
}

impl Reference {
    fn advance(&mut self, by: u64) {
        self.settle();
        for _ in 0..by {
            self.now += 1;
            self.settle();
        }
    }

    /// Handles all events at this instant: finished units first, then doorbells, one by one, then
    /// batches whose timeout is over.
    fn settle(&mut self) {
        loop {
            let due = |job: &Job| job.stage == Stage::InService && job.ends <= self.now;
            let finished = (0..self.jobs.len())
                .filter(|id| due(&self.jobs[*id]))
                .min_by_key(|id| (self.jobs[*id].ends, self.jobs[*id].start, *id));
            if let Some(id) = finished {
                self.finish(id);
                continue;
            }
            let seen = |job: &Job| job.stage == Stage::Rung && job.visible <= self.now;
            if let Some(id) = self.jobs.iter().position(seen) {
                self.jobs[id].stage = Stage::Queued;
                self.start(self.jobs[id].class);
                continue;
            }
            match self.timeouts().min() {
                Some((at, class)) if at <= self.now => self.start(class),
                _ => return,
            }
        }
    }

    fn finish(&mut self, id: usize) {
        if self.ring.len() < self.setup.response_depth {
            self.jobs[id].stage = Stage::OnRing;
            self.ring.push_back(id);
            let start = self.jobs[id].start;
            if !self.jobs.iter().any(|job| job.is_busy() && job.start == start) {
                self.start(self.jobs[id].class);
            }
        } else {
            self.jobs[id].stage = Stage::Stalled;
            self.stalled.push_back(id);
        }
    }

    /// Starts the oldest request that has a unit which need not wait for more; without a pool, only
    /// of one class.
    fn start(&mut self, class: usize) {
        loop {
            let classes = if self.setup.pool.is_some() { 0..2 } else { class..class + 1 };
            let ready = classes.filter(|class| {
                let (size, timeout) = self.setup.groups[*class].batch;
                let mut waiting = self.waiting(*class);
                let enough = waiting.clone().count() >= size as usize;
                let late =
                    waiting.next().is_some_and(|id| self.jobs[id].visible + timeout <= self.now);
                self.has_idle(*class) && (enough || late)
            });
            let Some(class) = ready.min_by_key(|class| self.waiting(*class).next()) else { return };
            let Group { service, batch: (size, _), .. } = self.setup.groups[class];
            let batch: Vec<_> = self.waiting(class).take(size as usize).collect();
            for id in batch {
                let job = &mut self.jobs[id];
                job.stage = Stage::InService;
                job.started = self.now;
                job.ends = self.now + service;
                job.start = self.starts;
            }
            self.starts += 1;
        }
    }

    /// The requests that wait for a unit of the class, oldest first.
    fn waiting(&self, class: usize) -> impl Iterator<Item = usize> + Clone {
        let waits = move |job: &Job| job.stage == Stage::Queued && job.class == class;
        (0..).zip(&self.jobs).filter(move |(_, job)| waits(job)).map(|(id, _)| id)
    }

    fn has_idle(&self, class: usize) -> bool {
        let busy = |class: Option<usize>| {
            let jobs = self.jobs.iter().filter(|job| job.is_busy());
            let jobs = jobs.filter(|job| class.is_none_or(|class| job.class == class));
            jobs.map(|job| job.start).collect::<BTreeSet<_>>().len() as u32
        };
        busy(Some(class)) < self.setup.groups[class].count && self.setup.pool != Some(busy(None))
    }

    /// When units start an incomplete batch, and for which class.
    fn timeouts(&self) -> impl Iterator<Item = (u64, usize)> {
        (0..2).filter(|class| self.has_idle(*class)).filter_map(|class| {
            let first = self.waiting(class).next()?;
            Some((self.jobs[first].visible + self.setup.groups[class].batch.1, class))
        })
    }

    fn submit(&mut self, class: usize) {
        let inside =
            |job: &&Job| job.stage != Stage::Gone && (self.setup.shared || job.class == class);
        self.accepted = self.jobs.iter().filter(inside).count() < self.setup.ring_depth;
        if self.accepted {
            let visible = self.now + self.setup.doorbell;
            let stage = Stage::Rung;
            self.jobs.push(Job { class, stage, visible, started: 0, start: 0, ends: 0 });
            if self.setup.doorbell == 0 {
                self.settle();
            }
        }
    }

    fn poll(&mut self, max: usize) {
        self.polled.clear();
        while self.polled.len() < max
            && let Some(id) = self.ring.pop_front()
        {
            self.jobs[id].stage = Stage::Gone;
            self.polled.push(id);
            if let Some(id) = self.stalled.pop_front() {
                self.finish(id);
            }
        }
    }

    fn occupancy(&self) -> usize {
        self.jobs.iter().filter(|job| job.stage != Stage::Gone).count()
    }

    fn next_deadline(&self) -> Option<u64> {
        let due = self.jobs.iter().filter_map(|job| match job.stage {
            Stage::Rung => Some(job.visible),
            Stage::InService => Some(job.ends),
            _ => None,
        });
        let timeouts = self.timeouts().map(|(at, _)| at);
        due.chain(timeouts).min().map(|at| at.max(self.now))
    }
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let batch = prop_oneof![Just((1, 0)), (1u32..5, 0u64..9)];
        let group = (1u32..4, 0u64..9, batch).prop_map(|(count, service, batch)| Group {
            count,
            service,
            batch,
        });
        let groups = prop::collection::vec(group, 2);
        (4usize..9, any::<bool>(), 1usize..5, prop::option::of(1u32..5), 0u64..4, groups)
            .prop_map(|(ring_depth, shared, response_depth, pool, doorbell, groups)| Self {
                setup: Setup { ring_depth, shared, response_depth, pool, doorbell, groups },
                now: 0,
                jobs: Vec::new(),
                ring: VecDeque::new(),
                stalled: VecDeque::new(),
                starts: 0,
                accepted: false,
                polled: Vec::new(),
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        prop_oneof![
            4 => (0usize..2, 0u64..4).prop_map(|(class, after)| Step::Submit { class, after }),
            2 => (0u64..20).prop_map(|by| Step::Advance { by }),
            2 => (0usize..5).prop_map(|max| Step::Poll { max }),
        ]
        .boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match *step {
            Step::Submit { class, after } => {
                state.advance(after);
                state.submit(class);
            }
            Step::Advance { by } => state.advance(by),
            Step::Poll { max } => state.poll(max),
        }
        state
    }
}

struct Device;

impl StateMachineTest for Device {
    type SystemUnderTest = Instance<usize>;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Instance<usize> {
        let Setup { ring_depth, shared, response_depth, pool, doorbell, groups } = &reference.setup;
        let units = (0..).zip(groups).map(|(class, units)| {
            let (size, timeout) = units.batch;
            let config =
                group(ServiceClass(class), units.count, Duration::from_nanos(units.service));
            // A batch of one is the same as none.
            if size == 1 && timeout == 0 {
                return config;
            }
            config.batched(Batch { size, timeout: Duration::from_nanos(timeout) })
        });
        let config = InstanceConfig {
            ring_depth: *ring_depth,
            rings: if *shared { RingLayout::Shared } else { RingLayout::PerClass },
            response_depth: *response_depth,
            units: units.collect(),
            pool: *pool,
            doorbell: Duration::from_nanos(*doorbell),
            interrupts: InterruptMode::Polling,
            ..InstanceConfig::default()
        };
        Instance::new(config, 0).expect("the setup is valid")
    }

    fn apply(mut device: Instance<usize>, after: &Reference, step: Step) -> Instance<usize> {
        let now = Duration::from_nanos(after.now);
        match step {
            Step::Submit { class, .. } => {
                advance(&mut device, now);
                let submitted = device.stats().submitted;
                let class = ServiceClass(u8::try_from(class).expect("two classes"));
                let result = device.submit(now, class, submitted as usize);
                assert_eq!(result.is_ok(), after.accepted, "{result:?}");
            }
            Step::Advance { .. } => advance(&mut device, now),
            Step::Poll { max } => {
                let mut drained: Vec<Completion<usize>> = Vec::new();
                device.poll_responses(max, &mut drained);
                let expected: Vec<_> = after
                    .polled
                    .iter()
                    .map(|id| (*id, after.jobs[*id].started, after.jobs[*id].ends))
                    .collect();
                let found: Vec<_> = drained
                    .iter()
                    .map(|done| {
                        let started = done.started.expect("nothing was aborted");
                        assert_eq!(done.payload, Some(done.entry.as_u64() as usize));
                        (done.payload.unwrap(), nanos(started), nanos(done.finished))
                    })
                    .collect();
                assert_eq!(found, expected);
            }
        }
        device
    }

    fn check_invariants(device: &Instance<usize>, reference: &Reference) {
        assert_eq!(device.occupancy(), reference.occupancy());
        assert_eq!(device.responses_waiting(), reference.ring.len());
        assert_eq!(device.next_deadline().map(nanos), reference.next_deadline());
        let stats = device.stats();
        assert_eq!(stats.submitted, stats.drained + device.occupancy() as u64);
    }
}

/// Advances, and checks that nothing comes out before it was announced.
fn advance(device: &mut Instance<usize>, now: Duration) {
    let (deadline, output) = (device.next_deadline(), device.next_output());
    assert_eq!(deadline.is_some(), output.is_some());
    assert!(deadline <= output, "{deadline:?} after {output:?}");
    let waiting = device.responses_waiting();
    device.advance(now);
    if output.is_none_or(|output| now < output) {
        assert_eq!(device.responses_waiting(), waiting, "before {output:?}");
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("short times")
}
