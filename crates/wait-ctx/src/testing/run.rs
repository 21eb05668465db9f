//! One script: an engine beside the model.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use super::model::SessionModel;
use super::quiet;
use super::script::{
    Answer, DeviceEvent, Failed, FullPolicy, Order, ScriptStep, Tag, TestedEngine,
};
use super::shortest::Failing;
use crate::{Arm, Ending, RequestPhase, WaitCtx, interrupt};

/// What a successful run covered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// How often each kind of step took effect, by [`ScriptStep::kind`].
    pub steps: [u64; ScriptStep::N_KINDS],
    /// Wakes that were due, and came.
    pub wakes: u64,
    /// Results collected.
    pub results: u64,
}

impl Coverage {
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, n) in self.steps.iter_mut().zip(other.steps) {
            *sum += n;
        }
        self.wakes += other.wakes;
        self.results += other.results;
    }
}

/// Runs one script, and then lets everything finish unless a completion was interrupted.
pub(super) fn run_script<E: TestedEngine>(
    engine: E,
    steps: &[ScriptStep],
) -> Result<Coverage, Failing> {
    let mut run = Run::new(engine);
    let checked = quiet::catch(|| run.all(steps));
    let broken = match checked {
        Ok(Ok(())) => return Ok(run.coverage),
        Ok(Err(broken)) => broken,
        Err(payload) => format!("the engine panicked: {}", quiet::message(&*payload)),
    };
    Err(Failing { broken, script: run.trace })
}

/// The run of one script.
struct Run<E: TestedEngine> {
    engine: E,
    /// The steps that took effect.
    trace: Vec<ScriptStep>,
    sessions: [Session<E::Request>; ScriptStep::N_SESSIONS],
    next_tag: u64,
    full: bool,
    /// Submissions that the device must have taken.
    taken: u64,
    /// Those of them that it has not ended yet, oldest first.
    held: VecDeque<Tag>,
    /// A completion was stopped half way, so the engine cannot be used any more.
    is_over: bool,
    coverage: Coverage,
}

struct Session<R> {
    ctx: WaitCtx,
    woken: Arc<AtomicU64>,
    model: SessionModel,
    current: Option<(Tag, R)>,
    /// The last request that was completed or failed by the device.
    finished: Option<Tag>,
    /// Requests that were cancelled while the device held them, oldest first.
    cancelled: VecDeque<Tag>,
}

impl<R> Session<R> {
    fn new() -> Self {
        let ctx = WaitCtx::new();
        let woken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&woken);
        ctx.set_callback(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (model, cancelled) = (SessionModel::new(), VecDeque::new());
        Self { ctx, woken, model, current: None, finished: None, cancelled }
    }

    /// The tag of the current request, if its state is this one.
    fn tag_in(&self, state: RequestPhase) -> Option<Tag> {
        let (tag, _) = self.current.as_ref()?;
        (self.model.phase() == state).then_some(*tag)
    }
}

/// The error says which law is broken, and how.
type Checked<T = ()> = Result<T, String>;

impl<E: TestedEngine> Run<E> {
    fn new(engine: E) -> Self {
        let sessions = std::array::from_fn(|_| Session::new());
        Self {
            engine,
            trace: Vec::new(),
            sessions,
            next_tag: 0,
            full: false,
            taken: 0,
            held: VecDeque::new(),
            is_over: false,
            coverage: Coverage::default(),
        }
    }

    fn all(&mut self, steps: &[ScriptStep]) -> Checked {
        for &step in steps {
            self.step(step)?;
            if self.is_over {
                return Ok(());
            }
        }
        self.finish()
    }

    /// Takes a step, if it is possible here, and checks everything that can be seen from outside.
    fn step(&mut self, step: ScriptStep) -> Checked {
        // Recorded first, so that the trace has it if the engine panics.
        self.trace.push(step);
        let took_effect = match step {
            ScriptStep::Submit(session, answer) => self.submit(session, answer),
            ScriptStep::Poll(session) => self.poll(session)?,
            ScriptStep::Cancel(session) => self.cancel(session),
            ScriptStep::Complete(session) => self.settle(session, Ending::Done)?,
            ScriptStep::Fail(session) => self.settle(session, Ending::Failed)?,
            ScriptStep::Interrupt(session) => self.interrupt(session)?,
            ScriptStep::Duplicate(session) => {
                let tag = self.sessions[session].finished;
                tag.is_some_and(|tag| self.engine.device(DeviceEvent::Duplicate(tag)))
            }
            ScriptStep::Late(session) => self.late(session),
            ScriptStep::Room => self.room(),
        };
        if took_effect {
            self.coverage.steps[step.kind().0] += 1;
            if !self.is_over {
                self.engine.settle();
            }
        } else {
            self.trace.pop();
        }
        self.check()
    }

    fn submit(&mut self, index: usize, answer: Answer) -> bool {
        let session = &mut self.sessions[index];
        let answer = match answer {
            // A device that is full answers nothing else, until it has room.
            _ if self.full => Answer::Full,
            Answer::Early if self.engine.order() == Order::Submission && !self.held.is_empty() => {
                Answer::Accept
            }
            answer => answer,
        };
        if session.current.is_some() || !session.model.begin() {
            return false;
        }
        if let Some(step) = self.trace.last_mut() {
            *step = ScriptStep::Submit(index, answer);
        }
        let tag = Tag(self.next_tag);
        self.next_tag += 1;
        let request = self.engine.submit(session.ctx.notifier(), tag, answer);
        session.current = Some((tag, request));
        match answer {
            Answer::Accept => {
                session.model.accept();
                self.taken += 1;
                self.held.push_back(tag);
            }
            Answer::Early => {
                session.model.settle(Ending::Done);
                session.finished = Some(tag);
                self.taken += 1;
            }
            Answer::Full => self.full = true,
            Answer::Fatal => {
                session.model.settle(Ending::Failed);
            }
        }
        true
    }

