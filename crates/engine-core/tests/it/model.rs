//! What an engine over a [`Manual`](crate::support::Manual) device ought to do: a model without threads, fibers or
//! atomics. [`machine`](crate::machine) holds the engine against it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use crate::support::Answer;

pub(crate) const N_SLOTS: usize = 4;
pub(crate) const RING: usize = 2;
pub(crate) const BOUND: usize = 3;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// A job, which pauses.
    Job,
    /// A future, polled at once or not before the first [`Step::Resume`].
    Future { polled: bool },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Submit {
    pub(crate) slot: usize,
    pub(crate) kind: usize,
    pub(crate) how: How,
    pub(crate) must_check: bool,
    /// The device answers so before the submission has returned.
    pub(crate) early: Option<Answer>,
    /// In milliseconds.
    pub(crate) deadline: Option<u64>,
    /// The options name the standby.
    pub(crate) fallback: bool,
}

/// One step of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Submit(Submit),
    /// The device ends a request on its ring.
    Answer {
        kind: usize,
        index: usize,
        answer: Answer,
    },
    /// The standby ends one of its requests, counted from the oldest.
    AnswerStandby {
        nth: usize,
        answer: Answer,
    },
    /// This number of milliseconds passes.
    Advance(u64),
    /// The caller polls for the result, woken or not.
    Resume(usize),
    /// The caller is dropped.
    Cancel(usize),
    /// The device says that its rings are full, or stops saying so.
    Stick(bool),
    Poll,
    Close,
}

/// How a request ended, as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Right,
    /// With a wrong result that no check was due for.
    Unchecked,
    Invalid,
    Failed,
    Lost,
    Deadline,
}

impl Ended {
    fn of(answer: Answer, must_check: bool) -> Self {
        match answer {
            Answer::Right => Self::Right,
            Answer::Wrong if must_check => Self::Invalid,
            Answer::Wrong => Self::Unchecked,
            Answer::Fail => Self::Failed,
            Answer::Drop => Self::Lost,
        }
    }

    pub(crate) fn is_ok(self) -> bool {
        matches!(self, Self::Right | Self::Unchecked)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) n: u64,
    pub(crate) must_check: bool,
    /// Who waits for it.
    pub(crate) slot: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) n: u64,
    pub(crate) how: How,
    /// The next completion wakes.
    pub(crate) armed: bool,
    pub(crate) ended: Option<Ended>,
    /// How long it may take on each device.
    budget: Option<u64>,
    /// When it is over.
    deadline: Option<u64>,
    fallback: bool,
    on_standby: bool,
}

/// What should have been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    pub(crate) accepted: u64,
    pub(crate) queued: u64,
    pub(crate) refused: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) late: u64,
    pub(crate) uncollected: u64,
    pub(crate) checked: u64,
    pub(crate) check_failures: u64,
    pub(crate) wakes: u64,
    pub(crate) resumes: u64,
    pub(crate) spurious_resumes: u64,
    pub(crate) deadlines: u64,
    pub(crate) fallbacks: u64,
    /// Results collected by callers.
    pub(crate) delivered: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) next: u64,
    pub(crate) slots: [Option<Session>; N_SLOTS],
    pub(crate) rings: [Vec<Entry>; 2],
    pub(crate) queues: [Vec<Entry>; 2],
    /// Oldest first; it has room for all.
    pub(crate) standby: Vec<Entry>,
    /// In milliseconds.
    pub(crate) now: u64,
    pub(crate) stuck: bool,
    pub(crate) closed: bool,
    pub(crate) counts: Counts,
    /// The request whose outcome was collected last.
    pub(crate) collected: Option<(u64, Ended)>,
}

impl Model {
    pub(crate) fn n_queued(&self) -> usize {
        self.queues.iter().map(Vec::len).sum()
    }

    pub(crate) fn n_requests(&self) -> usize {
        let uncollected = self.slots.iter().flatten().filter(|session| session.ended.is_some());
        let held = self.rings.iter().chain(&self.queues).flatten().chain(&self.standby);
        let all: BTreeSet<u64> =
            held.map(|entry| entry.n).chain(uncollected.map(|s| s.n)).collect();
        all.len()
    }

    /// Results that wait to be collected.
    pub(crate) fn n_held(&self) -> usize {
        let ended = self.slots.iter().flatten().filter_map(|session| session.ended);
        ended.filter(|ended| ended.is_ok()).count()
    }

