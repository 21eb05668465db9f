//! The engine beside the model: jobs and futures, a device that answers, fails, drops and answers late.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use engine_core::{
    CheckPolicy, DeviceError, Engine, EngineError, Fallback, Pending, RequestOptions,
};
use job_core::{Job, JobPool, Step as JobStep};
use proptest_state_machine::StateMachineTest;
use wait_ctx::{Status, WaitCtx};

use crate::model::{BOUND, Counts, Ended, How, Model, N_SLOTS, RING, Step, Submit};
use crate::support::{
    Answer, Counter, FAILED, HandClock, KINDS, Manual, Mode, Negate, Outputs, Secret, end,
};

type Outcome = Result<Secret, EngineError>;

/// The engine with everything around it.
pub(crate) struct Machine {
    engine: Arc<Engine<Negate>>,
    device: Arc<Manual>,
    standby: Arc<Manual>,
    clock: Arc<HandClock>,
    pool: JobPool,
    outputs: Arc<Outputs>,
    slots: [Slot; N_SLOTS],
    /// Wakes of futures: a future's notifier goes with it.
    tasks: Arc<Counter>,
    next: u64,
    delivered: u64,
}

struct Slot {
    ctx: WaitCtx,
    woken: Arc<AtomicU64>,
    waiting: Option<Waiting>,
}

enum Waiting {
    Job(Job<Outcome>),
    Future(Pin<Box<Pending<Negate>>>),
}

impl Slot {
    fn new() -> Self {
        let ctx = WaitCtx::new();
        let woken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&woken);
        ctx.set_callback(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        Self { ctx, woken, waiting: None }
    }
}

impl Machine {
    fn new() -> Self {
        let device = Manual::new(RING);
        let standby = Manual::new(usize::MAX);
        let clock = Arc::<HandClock>::default();
        let engine = Engine::builder(device.clone())
            .standby(standby.clone())
            .clock(clock.clone())
            .queue_bound(BOUND)
            .checks(CheckPolicy::Required)
            .build();
        Self {
            engine,
            device,
            standby,
            clock,
            pool: JobPool::new(),
            outputs: Arc::default(),
            slots: std::array::from_fn(|_| Slot::new()),
            tasks: Arc::default(),
            next: 0,
            delivered: 0,
        }
    }

    fn submit(&mut self, submit: Submit, model: &Model) {
        let n = self.next;
        self.next += 1;
        let work = Negate {
            kind: KINDS[submit.kind],
            must_check: submit.must_check,
            ..Negate::new(n, &self.outputs)
        };
        // The mode that the device had before.
        let mode = if model.stuck { Mode::Stuck } else { Mode::Take };
        if let Some(answer) = submit.early {
            self.device.set_mode(Mode::Early(answer));
        }
        let mut options = RequestOptions::new();
        options.deadline = submit.deadline.map(Duration::from_millis);
        if submit.fallback {
            options = options.fallback(Fallback::Standby);
        }
        let engine = self.engine.with_options(options);
        let finished = match submit.how {
            How::Job => {
                let ctx = &self.slots[submit.slot].ctx;
                match self.pool.start_with(ctx, move || engine.run(work)).expect("a fiber") {
                    JobStep::Finished(outcome) => Some(outcome),
                    JobStep::Paused(job) => {
                        self.slots[submit.slot].waiting = Some(Waiting::Job(job));
                        None
                    }
                }
            }
            How::Future { polled } => match engine.submit(work) {
                Err(refused) => {
                    assert_eq!(refused.work.n, n, "L13: another one's work came back");
                    Some(Err(EngineError::Refused(refused.reason)))
                }
                Ok(future) => {
                    self.slots[submit.slot].waiting = Some(Waiting::Future(Box::pin(future)));
                    polled.then(|| self.look(submit.slot)).flatten()
                }
            },
        };
        self.device.set_mode(mode);
        match finished {
            Some(Err(EngineError::Refused(_))) => {
                assert!(model.slots[submit.slot].is_none(), "L13: {n} was refused with room left");
            }
            Some(outcome) => {
                assert!(submit.early.is_some(), "L2: {n} ended without an answer");
                self.deliver(outcome, model);
            }
            None => {
                assert!(model.slots[submit.slot].is_some(), "L3: {n} waits although it has ended");
            }
        }
    }

