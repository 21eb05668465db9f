//! A pool of real threads behind an engine with everything switched on, beside its [model](crate::pool_model). Time is set by
//! hand, and each call of a thread ends when the script says so.

use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use engine_core::{
    BreakerPolicy, BreakerState, CheckFailed, DeviceError, Engine, EngineError, Fallback, Pending,
    RefusedReason, RequestOptions, Shutdown, ThreadPool, ThreadPoolBuilder,
};
use proptest_state_machine::{StateMachineTest, prop_state_machine};

use crate::pool_model::{
    ATTEMPTS, BOUND, Breaker, Counts, DEADLINE, Ended, FAILURES, HALF, LONG, Model, N_SLOTS, PAUSE,
    REPLACEMENTS, RETRY_AFTER, RING, Refusal, STUCK, Said, Step, THREADS,
};
use crate::support::{HandClock, Manual, Negate, Outputs, PATIENCE, Secret};

/// The calls that threads are in, with what ends each.
type Calls = Arc<Mutex<Vec<(u64, Sender<Said>)>>>;

struct Machine {
    engine: Arc<Engine<Negate>>,
    pool: Arc<ThreadPool<Negate>>,
    calls: Calls,
    standby: Arc<Manual>,
    clock: Arc<HandClock>,
    slots: [Option<Pending<Negate>>; N_SLOTS],
    outputs: Arc<Outputs>,
}

fn answer(work: &Negate, said: Said) -> Result<Secret, DeviceError> {
    match said {
        Said::Right => Ok(work.right()),
        Said::Wrong => Ok(work.wrong()),
        Said::Transient => Err(DeviceError::reported(&"lost")),
        Said::RetryAfter => Err(DeviceError::busy(RETRY_AFTER, &"throttled")),
        Said::Permanent => Err(DeviceError::permanent(&"denied")),
        Said::Panic => resume_unwind(Box::new("on purpose")),
    }
}

fn ended(result: Result<Secret, EngineError>) -> Ended {
    match result {
        Ok(_) => Ended::Right,
        Err(EngineError::Invalid(CheckFailed(_))) => Ended::Invalid,
        Err(EngineError::Deadline) => Ended::Deadline,
        Err(EngineError::Refused(RefusedReason::QueueFull { .. })) => Ended::QueueFull,
        Err(EngineError::Device(error)) => match error {
            DeviceError::Unavailable(_) => Ended::ShutOff,
            DeviceError::Reported(_) => Ended::Failed(Said::Transient),
            DeviceError::Busy { .. } => Ended::Failed(Said::RetryAfter),
            DeviceError::Permanent(_) => Ended::Failed(Said::Permanent),
            DeviceError::Failed(_) => Ended::Failed(Said::Panic),
            other => panic!("{other}"),
        },
        Err(other) => panic!("{other}"),
    }
}

impl Machine {
    fn new() -> Self {
        let (calls, clock) = (Calls::default(), Arc::<HandClock>::default());
        let begun = Arc::clone(&calls);
        let pool = ThreadPoolBuilder::new()
            .threads(THREADS)
            .ring(RING)
            .stuck_after(Duration::from_millis(STUCK))
            .replacements(REPLACEMENTS)
            .build(move |work: &Negate| {
                let (say, said) = channel();
                begun.lock().unwrap().push((work.n, say));
                answer(work, said.recv().unwrap_or(Said::Right))
            });
        let (pool, standby) = (Arc::new(pool), Manual::new(usize::MAX));
        let options = RequestOptions::new()
            .deadline(Duration::from_millis(DEADLINE))
            .attempts(ATTEMPTS)
            .fallback(Fallback::Standby);
        let breaker =
            BreakerPolicy::default().failures(FAILURES).pause(Duration::from_millis(PAUSE));
        let engine = Engine::builder(pool.clone())
            .standby(standby.clone())
            .clock(clock.clone())
            .queue_bound(BOUND)
            .options(options)
            .breaker(breaker)
            .build();
        let slots = std::array::from_fn(|_| None);
        Self { engine, pool, calls, standby, clock, slots, outputs: Arc::default() }
    }

    /// The requests in a call, by their numbers.
    fn in_calls(&self) -> Vec<u64> {
        let mut calls: Vec<_> = self.calls.lock().unwrap().iter().map(|(n, _)| *n).collect();
        calls.sort_unstable();
        calls
    }

    fn counts(&self) -> Counts {
        let stats = self.engine.stats();
        Counts {
            submitted: stats.submitted,
            accepted: stats.accepted,
            refused: stats.refused,
            completed: stats.completed,
            failed: stats.failed,
            cancelled: stats.cancelled,
            late: stats.late,
            deadlines: stats.deadlines,
            attempts_again: stats.attempts_again,
            fallbacks: stats.fallbacks,
            check_failures: stats.check_failures,
            trips: stats.trips,
        }
    }