    pub(crate) fn is_queued(&self, n: u64) -> bool {
        self.queues.iter().flatten().any(|entry| entry.n == n)
    }

    fn has_room(&self, kind: usize) -> bool {
        !self.stuck && self.rings[kind].len() < RING
    }

    fn submit(&mut self, submit: Submit) {
        let n = self.next;
        self.next += 1;
        let entry = Entry { n, must_check: submit.must_check, slot: Some(submit.slot) };
        let waits = self.n_queued() > 0 || !self.has_room(submit.kind);
        let swamped = submit.early.is_none() && waits && self.queues[submit.kind].len() == BOUND;
        if self.closed || swamped && !submit.fallback {
            self.counts.refused += 1;
            return;
        }
        self.counts.submitted += 1;
        self.slots[submit.slot] = Some(Session {
            n,
            how: submit.how,
            armed: false,
            ended: None,
            budget: submit.deadline,
            deadline: submit.deadline.map(|budget| self.now + budget),
            fallback: submit.fallback,
            on_standby: false,
        });
        if let Some(answer) = submit.early {
            self.counts.accepted += 1;
            self.end(true, entry, answer);
        } else if swamped {
            let deadline = self.session(submit.slot).deadline;
            self.fall_back(entry);
            self.session(submit.slot).deadline = deadline;
        } else if waits {
            self.counts.queued += 1;
            self.queues[submit.kind].push(entry);
            self.pump();
        } else {
            self.counts.accepted += 1;
            self.rings[submit.kind].push(entry);
        }
        if submit.how != (How::Future { polled: false }) {
            // Only now may a caller be armed.
            if self.session(submit.slot).ended.is_some() {
                self.collect(submit.slot);
            } else {
                self.session(submit.slot).armed = true;
            }
        }
    }

    fn fall_back(&mut self, entry: Entry) {
        let now = self.now;
        let session = self.session(entry.slot.expect("a slot with a caller"));
        session.on_standby = true;
        session.deadline = session.budget.map(|budget| now + budget);
        self.standby.push(entry);
        self.standby.sort_by_key(|entry| entry.n);
        self.counts.fallbacks += 1;
        self.counts.accepted += 1;
    }

    /// The caller of `n` is gone: a request that has not reached a device is dropped, the answer to another is late.
    fn disown(&mut self, n: u64) {
        for queue in &mut self.queues {
            queue.retain(|entry| entry.n != n);
        }
        let held = self.rings.iter_mut().flatten().chain(&mut self.standby);
        held.filter(|entry| entry.n == n).for_each(|entry| entry.slot = None);
    }

    fn expire(&mut self) {
        for slot in 0..N_SLOTS {
            let now = self.now;
            let Some(session) = &mut self.slots[slot] else { continue };
            let due = session.ended.is_none() && session.deadline.is_some_and(|at| at <= now);
            if !due {
                continue;
            }
            session.deadline = None;
            let Session { n, fallback, on_standby, .. } = *session;
            self.counts.deadlines += 1;
            if fallback && !on_standby {
                let held = self.rings.iter().chain(&self.queues).flatten();
                let entry = *held.clone().find(|entry| entry.n == n).expect("somewhere");
                for queue in &mut self.queues {
                    queue.retain(|entry| entry.n != n);
                }
                self.fall_back(entry);
            } else {
                self.disown(n);
                self.settle(slot, Ended::Deadline);
            }
        }
    }

    fn settle(&mut self, slot: usize, ended: Ended) {
        self.counts.completed += u64::from(ended.is_ok());
        self.counts.failed += u64::from(!ended.is_ok());
        let session = self.session(slot);
        session.ended = Some(ended);
        let woken = std::mem::take(&mut session.armed);
        self.counts.wakes += u64::from(woken);
    }

    fn session(&mut self, slot: usize) -> &mut Session {
        self.slots[slot].as_mut().expect("a session that waits")
    }

    fn pump(&mut self) {
        for kind in 0..2 {
            while self.has_room(kind) && !self.queues[kind].is_empty() {
                let entry = self.queues[kind].remove(0);
                self.rings[kind].push(entry);
                self.counts.accepted += 1;
            }
        }
    }

