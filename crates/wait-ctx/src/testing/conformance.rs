//! The conformance run: an engine beside the model.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::model::{ModelArm, SessionModel};
use super::script::{Answer, DeviceEvent, Engine, Failed, OnFull, Step, Tag};
use super::shortest::{Failing, shortest};
use super::strategy::script;
use crate::{Outcome, RequestState, WaitCtx};

/// Runs an engine through the usual number of scripts. See [`Conformance`].
///
/// # Errors
/// The shortest script found on which the engine breaks a law.
pub fn conformance<E: Engine>(make: impl Fn() -> E) -> Result<Report, Box<NonConformance>> {
    Conformance::default().run(make)
}

/// How thorough a run is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Conformance {
    /// How many scripts to run. By default 2,000.
    pub scripts: u32,
    /// The longest script. By default 40 steps.
    pub max_steps: usize,
    /// The seed: the same one gives the same scripts.
    pub seed: [u8; 32],
}

impl Default for Conformance {
    fn default() -> Self {
        Self { scripts: 2_000, max_steps: 40, seed: [7; 32] }
    }
}

/// What a successful run covered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How often each kind of step took effect, by [`Step::kind`].
    pub steps: [u64; Step::N_KINDS],
    /// Wakes that were due, and came.
    pub wakes: u64,
    /// Results collected.
    pub results: u64,
}

/// A broken law and the shortest script found that breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NonConformance {
    /// What went wrong.
    pub broken: String,
    /// The steps that lead there, with those by which the kit lets everything finish.
    pub script: Vec<Step>,
}

