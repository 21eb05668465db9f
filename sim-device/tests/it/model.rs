//! The instance against a reference that lives from nanosecond to nanosecond and keeps nothing but
//! a list of requests.

use core::time::Duration;
use std::collections::VecDeque;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sim_device::{Completion, Instance, InstanceConfig, InterruptMode, RingLayout, ServiceClass};

use crate::group;

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn an_instance_does_what_the_reference_does(sequential 1..80 => Device);
}

/// All times in nanoseconds, small, so that coincidences are the rule.
#[derive(Debug, Clone)]
struct Setup {
    ring_depth: usize,
    shared: bool,
    response_depth: usize,
    pool: Option<u32>,
    doorbell: u64,
    /// Count and service time of each class.
    groups: Vec<(u32, u64)>,
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
    /// What the last submission or poll must have given.
    accepted: bool,
    polled: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Job {
    class: usize,
    stage: Stage,
    visible: u64,
    started: u64,
    start_order: usize,
    ends: u64,
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

    /// All that is due at this instant: finished units first, then doorbells, one by one.
    fn settle(&mut self) {
        loop {
            let due = |job: &Job| job.stage == Stage::InService && job.ends <= self.now;
            let finished = (0..self.jobs.len())
                .filter(|id| due(&self.jobs[*id]))
                .min_by_key(|id| (self.jobs[*id].ends, self.jobs[*id].start_order));
            if let Some(id) = finished {
                self.finish(id);
                continue;
            }
            let seen = |job: &Job| job.stage == Stage::Rung && job.visible <= self.now;
            let Some(id) = self.jobs.iter().position(seen) else { return };
            self.jobs[id].stage = Stage::Queued;
            self.start(self.jobs[id].class);
        }
    }

    fn finish(&mut self, id: usize) {
        if self.ring.len() < self.setup.response_depth {
            self.jobs[id].stage = Stage::OnRing;
            self.ring.push_back(id);
            self.start(self.jobs[id].class);
        } else {
            self.jobs[id].stage = Stage::Stalled;
            self.stalled.push_back(id);
        }
    }

    /// Seats who came first of those for whom there is a unit; without a pool only of one class.
    fn start(&mut self, class: usize) {
        loop {
            let busy = |job: &&Job| matches!(job.stage, Stage::InService | Stage::Stalled);
            let in_class = |class| self.jobs.iter().filter(busy).filter(move |j| j.class == class);
            if self.setup.pool == Some(self.jobs.iter().filter(busy).count() as u32) {
                return;
            }
            let next = self.jobs.iter().position(|job| {
                job.stage == Stage::Queued
                    && (self.setup.pool.is_some() || job.class == class)
                    && in_class(job.class).count() < self.setup.groups[job.class].0 as usize
            });
            let Some(id) = next else { return };
            let job = &mut self.jobs[id];
            job.stage = Stage::InService;
            job.started = self.now;
            job.ends = self.now + self.setup.groups[job.class].1;
            job.start_order = self.starts;
            self.starts += 1;
        }
    }

    fn submit(&mut self, class: usize) {
        let inside =
            |job: &&Job| job.stage != Stage::Gone && (self.setup.shared || job.class == class);
        self.accepted = self.jobs.iter().filter(inside).count() < self.setup.ring_depth;
        if self.accepted {
            let visible = self.now + self.setup.doorbell;
            let stage = Stage::Rung;
            self.jobs.push(Job { class, stage, visible, started: 0, start_order: 0, ends: 0 });
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
        due.min().map(|at| at.max(self.now))
    }
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let groups = prop::collection::vec((1u32..4, 0u64..9), 2);
        (1usize..6, any::<bool>(), 1usize..5, prop::option::of(1u32..5), 0u64..4, groups)
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
        let units = (0..).zip(groups).map(|(class, (count, service))| {
            group(ServiceClass(class), *count, Duration::from_nanos(*service))
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
                let submitted = device.stats().submitted;
                let class = ServiceClass(u8::try_from(class).expect("two classes"));
                let result = device.submit(now, class, submitted as usize);
                assert_eq!(result.is_ok(), after.accepted, "{result:?}");
            }
            Step::Advance { .. } => device.advance(now),
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

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("short times")
}