    /// Waits until the threads have done what the model says, and no longer than a broken pool needs to be noticed.
    fn settle(&self, model: &Model, step: &Step) {
        let mut expected: Vec<_> = model.calls().collect();
        expected.sort_unstable();
        let end = Instant::now() + PATIENCE;
        let is_done = || {
            self.in_calls() == expected
                && self.counts() == model.counts
                && self.pool.n_stuck() == model.n_stuck()
        };
        while !is_done() && Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(self.in_calls(), expected, "the calls after {step:?}");
        assert_eq!(self.counts(), model.counts, "after {step:?}");
        assert_eq!(self.pool.n_stuck(), model.n_stuck(), "stuck threads after {step:?}");
    }

    /// Ends the call of a request, and waits until its thread has left it.
    fn answer(&self, n: u64, said: Said, ends_thread: bool) {
        let before = self.pool.n_threads();
        let say = {
            let mut calls = self.calls.lock().unwrap();
            let at = calls.iter().position(|(other, _)| *other == n).expect("it is in a call");
            calls.remove(at).1
        };
        say.send(said).unwrap();
        let end = Instant::now() + PATIENCE;
        while ends_thread && self.pool.n_threads() >= before && Instant::now() < end {
            std::thread::yield_now();
        }
    }

    fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.engine.poll();
    }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self::new()
    }

    fn apply(mut machine: Self, model: &Model, step: Step) -> Self {
        match step {
            Step::Submit(slot) => {
                let n = model.slots[slot].map_or(u64::MAX - 1, |(n, _)| n);
                match machine.engine.submit(Negate::new(n, &machine.outputs)) {
                    Ok(pending) => {
                        assert_eq!(model.refusal, None);
                        machine.slots[slot] = Some(pending);
                    }
                    Err(refused) => {
                        let expected = match model.refusal.expect("not refused") {
                            Refusal::QueueFull => RefusedReason::QueueFull { bound: BOUND },
                            Refusal::Unavailable => RefusedReason::Unavailable,
                        };
                        assert_eq!(refused.reason, expected);
                    }
                }
            }
            Step::Answer(_, said) => {
                let (n, ends_thread) = model.answered.expect("one was answered");
                machine.answer(n, said, ends_thread);
            }
            Step::AnswerStandby(_, said) => {
                let (n, _) = model.answered.expect("one was answered");
                let request = machine.standby.find(n).expect("the standby has it");
                let result = answer(request.work(), said);
                request.complete(result);
            }
            Step::HangUp(slot) => drop(machine.slots[slot].take()),
            Step::Advance => {
                machine.advance(HALF);
                // The threads that are free take what is due before more is.
                let between = model.between.as_deref().expect("there is a half");
                machine.settle(between, &step);
                machine.advance(HALF);
            }
            Step::AdvanceLong => {
                machine.advance(0);
                machine.advance(LONG);
            }
        }
        machine.settle(model, &step);
        for (slot, expected) in machine.slots.iter_mut().zip(model.slots) {
            let Some(pending) = slot else { continue };
            let has_ended = expected.is_some_and(|(_, ended)| ended.is_some());
            let mut result = pending.poll_result();
            // It is counted a moment before its caller can see it.
            let end = Instant::now() + PATIENCE;
            while has_ended && result.is_pending() && Instant::now() < end {
                std::thread::yield_now();
                result = pending.poll_result();
            }
            match (result, expected) {
                (Poll::Pending, Some((_, None))) => {}
                (Poll::Ready(result), Some((n, Some(expected)))) => {
                    assert_eq!(ended(result), expected, "of request {n}");
                    *slot = None;
                }
                (result, expected) => panic!("{result:?} where the model has {expected:?}"),
            }
        }
        machine
    }

    fn check_invariants(machine: &Self, model: &Model) {
        let millis = Duration::from_millis(model.now);
        assert_eq!(engine_core::Clock::now(&*machine.clock), millis);
        let states = [machine.engine.breaker(), machine.engine.standby_breaker()];
        for (state, breaker) in states.into_iter().zip(model.breakers) {
            let expected = match breaker {
                None | Some(Breaker::Closed { .. }) => BreakerState::Closed,
                Some(Breaker::Open { until }) if model.now < until => BreakerState::Open,
                Some(_) => BreakerState::HalfOpen,
            };
            assert_eq!(state, expected);
        }
    }

    /// Everything ends: what the standby has is dropped, the calls return, and nothing is left.
    fn teardown(mut machine: Self, _: Model) {
        machine.slots.iter_mut().for_each(|slot| drop(slot.take()));
        machine.calls.lock().unwrap().clear();
        while machine.standby.answer(crate::support::KINDS[0], 0, crate::support::Answer::Drop) {}
        let Self { engine, calls, .. } = &machine;
        // Requests that the threads had yet to take end without a call.
        assert_eq!(engine.shutdown_blocking(PATIENCE), Shutdown::Drained);
        assert!(calls.lock().unwrap().is_empty());
        assert_eq!((engine.stats().requests.now, machine.pool.n_threads()), (0, 0));
        assert_eq!(machine.outputs.made(), machine.outputs.dropped());
    }
}

prop_state_machine! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 64,
        // Of all cases together, and most steps are possible only now and then.
        max_local_rejects: u32::MAX,
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    #[test]
    fn l5_l8_l13_l14_a_pool_does_what_its_model_does(sequential 1..60 => Machine);
}