    fn end(&mut self, by_device: bool, entry: Entry, answer: Answer) {
        let Some(slot) = entry.slot else {
            self.counts.late += 1;
            return;
        };
        let ended = Ended::of(answer, entry.must_check);
        self.counts.checked +=
            u64::from(entry.must_check && matches!(answer, Answer::Right | Answer::Wrong));
        self.counts.check_failures += u64::from(ended == Ended::Invalid);
        let session = *self.session(slot);
        if by_device && !ended.is_ok() && session.fallback {
            if session.on_standby {
                self.counts.late += 1;
            } else {
                self.fall_back(entry);
            }
            return;
        }
        self.disown(entry.n);
        self.settle(slot, ended);
    }

    fn collect(&mut self, slot: usize) {
        let session = self.slots[slot].take().expect("a session that waits");
        let ended = session.ended.expect("an outcome");
        self.counts.delivered += u64::from(ended.is_ok());
        self.collected = Some((session.n, ended));
    }

    fn resume(&mut self, slot: usize) {
        let Some(session) = self.slots[slot] else { return };
        if session.how == How::Job {
            self.counts.resumes += 1;
        }
        if session.ended.is_some() {
            self.collect(slot);
        } else {
            if session.how == How::Job {
                self.counts.spurious_resumes += 1;
            }
            self.session(slot).armed = true;
        }
    }

    fn cancel(&mut self, slot: usize) {
        let Some(session) = self.slots[slot].take() else { return };
        match session.ended {
            Some(_) => self.counts.uncollected += 1,
            None => {
                self.counts.cancelled += 1;
                self.disown(session.n);
            }
        }
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Right),
        2 => Just(Answer::Wrong),
        1 => Just(Answer::Fail),
        1 => Just(Answer::Drop),
    ]
}

fn submit() -> impl Strategy<Value = Submit> {
    let how = prop_oneof![
        3 => Just(How::Job),
        1 => any::<bool>().prop_map(|polled| How::Future { polled }),
    ];
    let early = prop_oneof![5 => Just(None), 1 => answer().prop_map(Some)];
    let options = (prop::option::weighted(0.3, 1..10u64), prop::bool::weighted(0.3));
    (0..N_SLOTS, 0..2usize, how, any::<bool>(), early, options).prop_map(
        |(slot, kind, how, must_check, early, (deadline, fallback))| Submit {
            slot,
            kind,
            how,
            must_check,
            early,
            deadline,
            fallback,
        },
    )
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        prop_oneof![
            40 => submit().prop_map(Step::Submit),
            25 => (0..2usize, 0..RING, answer())
                .prop_map(|(kind, index, answer)| Step::Answer { kind, index, answer }),
            8 => (0..N_SLOTS, answer()).prop_map(|(nth, answer)| Step::AnswerStandby { nth, answer }),
            8 => (1..8u64).prop_map(Step::Advance),
            25 => (0..N_SLOTS).prop_map(Step::Resume),
            10 => (0..N_SLOTS).prop_map(Step::Cancel),
            6 => any::<bool>().prop_map(Step::Stick),
            4 => Just(Step::Poll),
            1 => Just(Step::Close),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match *step {
            // A device that answers at once does so for those before it in the queue, too: another script.
            Step::Submit(submit) => {
                state.slots[submit.slot].is_none()
                    && (submit.early.is_none() || state.n_queued() == 0 && !state.stuck)
            }
            Step::Answer { kind, index, .. } => index < state.rings[kind].len(),
            Step::Resume(slot) | Step::Cancel(slot) => state.slots[slot].is_some(),
            Step::Stick(stuck) => state.stuck != stuck,
            Step::AnswerStandby { nth, .. } => nth < state.standby.len(),
            Step::Poll | Step::Close | Step::Advance(_) => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        match *step {
            Step::Submit(submit) => state.submit(submit),
            Step::Answer { kind, index, answer } => {
                let entry = state.rings[kind].remove(index);
                state.end(true, entry, answer);
                state.pump();
            }
            Step::AnswerStandby { nth, answer } => {
                let entry = state.standby.remove(nth);
                state.end(false, entry, answer);
            }
            Step::Advance(by) => {
                state.now += by;
                state.expire();
                state.pump();
            }
            Step::Resume(slot) => state.resume(slot),
            Step::Cancel(slot) => state.cancel(slot),
            Step::Stick(stuck) => state.stuck = stuck,
            Step::Poll => state.pump(),
            Step::Close => state.closed = true,
        }
        state
    }
}