    fn poll(&mut self, index: usize) -> Checked<bool> {
        let session = &mut self.sessions[index];
        let Some((tag, request)) = &mut session.current else { return Ok(false) };
        let polled = self.engine.poll(request);
        // An engine that leaves retries to the poll submits here; with room the device then takes it.
        let queued = session.model.phase() == RequestPhase::Queued;
        if queued && self.engine.on_full() == FullPolicy::Notify && !self.full {
            session.model.accept();
            self.taken += 1;
            self.held.push_back(*tag);
        }
        // A retry may have been announced and the room taken by another request since: then it is refused again.
        while session.model.arm() == Arm::Retry {}
        let expected = match session.model.phase() {
            RequestPhase::Done => Poll::Ready(Ok(*tag)),
            RequestPhase::Failed => Poll::Ready(Err(Failed)),
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
            self.coverage.results += 1;
        }
        Ok(true)
    }

    fn cancel(&mut self, index: usize) -> bool {
        let session = &mut self.sessions[index];
        let held = session.tag_in(RequestPhase::Submitted);
        let Some((_, request)) = session.current.take() else { return false };
        session.cancelled.extend(held);
        self.engine.cancel(request);
        session.model.cancel();
        true
    }

    /// The device completes a request, is stopped right after the wake, and the session polls at that point. An engine
    /// that stores its result only after the wake has none yet, as if the session's thread had been faster.
    ///
    /// A plain completion if the engine completes on another thread.
    fn interrupt(&mut self, index: usize) -> Checked<bool> {
        interrupt::arm();
        let settled = quiet::catch(|| self.settle(index, Ending::Done));
        let has_struck = interrupt::has_struck();
        match settled {
            Ok(settled) if !has_struck => return settled,
            // The engine has caught the unwinding.
            Ok(_) => {}
            Err(payload) if interrupt::is_payload(&*payload) => {}
            Err(payload) => resume_unwind(payload),
        }
        self.is_over = true;
        let session = &mut self.sessions[index];
        session.model.settle(Ending::Done);
        let (tag, request) = session.current.as_mut().expect("a request was completed");
        let saw = match quiet::catch(|| self.engine.poll(request)) {
            Ok(Poll::Ready(Ok(result))) if result == *tag => return Ok(true),
            Ok(polled) => format!("got {polled:?}"),
            Err(payload) => format!("panicked: {}", quiet::message(&*payload)),
        };
        Err(format!(
            "L3: the result was stored after the wake: session {index} polled as soon as it was woken and {saw}"
        ))
    }

    /// The device completes or fails a request that it holds.
    fn settle(&mut self, index: usize, outcome: Ending) -> Checked<bool> {
        let session = &mut self.sessions[index];
        let Some(tag) = session.tag_in(RequestPhase::Submitted) else { return Ok(false) };
        if !may_end(self.engine.order(), &self.held, tag) {
            return Ok(false);
        }
        let event = match outcome {
            Ending::Done => DeviceEvent::Complete(tag),
            Ending::Failed => DeviceEvent::Fail(tag),
        };
        if !self.engine.device(event) {
            return Err(format!(
                "L2: the device does not know the request of session {index}, which it accepted"
            ));
        }
        session.model.settle(outcome);
        session.finished = Some(tag);
        self.held.retain(|held| *held != tag);
        Ok(true)
    }

    /// The device completes the oldest request that the session has cancelled.
    fn late(&mut self, index: usize) -> bool {
        let (order, cancelled) = (self.engine.order(), &mut self.sessions[index].cancelled);
        let Some(&tag) = cancelled.front() else { return false };
        if !may_end(order, &self.held, tag) {
            return false;
        }
        cancelled.pop_front();
        self.held.retain(|held| *held != tag);
        // A device that had dropped it can now end the next one, which counts as an effect.
        self.engine.device(DeviceEvent::Complete(tag)) || order == Order::Submission
    }

    fn room(&mut self) -> bool {
        if !std::mem::take(&mut self.full) {
            return false;
        }
        self.engine.device(DeviceEvent::Room);
        let on_full = self.engine.on_full();
        let mut taken = Vec::new();
        for session in &mut self.sessions {
            if let Some(tag) = session.tag_in(RequestPhase::Queued) {
                match on_full {
                    FullPolicy::Queue => {
                        session.model.accept();
                        taken.push(tag);
                    }
                    FullPolicy::Notify => session.model.retry(),
                }
            }
        }
        self.taken += taken.len() as u64;
        // The oldest request is taken first (L13).
        taken.sort_unstable();
        self.held.extend(taken);
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
        self.step(ScriptStep::Room)?;
        // Each round ends at least the oldest request that the device holds.
        while self.sessions.iter().any(|s| s.current.is_some() || !s.cancelled.is_empty()) {
            for session in 0..ScriptStep::N_SESSIONS {
                self.step(ScriptStep::Poll(session))?;
                self.step(ScriptStep::Complete(session))?;
                self.step(ScriptStep::Poll(session))?;
                self.step(ScriptStep::Late(session))?;
            }
        }
        self.coverage.wakes = self.sessions.iter().map(|session| session.model.wakes()).sum();
        Ok(())
    }
}

/// Whether the device may end this request now.
fn may_end(order: Order, held: &VecDeque<Tag>, tag: Tag) -> bool {
    order == Order::Any || held.front() == Some(&tag)
}