impl fmt::Display for NonConformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.broken)?;
        for (at, step) in self.script.iter().enumerate() {
            write!(f, "\n  {}. {step}", at + 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for NonConformance {}

impl Conformance {
    /// Runs an engine, made anew for each script.
    ///
    /// # Errors
    /// The shortest script found on which the engine breaks a law, or panics.
    pub fn run<E: Engine>(&self, make: impl Fn() -> E) -> Result<Report, Box<NonConformance>> {
        let config = Config {
            cases: self.scripts,
            max_shrink_iters: 20_000,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &self.seed);
        let total = RefCell::new(Report::default());
        let run = |steps: &[Step]| run_script(make(), steps);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let outcome = runner.run(&script(self.max_steps), |steps| {
            total
                .borrow_mut()
                .add(&run(&steps).map_err(|failing| TestCaseError::fail(failing.broken))?);
            Ok(())
        });
        let failing = match outcome {
            Ok(()) => return Ok(total.into_inner()),
            Err(TestError::Abort(reason)) => {
                Failing { broken: reason.message().to_owned(), script: Vec::new() }
            }
            Err(TestError::Fail(reason, script)) => match run(&script) {
                Err(failing) => shortest(failing, |steps| run(steps).err()),
                // It fails sometimes: an engine with threads that does not settle.
                Ok(_) => Failing { broken: reason.message().to_owned(), script },
            },
        };
        Err(Box::new(NonConformance { broken: failing.broken, script: failing.script }))
    }
}

/// Runs one script to its end, and lets everything finish.
fn run_script<E: Engine>(engine: E, steps: &[Step]) -> Result<Report, Failing> {
    let mut run = Run::new(engine);
    let checked = catch_unwind(AssertUnwindSafe(|| {
        steps.iter().try_for_each(|&step| run.step(step))?;
        run.finish()
    }));
    let broken = match checked {
        Ok(Ok(())) => return Ok(run.report),
        Ok(Err(broken)) => broken,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            format!("the engine panicked: {}", text.unwrap_or_default())
        }
    };
    Err(Failing { broken, script: run.trace })
}

impl Report {
    fn add(&mut self, other: &Self) {
        for (sum, n) in self.steps.iter_mut().zip(other.steps) {
            *sum += n;
        }
        self.wakes += other.wakes;
        self.results += other.results;
    }
}

/// One script under way.
struct Run<E: Engine> {
    engine: E,
    /// The steps that took effect.
    trace: Vec<Step>,
    sessions: [Session<E::Request>; Step::N_SESSIONS],
    next_tag: u64,
    full: bool,
    /// Submissions that the device must have taken.
    taken: u64,
    report: Report,
}

struct Session<R> {
    ctx: WaitCtx,
    woken: Arc<AtomicU64>,
    model: SessionModel,
    current: Option<(Tag, R)>,
    /// The last request that was completed or failed by the device.
    finished: Option<Tag>,
    /// The last request that was cancelled while the device held it.
    cancelled: Option<Tag>,
}

impl<R> Session<R> {
    fn new() -> Self {
        let ctx = WaitCtx::new();
        let woken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&woken);
        ctx.set_callback(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        Self {
            ctx,
            woken,
            model: SessionModel::new(),
            current: None,
            finished: None,
            cancelled: None,
        }
    }

    /// The tag of the current request, if its state is this one.
    fn tag_in(&self, state: RequestState) -> Option<Tag> {
        let (tag, _) = self.current.as_ref()?;
        (self.model.state() == state).then_some(*tag)
    }
}

/// What law is broken, and how.
type Checked<T = ()> = Result<T, String>;

impl<E: Engine> Run<E> {
    fn new(engine: E) -> Self {
        let sessions = std::array::from_fn(|_| Session::new());
        Self {
            engine,
            trace: Vec::new(),
            sessions,
            next_tag: 0,
            full: false,
            taken: 0,
            report: Report::default(),
        }
    }

    /// Takes a step, if it makes sense here, and checks everything that can be seen from outside.
    fn step(&mut self, step: Step) -> Checked {
        // Entered before, so that it is there if the engine panics.
        self.trace.push(step);
        let took_effect = match step {
            Step::Submit(session, answer) => self.submit(session, answer),
            Step::Poll(session) => self.poll(session)?,
            Step::Cancel(session) => self.cancel(session),
            Step::Complete(session) => self.settle(session, Outcome::Done)?,
            Step::Fail(session) => self.settle(session, Outcome::Failed)?,
            Step::Duplicate(session) => {
                let tag = self.sessions[session].finished;
                tag.is_some_and(|tag| self.engine.device(DeviceEvent::Duplicate(tag)))
            }
            Step::Late(session) => {
                let tag = self.sessions[session].cancelled.take();
                tag.is_some_and(|tag| self.engine.device(DeviceEvent::Complete(tag)))
            }
            Step::Room => self.room(),
        };
        if took_effect {
            self.report.steps[step.kind().0] += 1;
            self.engine.settle();
        } else {
            self.trace.pop();
        }
        self.check()
    }

    fn submit(&mut self, index: usize, answer: Answer) -> bool {
        let session = &mut self.sessions[index];
        // A device that is full answers nothing else, until it has room.
        let answer = if self.full { Answer::Full } else { answer };
        if session.current.is_some() || !session.model.begin() {
            return false;
        }
        let tag = Tag(self.next_tag);
        self.next_tag += 1;
        let request = self.engine.submit(session.ctx.notifier(), tag, answer);
        session.current = Some((tag, request));
        match answer {
            Answer::Accept => {
                session.model.accept();
                self.taken += 1;
            }
            Answer::Early => {
                session.model.settle(Outcome::Done);
                session.finished = Some(tag);
                self.taken += 1;
            }
            Answer::Full => self.full = true,
            Answer::Fatal => {
                session.model.settle(Outcome::Failed);
            }
        }
        true
    }

    fn poll(&mut self, index: usize) -> Checked<bool> {
        let session = &mut self.sessions[index];
        let Some((tag, request)) = &mut session.current else { return Ok(false) };
        let polled = self.engine.poll(request);
        // An engine that leaves retries to the poll submits here; with room the device then takes it.
        let queued = session.model.state() == RequestState::Queued;
        if queued && self.engine.on_full() == OnFull::Notify && !self.full {
            session.model.accept();
            self.taken += 1;
        }
        // A retry may have been announced, and the room taken by somebody else: then it is refused again.
        while session.model.arm() == ModelArm::Retry {}
        let expected = match session.model.state() {
            RequestState::Done => Poll::Ready(Ok(*tag)),
            RequestState::Failed => Poll::Ready(Err(Failed)),
            _ => Poll::Pending,
        };
        if polled != expected {
            let law = match expected {
                Poll::Pending => "L2: a poll without a reason changed something",
                Poll::Ready(_) => "L3: a completion was lost",
            };
            return Err(format!(
                "{law}: session {index} polled {polled:?} instead of {expected:?}"
            ));
        }
        if polled.is_ready() {
            session.current = None;
            self.report.results += 1;
        }
        Ok(true)
    }

    fn cancel(&mut self, index: usize) -> bool {
        let session = &mut self.sessions[index];
        let held = session.tag_in(RequestState::Submitted);
        let Some((_, request)) = session.current.take() else { return false };
        if held.is_some() {
            session.cancelled = held;
        }
        self.engine.cancel(request);
        session.model.cancel();
        true
    }

    /// The device completes or fails a request that it holds.
    fn settle(&mut self, index: usize, outcome: Outcome) -> Checked<bool> {
        let session = &mut self.sessions[index];
        let Some(tag) = session.tag_in(RequestState::Submitted) else { return Ok(false) };
        let event = match outcome {
            Outcome::Done => DeviceEvent::Complete(tag),
            Outcome::Failed => DeviceEvent::Fail(tag),
        };
        if !self.engine.device(event) {
            return Err(format!(
                "L2: the device does not know the request of session {index}, which it accepted"
            ));
        }
        session.model.settle(outcome);
        session.finished = Some(tag);
        Ok(true)
    }

    fn room(&mut self) -> bool {
        if !std::mem::take(&mut self.full) {
            return false;
        }
        self.engine.device(DeviceEvent::Room);
        let on_full = self.engine.on_full();
        for session in &mut self.sessions {
            if session.tag_in(RequestState::Queued).is_some() {
                match on_full {
                    OnFull::Queue => {
                        session.model.accept();
                        self.taken += 1;
                    }
                    OnFull::Notify => session.model.retry(),
                }
            }
        }
        true
    }

    fn check(&self) -> Checked {
        for (index, session) in self.sessions.iter().enumerate() {
            let (woken, due) = (session.woken.load(Ordering::Relaxed), session.model.wakes());
            if woken != due {
                let law = if woken < due { "L3: a wake was lost" } else { "L4: a wake too many" };
                return Err(format!(
                    "{law}: session {index} was woken {woken} times in all, {due} were due"
                ));
            }
            let (status, expected) = (session.ctx.status(), session.model.status());
            if status != expected {
                return Err(format!(
                    "status: session {index} shows `{status}` instead of `{expected}`"
                ));
            }
        }
        let taken = self.engine.taken();
        if taken != self.taken {
            let law = if taken < self.taken {
                "L13: a submission was forgotten"
            } else {
                "L2: a request was submitted twice"
            };
            return Err(format!(
                "{law}: the device took {taken} submissions instead of {}",
                self.taken
            ));
        }
        Ok(())
    }

    /// Makes room, completes everything, and collects it.
    fn finish(&mut self) -> Checked {
        self.step(Step::Room)?;
        for session in 0..Step::N_SESSIONS {
            self.step(Step::Poll(session))?;
            self.step(Step::Complete(session))?;
            self.step(Step::Poll(session))?;
            self.step(Step::Late(session))?;
        }
        self.report.wakes = self.sessions.iter().map(|session| session.model.wakes()).sum();
        Ok(())
    }
}