    /// Resumes or polls, and returns the outcome.
    fn look(&mut self, slot: usize) -> Option<Outcome> {
        match self.slots[slot].waiting.take().expect("a slot with a caller") {
            Waiting::Job(job) => match job.resume() {
                JobStep::Finished(outcome) => Some(outcome),
                JobStep::Paused(job) => {
                    self.slots[slot].waiting = Some(Waiting::Job(job));
                    None
                }
            },
            Waiting::Future(mut future) => {
                let waker = self.tasks.waker();
                match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(outcome) => Some(outcome),
                    Poll::Pending => {
                        self.slots[slot].waiting = Some(Waiting::Future(future));
                        None
                    }
                }
            }
        }
    }

    /// Holds an outcome against the one that the model collected.
    fn deliver(&mut self, outcome: Outcome, model: &Model) {
        self.delivered += u64::from(outcome.is_ok());
        let (n, expected) = model.collected.expect("the model has collected an outcome");
        match (expected, outcome) {
            (Ended::Right, Ok(output)) => assert_eq!(output.value, !n, "L1: another one's result"),
            (Ended::Unchecked, Ok(_)) | (Ended::Invalid, Err(EngineError::Invalid(_))) => {}
            (Ended::Invalid, outcome) => {
                panic!("L12: an unchecked result left the engine: {outcome:?}")
            }
            (Ended::Deadline, Err(EngineError::Deadline)) => {}
            (Ended::Failed, Err(EngineError::Device(error))) => assert_eq!(error, FAILED),
            (Ended::Lost, Err(EngineError::Device(error))) => assert_eq!(error, DeviceError::Lost),
            (expected, outcome) => panic!("L2: {n} should be {expected:?}, is {outcome:?}"),
        }
    }

    fn cancel(&mut self, slot: usize) {
        match self.slots[slot].waiting.take().expect("a slot with a caller") {
            Waiting::Job(job) => match job.cancel() {
                Some(Err(EngineError::Cancelled)) => {}
                other => panic!("L5: a cancelled job got {other:?}"),
            },
            Waiting::Future(future) => drop(future),
        }
    }

    fn check(&self, model: &Model) {
        for (kind, &name) in KINDS.iter().enumerate() {
            let expected: Vec<u64> = model.rings[kind].iter().map(|entry| entry.n).collect();
            let ring = self.device.ring(name);
            assert_eq!(ring, expected, "L13: the order on the ring of {name}");
        }
        let mut standby: Vec<u64> =
            KINDS.iter().flat_map(|&kind| self.standby.ring(kind)).collect();
        standby.sort_unstable();
        let expected: Vec<u64> = model.standby.iter().map(|entry| entry.n).collect();
        let deadlines = self.engine.stats().deadlines;
        assert_eq!(deadlines, model.counts.deadlines, "L14: deadlines");
        assert_eq!(standby, expected, "L14: the requests of the standby");
        let taken = (self.device.taken().len() + self.standby.taken().len()) as u64;
        assert_eq!(taken, model.counts.accepted, "L2: submissions that the device has taken");

        let by_callback = self.slots.iter().map(|slot| slot.woken.load(Ordering::SeqCst));
        let woken = by_callback.sum::<u64>() + self.tasks.wakes();
        assert!(woken >= model.counts.wakes, "L3: {woken} wakes, {} due", model.counts.wakes);
        assert!(woken <= model.counts.wakes, "L4: {woken} wakes, {} due", model.counts.wakes);

        let snapshot = self.engine.stats();
        assert_eq!(snapshot.requests.now, model.n_requests() as u64, "L8: requests");
        assert_eq!(snapshot.waiters.now, model.n_queued() as u64, "L8: waiters");
        assert_eq!(self.engine.quiesce(Duration::ZERO), model.n_requests() == 0, "L8: quiesce");
        let jobs = self.slots.iter().filter(|s| matches!(s.waiting, Some(Waiting::Job(_)))).count();
        assert_eq!(self.pool.stats().live, jobs, "L8: jobs");

        assert_eq!(snapshot.checked, model.counts.checked, "L12: results checked");

        let accounted = self.outputs.erased() + self.delivered + model.n_held() as u64;
        assert_eq!(self.outputs.made(), accounted, "L5: results neither delivered nor erased");

        for (slot, session) in self.slots.iter().zip(&model.slots) {
            let Some(session) = session.filter(|session| session.how == How::Job) else { continue };
            let expected = match session.ended {
                None if model.is_queued(session.n) => Status::Again,
                Some(ended) if !ended.is_ok() => Status::Err,
                _ => Status::Ok,
            };
            assert_eq!(slot.ctx.status(), expected, "L3: the status of request {}", session.n);
        }

        let counts = Counts {
            submitted: snapshot.submitted,
            accepted: snapshot.accepted,
            queued: snapshot.queued,
            refused: snapshot.refused,
            completed: snapshot.completed,
            failed: snapshot.failed,
            cancelled: snapshot.cancelled,
            late: snapshot.late,
            uncollected: snapshot.uncollected,
            checked: snapshot.checked,
            check_failures: snapshot.check_failures,
            wakes: snapshot.wakes,
            resumes: snapshot.resumes,
            spurious_resumes: snapshot.spurious_resumes,
            deadlines: snapshot.deadlines,
            fallbacks: snapshot.fallbacks,
            delivered: self.delivered,
        };
        assert_eq!(counts, model.counts, "L8: the counters");
        assert_eq!(snapshot.out_of_order, 0, "L13: overtaken");
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
            Step::Submit(submit) => machine.submit(submit, model),
            Step::Answer { kind, index, answer } => {
                assert!(machine.device.answer(KINDS[kind], index, answer), "L13: no such entry");
            }
            Step::AnswerStandby { nth, answer } => {
                let mut held: Vec<u64> =
                    KINDS.iter().flat_map(|&kind| machine.standby.ring(kind)).collect();
                held.sort_unstable();
                end(machine.standby.find(held[nth]).expect("on a ring"), answer);
            }
            Step::Advance(by) => {
                machine.clock.advance(Duration::from_millis(by));
                machine.engine.poll();
            }
            // The model has moved on already: if it forgot the session, the result was due.
            Step::Resume(slot) => match (machine.look(slot), &model.slots[slot]) {
                (Some(outcome), None) => machine.deliver(outcome, model),
                (None, Some(_)) => {}
                (Some(outcome), Some(session)) => {
                    panic!("L2: {} took a resume for {outcome:?}", session.n)
                }
                (None, None) => panic!("L3: a completion was lost"),
            },
            Step::Cancel(slot) => machine.cancel(slot),
            Step::Stick(stuck) => {
                machine.device.set_mode(if stuck { Mode::Stuck } else { Mode::Take });
            }
            Step::Poll => drop(machine.engine.poll()),
            Step::Close => machine.engine.close(),
        }
        machine
    }

    fn check_invariants(machine: &Self, model: &Model) {
        machine.check(model);
    }

    /// Drops all callers, answers what the device still holds, and checks that nothing is left.
    fn teardown(mut machine: Self, _: Model) {
        for slot in &mut machine.slots {
            slot.waiting = None;
        }
        machine.device.set_mode(Mode::Take);
        for kind in KINDS {
            while machine.device.answer(kind, 0, Answer::Right) {}
            while machine.standby.answer(kind, 0, Answer::Right) {}
        }
        let snapshot = machine.engine.stats();
        assert_eq!((snapshot.requests.now, snapshot.waiters.now), (0, 0), "L8: at the end");
        assert_eq!(machine.pool.stats().live, 0, "L8: jobs at the end");
        assert_eq!(
            machine.outputs.made(),
            machine.outputs.erased() + machine.delivered,
            "L5: results neither delivered nor erased at the end"
        );
        assert_eq!(machine.outputs.made(), machine.outputs.dropped(), "L8: results at the end");
        assert_eq!(
            snapshot.submitted,
            snapshot.completed + snapshot.failed + snapshot.cancelled,
            "L8: requests without an end"
        );
    }
}
