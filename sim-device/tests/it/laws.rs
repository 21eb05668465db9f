//! The laws that apply to a device, under random faults.

use core::cell::Cell;
use core::time::Duration;
use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;
use sim_device::{Batch, UnitConfig};
use sim_device::{Completion, EntryId, Fault, FaultPlan, FaultRule, Instance, InstanceConfig};
use sim_device::{InterruptMode, Presence, RingLayout, ServiceClass, ServiceTime, Trigger};

use crate::{SIGN, TICKET, us};

/// A payload that counts its live instances.
#[derive(Debug)]
struct Token {
    number: usize,
    alive: Rc<Cell<usize>>,
}

impl Token {
    fn new(number: usize, alive: &Rc<Cell<usize>>) -> Self {
        alive.set(alive.get() + 1);
        Self { number, alive: Rc::clone(alive) }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Submit(ServiceClass),
    Advance(Duration),
    NextDeadline,
    Poll(usize),
    Inject(Fault),
}

fn faults() -> impl Strategy<Value = Fault> {
    let time = || (1u64..200).prop_map(us);
    prop_oneof![
        time().prop_map(|lasts| Fault::RingStuck { lasts }),
        Just(Fault::Lost),
        time().prop_map(|by| Fault::Late { by }),
        Just(Fault::Duplicate),
        (0u32..5).prop_map(|behind| Fault::Reordered { behind }),
        Just(Fault::Corrupt),
        Just(Fault::Misdirected),
        Just(Fault::DeviceError),
        time().prop_map(|downtime| Fault::Reset { downtime }),
        time().prop_map(|lasts| Fault::HeartbeatLoss { lasts }),
        time().prop_map(|lasts| Fault::Hang { lasts }),
        prop::option::of(time()).prop_map(|absent| Fault::Removal { absent }),
        Just(Fault::InterruptLost),
    ]
}

fn triggers() -> impl Strategy<Value = Trigger> {
    prop_oneof![
        (0.0..0.5).prop_map(Trigger::Chance),
        (1u64..20).prop_map(Trigger::Nth),
        (1u64..9).prop_map(Trigger::Every),
        (0u64..500).prop_map(|at| Trigger::At(us(at))),
    ]
}

fn plans() -> impl Strategy<Value = FaultPlan> {
    let rule = (faults(), triggers(), 0u32..4, any::<bool>()).prop_map(
        |(fault, trigger, budget, only)| {
            let rule = FaultRule::new(fault, trigger).budget(budget);
            if only { rule.only(TICKET) } else { rule }
        },
    );
    let rules = prop::collection::vec(rule, 0..6);
    (rules, prop::option::of(0u32..6)).prop_map(|(rules, budget)| FaultPlan { rules, budget })
}

fn configs(plan: impl Strategy<Value = FaultPlan>) -> impl Strategy<Value = InstanceConfig> {
    let interrupts = prop_oneof![
        Just(InterruptMode::Polling),
        Just(InterruptMode::PerResponse),
        (1u32..5, 0u64..20).prop_map(|(responses, delay)| InterruptMode::Coalesced {
            responses,
            delay: us(delay)
        }),
    ];
    let rings = prop_oneof![Just(RingLayout::PerClass), Just(RingLayout::Shared)];
    let pool = prop::option::of(1u32..4);
    let batch = prop::option::of((1u32..9, 0u64..60));
    (1usize..9, rings, 1usize..9, (pool, batch), 0u64..3, interrupts, plan).prop_map(
        |(ring_depth, rings, response_depth, (pool, batch), doorbell, interrupts, faults)| {
            InstanceConfig {
                ring_depth,
                rings,
                response_depth,
                units: vec![
                    UnitConfig {
                        batch: batch.map(|(size, timeout)| Batch {
                            size: size.min(ring_depth as u32),
                            timeout: us(timeout),
                        }),
                        ..UnitConfig::new(SIGN, 2, ServiceTime::Exponential { mean: us(20) })
                    },
                    UnitConfig::new(TICKET, 1, ServiceTime::Uniform { low: us(0), high: us(9) }),
                ],
                pool,
                doorbell: us(doorbell),
                interrupts,
                faults,
                ..InstanceConfig::default()
            }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop_oneof![Just(SIGN), Just(TICKET)].prop_map(Step::Submit),
        3 => (0u64..40).prop_map(|by| Step::Advance(us(by))),
        3 => Just(Step::NextDeadline),
        3 => (0usize..6).prop_map(Step::Poll),
        1 => faults().prop_map(Step::Inject),
    ];
    prop::collection::vec(step, 0..120)
}

/// The software's side: the payloads it submitted, and those that came back.
struct Driver {
    device: Instance<Token>,
    alive: Rc<Cell<usize>>,
    made: usize,
    inside: BTreeSet<EntryId>,
    returned: BTreeSet<usize>,
    completions: Vec<Completion<()>>,
}

impl Driver {
    fn new(config: InstanceConfig, seed: u64) -> Self {
        let mut device = Instance::new(config, seed).expect("the strategy makes valid ones");
        device.set_trace(true);
        Self {
            device,
            alive: Rc::default(),
            made: 0,
            inside: BTreeSet::new(),
            returned: BTreeSet::new(),
            completions: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        let now = self.device.now();
        match step {
            Step::Submit(class) => {
                let token = Token::new(self.made, &self.alive);
                self.made += 1;
                match self.device.submit(now, *class, token) {
                    Ok(entry) => assert!(self.inside.insert(entry), "a tag came twice"),
                    Err(refused) => self.give_back(refused.into_payload()),
                }
            }
            Step::Advance(by) => self.device.advance(now + *by),
            Step::NextDeadline => {
                let next = self.device.next_deadline().unwrap_or(now);
                let _interrupt = self.device.take_interrupt(next);
            }
            Step::Poll(max) => self.poll(*max),
            Step::Inject(fault) => self.device.inject(now, *fault),
        }
        self.check_ledger();
    }

    fn poll(&mut self, max: usize) {
        let mut drained = Vec::new();
        self.device.poll_responses(max, &mut drained);
        for completion in drained {
            let Completion { entry, class, payload, status, submitted, started, finished } =
                completion;
            let without = payload.as_ref().map(|_| ());
            assert!(started.is_none_or(|at| submitted <= at && at <= finished));
            if let Some(token) = payload {
                self.give_back(token);
            }
            self.completions.push(Completion {
                entry,
                class,
                payload: without,
                status,
                submitted,
                started,
                finished,
            });
        }
    }

    fn give_back(&mut self, token: Token) {
        assert!(self.returned.insert(token.number), "a payload came back twice");
    }

    /// No payload is created or lost between the rings.
    fn check_ledger(&self) {
        let stats = self.device.stats();
        let inside = self.device.occupancy();
        assert_eq!(self.alive.get(), inside);
        assert_eq!(self.made, self.returned.len() + inside);
        assert_eq!(
            stats.submitted + stats.duplicates,
            stats.drained + stats.reclaimed + inside as u64
        );
    }

    /// After the last fault: polls, and reclaims lost requests.
    fn run_dry(&mut self) {
        self.device.disarm_faults();
        for _ in 0..10_000 {
            self.poll(usize::MAX);
            if let Some(next) = self.device.next_deadline() {
                self.device.advance(next);
                continue;
            }
            let entries: Vec<_> = self.inside.iter().copied().collect();
            for entry in entries {
                if let Some(token) = self.device.reclaim(entry) {
                    self.give_back(token);
                }
            }
            assert_eq!(self.device.occupancy(), 0, "{:?}", self.device);
            return;
        }
        panic!("the device never came to rest: {:?}", self.device);
    }

    fn trace(&mut self) -> Vec<String> {
        self.device.drain_trace().map(|record| record.to_string()).collect()
    }
}

proptest! {
    #[test]
    fn l1_every_payload_comes_back_exactly_once(
        config in configs(plans()),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let mut driver = Driver::new(config.clone(), seed);
        steps.iter().for_each(|step| driver.take(step));
        driver.run_dry();
        driver.check_ledger();
        prop_assert_eq!(driver.returned.len(), driver.made);
        // All ring entries are free again.
        let device = &driver.device;
        prop_assert_eq!(device.credits(SIGN), Some(config.ring_depth));
        prop_assert_eq!(device.credits(TICKET), Some(config.ring_depth));
        let sound = device.is_sound();
        prop_assert_eq!(sound, device.presence() == Presence::Present);
    }

    #[test]
    fn l5_a_dropped_device_drops_every_payload_inside(
        config in configs(plans()),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let mut driver = Driver::new(config, seed);
        steps.iter().for_each(|step| driver.take(step));
        let alive = Rc::clone(&driver.alive);
        drop(driver);
        prop_assert_eq!(alive.get(), 0);
    }

    #[test]
    fn l9_equal_seeds_and_calls_give_equal_traces(
        config in configs(plans()),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let traces = [(); 2].map(|()| {
            let mut driver = Driver::new(config.clone(), seed);
            steps.iter().for_each(|step| driver.take(step));
            driver.run_dry();
            driver.trace()
        });
        prop_assert_eq!(&traces[0], &traces[1]);
    }

    #[test]
    fn l13_each_class_is_served_in_the_order_of_submission(
        config in configs(plans()),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        // A misdirected tag would hide the order, so it is read from the trace.
        let mut driver = Driver::new(config, seed);
        steps.iter().for_each(|step| driver.take(step));
        driver.run_dry();
        let (mut class_of, mut latest) = (std::collections::BTreeMap::new(), [None; 2]);
        for record in driver.device.drain_trace() {
            match record.event {
                sim_device::Event::Submitted { entry, class } => {
                    class_of.insert(entry, class);
                }
                sim_device::Event::Started(entry) => {
                    let last = &mut latest[usize::from(class_of[&entry].0)];
                    prop_assert!(*last < Some(entry));
                    *last = Some(entry);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn nothing_happens_before_the_next_deadline(
        config in configs(plans()),
        steps in steps(),
        seed in any::<u64>(),
    ) {
        let mut driver = Driver::new(config, seed);
        for step in &steps {
            driver.take(step);
            driver.trace();
            let (now, next) = (driver.device.now(), driver.device.next_deadline());
            let quiet = match next {
                Some(next) if next > now => next - Duration::from_nanos(1),
                Some(_) => continue,
                None => now + us(1_000),
            };
            let waiting = (driver.device.responses_waiting(), driver.device.has_interrupt());
            driver.device.advance(quiet);
            prop_assert_eq!(driver.trace(), Vec::<String>::new());
            prop_assert_eq!(driver.device.next_deadline(), next);
            let after = (driver.device.responses_waiting(), driver.device.has_interrupt());
            prop_assert_eq!(waiting, after);
        }
    }

    #[test]
    fn without_faults_every_request_is_finished(
        config in configs(Just(FaultPlan::default())),
        classes in prop::collection::vec(prop_oneof![Just(SIGN), Just(TICKET)], 0..60),
        seed in any::<u64>(),
    ) {
        let mut driver = Driver::new(config, seed);
        for class in classes {
            driver.take(&Step::Submit(class));
            driver.take(&Step::NextDeadline);
        }
        driver.run_dry();
        let stats = driver.device.stats();
        prop_assert_eq!(stats.submitted, stats.finished);
        prop_assert_eq!(stats.submitted, stats.drained);
        prop_assert!(driver.completions.iter().all(|done| done.status.claims_success()));
    }
}

#[test]
fn l9_another_seed_gives_another_trace() {
    let units = vec![UnitConfig::new(SIGN, 2, ServiceTime::Exponential { mean: us(20) })];
    let config = InstanceConfig { units, ..InstanceConfig::default() };
    let trace = |seed| {
        let mut driver = Driver::new(config.clone(), seed);
        (0..20).for_each(|_| driver.take(&Step::Submit(SIGN)));
        driver.run_dry();
        driver.trace()
    };
    let traces: BTreeSet<_> = (0..100).map(trace).collect();
    assert_eq!(traces.len(), 100);
}
