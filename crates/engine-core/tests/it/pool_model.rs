//! What a pool of threads behind an engine ought to do with everything that a key has switched on: a bounded queue, deadlines,
//! attempts, breakers, a standby, threads that get stuck, and callers that hang up. A model without threads;
//! [`pool_machine`](crate::pool_machine) holds the real ones against it.
//!
//! Time passes in steps that leave no choice: the pauses of attempts, which have jitter, end between two of them, and deadlines
//! never fall together with what threads do at the same moment. It is one long file, because each event is judged by all of the state.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

pub(crate) const N_SLOTS: usize = 8;
pub(crate) const THREADS: usize = 2;
pub(crate) const RING: usize = 1;
pub(crate) const BOUND: usize = 2;
pub(crate) const ATTEMPTS: u32 = 3;
pub(crate) const REPLACEMENTS: usize = 2;
pub(crate) const FAILURES: u32 = 3;
pub(crate) const PAUSE: u64 = 500;
/// Half a step beside the times at which everything else happens.
pub(crate) const DEADLINE: u64 = 1_100;
pub(crate) const STUCK: u64 = 5_000;
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(120);
/// A step is two of these.
pub(crate) const HALF: u64 = 100;
/// Longer than anything may take.
pub(crate) const LONG: u64 = 10_000;

/// How a device ends a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Right,
    Wrong,
    Transient,
    RetryAfter,
    Permanent,
    Panic,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Submit(usize),
    /// A thread ends its call, counted from the oldest.
    Answer(usize, Said),
    AnswerStandby(usize, Said),
    HangUp(usize),
    Advance,
    /// So much time that every thread in a call is stuck.
    AdvanceLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Right,
    Invalid,
    Failed(Said),
    Deadline,
    ShutOff,
    QueueFull,
}

/// The result of a submission that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    QueueFull,
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Device,
    Standby,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    slot: usize,
    on: On,
    deadline: u64,
    /// On each device.
    attempts: [u32; 2],
    /// Its deadline has counted against the device that has it: an error that follows does not.
    deadline_counted: bool,
    /// It has no caller any more, or its caller has an outcome.
    is_settled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    n: u64,
    /// When the engine first looked at it.
    seen: Option<u64>,
    is_stuck: bool,
    is_replaced: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) late: u64,
    pub(crate) deadlines: u64,
    pub(crate) attempts_again: u64,
    pub(crate) fallbacks: u64,
    pub(crate) check_failures: u64,
    pub(crate) trips: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        until: u64,
    },
    /// Since when the probe is out, and which request it is.
    HalfOpen {
        probe: Option<(u64, u64)>,
    },
}

impl Breaker {
    fn admit(&mut self, now: u64, n: u64) -> bool {
        let is_shut = match *self {
            Self::Closed { .. } => return true,
            Self::Open { until } => now < until,
            Self::HalfOpen { probe } => probe.is_some_and(|(since, _)| now < since + PAUSE),
        };
        if !is_shut {
            *self = Self::HalfOpen { probe: Some((now, n)) };
        }
        !is_shut
    }

    /// No answer to this request will come: another may be the probe.
    fn forget(&mut self, n: u64) {
        if let Self::HalfOpen { probe } = self {
            *probe = probe.filter(|(_, other)| *other != n);
        }
    }

    fn is_open(self, now: u64) -> bool {
        matches!(self, Self::Open { until } if now < until)
    }

    /// True if it opens.
    fn note(&mut self, now: u64, ended: Result<(), bool>) -> bool {
        match (ended, *self) {
            // An answer closes it, whatever it is.
            (Ok(()), Self::Closed { .. }) | (Ok(()) | Err(false), Self::HalfOpen { .. }) => {
                *self = Self::Closed { failures: 0 };
                false
            }
            (Err(true), Self::Closed { failures }) if failures + 1 < FAILURES => {
                *self = Self::Closed { failures: failures + 1 };
                false
            }
            (Err(true), Self::Closed { .. } | Self::HalfOpen { .. }) => {
                *self = Self::Open { until: now + PAUSE };
                true
            }
            _ => false,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    requests: Vec<Request>,
    /// The number of the request of each, and its outcome.
    pub(crate) slots: [Option<(u64, Option<Ended>)>; N_SLOTS],
    backlog: VecDeque<u64>,
    ring: VecDeque<u64>,
    calls: Vec<Call>,
    standby: Vec<u64>,
    /// What waits for another attempt, and whether that is due in half a step or in a whole one.
    later: [Vec<(u64, u64)>; 2],
    pub(crate) breakers: [Option<Breaker>; 2],
    /// Requests without an outcome by their places, which are used again: the last one freed first.
    registry: Vec<Option<u64>>,
    free: Vec<usize>,
    pub(crate) counts: Counts,
    pub(crate) refusal: Option<Refusal>,
    /// The request that the last step has answered, and whether its thread ends with it.
    pub(crate) answered: Option<(u64, bool)>,
    /// How it was in the middle of the last step, if that was one of time.
    pub(crate) between: Option<Box<Self>>,
}

impl Model {
    /// The requests in a call, oldest first.
    pub(crate) fn calls(&self) -> impl Iterator<Item = u64> {
        self.calls.iter().map(|call| call.n)
    }

    pub(crate) fn n_stuck(&self) -> usize {
        self.calls.iter().filter(|call| call.is_stuck).count()
    }

    fn request(&mut self, n: u64) -> &mut Request {
        &mut self.requests[n as usize]
    }

    fn breaker(&mut self, on: On) -> &mut Breaker {
        self.breakers[on as usize].get_or_insert(Breaker::Closed { failures: 0 })
    }

    fn admits(&mut self, on: On, n: u64) -> bool {
        let now = self.now;
        self.breaker(on).admit(now, n)
    }

    fn is_over(&self, n: u64, on: On) -> bool {
        let request = self.requests[n as usize];
        request.is_settled || on == On::Device && request.on == On::Standby
    }

    fn submit(&mut self, slot: usize) {
        self.refusal = None;
        let n = self.requests.len() as u64;
        let on = if self.admits(On::Device, n) {
            On::Device
        } else if self.admits(On::Standby, n) {
            self.counts.fallbacks += 1;
            On::Standby
        } else {
            return self.refuse(Refusal::Unavailable);
        };
        let deadline = self.now + DEADLINE;
        let request = Request {
            slot,
            on,
            deadline,
            attempts: [0; 2],
            deadline_counted: false,
            is_settled: false,
        };
        self.requests.push(request);
        let place = self.free.pop().unwrap_or_else(|| {
            self.registry.push(None);
            self.registry.len() - 1
        });
        self.registry[place] = Some(n);
        self.slots[slot] = Some((n, None));
        match on {
            On::Standby => self.give_standby(n),
            On::Device if self.enter(n) => {}
            On::Device if self.admits(On::Standby, n) => self.hand_over(n),
            On::Device => {
                self.slots[slot] = None;
                self.settle(n);
                return self.refuse(Refusal::QueueFull);
            }
        }
        self.counts.submitted += 1;
    }

    fn refuse(&mut self, why: Refusal) {
        self.counts.refused += 1;
        self.refusal = Some(why);
    }

    /// Gives a request to the pool or its queue. False if that is full.
    fn enter(&mut self, n: u64) -> bool {
        if self.backlog.is_empty() && self.ring.len() < RING {
            self.counts.accepted += 1;
            self.ring.push_back(n);
        } else if self.backlog.len() < BOUND {
            self.backlog.push_back(n);
        } else {
            return false;
        }
        self.work();
        true
    }

    /// Free threads take what is on the ring, and what is in the queue gets its place.
    fn work(&mut self) {
        loop {
            let n_working = self.calls.iter().filter(|call| !call.is_replaced).count();
            if n_working < THREADS
                && let Some(n) = self.ring.pop_front()
            {
                if self.requests[n as usize].is_settled {
                    self.counts.late += 1;
                    self.breaker(On::Device).forget(n);
                } else {
                    self.calls.push(Call { n, seen: None, is_stuck: false, is_replaced: false });
                }
            } else if self.breakers[On::Device as usize].is_some_and(|it| it.is_open(self.now))
                && let Some(n) = self.backlog.pop_front()
            {
                self.fall_back(n, Ended::ShutOff);
            } else if self.ring.len() < RING
                && let Some(n) = self.backlog.pop_front()
            {
                self.counts.accepted += 1;
                self.ring.push_back(n);
            } else {
                return;
            }
        }
    }

    fn give_standby(&mut self, n: u64) {
        self.counts.accepted += 1;
        self.standby.push(n);
    }

    /// The standby has it from now on.
    fn hand_over(&mut self, n: u64) {
        let deadline = self.now + DEADLINE;
        let request = self.request(n);
        (request.on, request.deadline) = (On::Standby, deadline);
        self.counts.fallbacks += 1;
        self.withdraw(n);
        self.give_standby(n);
    }

    fn fall_back(&mut self, n: u64, ended: Ended) {
        if self.admits(On::Standby, n) {
            self.hand_over(n);
        } else {
            self.end(n, ended);
        }
    }

    /// Takes a request out of all queues, where no answer to it will come from.
    fn withdraw(&mut self, n: u64) {
        let waits = |(waits, _): &(u64, u64)| *waits == n;
        for on in [On::Device, On::Standby] {
            let is_queued = on == On::Device && self.backlog.contains(&n);
            if is_queued || self.later[on as usize].iter().any(waits) {
                self.breaker(on).forget(n);
            }
        }
        self.backlog.retain(|waits| *waits != n);
        self.later.iter_mut().for_each(|later| later.retain(|(waits, _)| *waits != n));
    }

    fn settle(&mut self, n: u64) {
        self.request(n).is_settled = true;
        if let Some(place) = self.registry.iter().position(|other| *other == Some(n)) {
            self.registry[place] = None;
            self.free.push(place);
        }
        self.withdraw(n);
    }

    fn end(&mut self, n: u64, ended: Ended) {
        let is_right = ended == Ended::Right;
        self.counts.completed += u64::from(is_right);
        self.counts.failed += u64::from(!is_right);
        let slot = self.request(n).slot;
        self.slots[slot] = Some((n, Some(ended)));
        self.settle(n);
    }

    /// Reports to a breaker; what the device holds moves to the standby when its breaker opens.
    fn note(&mut self, on: On, ended: Result<(), bool>) {
        let now = self.now;
        if !self.breaker(on).note(now, ended) {
            return;
        }
        self.counts.trips += 1;
        if on == On::Device {
            for n in self.registry.clone().into_iter().flatten() {
                self.rescue(n);
            }
        }
    }

    fn rescue(&mut self, n: u64) -> bool {
        let rescued = !self.is_over(n, On::Device) && self.admits(On::Standby, n);
        if rescued {
            self.hand_over(n);
        }
        rescued
    }

    fn answer(&mut self, on: On, n: u64, said: Said) {
        if self.requests[n as usize].is_settled {
            self.counts.late += 1;
            self.breaker(on).forget(n);
            return;
        }
        let ended = match said {
            Said::Right => Ended::Right,
            Said::Wrong => Ended::Invalid,
            other => Ended::Failed(other),
        };
        self.counts.check_failures += u64::from(said == Said::Wrong);
        let is_tried = matches!(self.breaker(on), Breaker::HalfOpen { .. });
        let counts = on == On::Standby || !self.requests[n as usize].deadline_counted;
        match said {
            Said::Right => self.note(on, Ok(())),
            Said::Permanent => self.note(on, Err(false)),
            // It has answered.
            Said::RetryAfter if counts => self.note(on, Err(!is_tried)),
            _ if counts => self.note(on, Err(true)),
            _ => {}
        }
        if said == Said::Right {
            return self.end(n, ended);
        }
        if !self.is_over(n, on) {
            let attempts = &mut self.request(n).attempts[on as usize];
            *attempts += 1;
            let after = match said {
                Said::Transient | Said::Panic => Some(HALF),
                Said::RetryAfter => Some(2 * HALF),
                _ => None,
            };
            let is_last = *attempts >= ATTEMPTS;
            let now = self.now;
            // A pause of half a step is over before any deadline, one of a whole step may not be.
            let in_time = |after| after == HALF || now + HALF < self.requests[n as usize].deadline;
            if let Some(after) = after.filter(|after| !is_last && in_time(*after))
                && !self.breaker(on).is_open(now)
            {
                self.counts.attempts_again += 1;
                self.later[on as usize].push((n, now + after));
                return;
            }
        }
        match on {
            On::Standby => self.end(n, ended),
            On::Device if self.requests[n as usize].on == On::Standby => self.counts.late += 1,
            On::Device => self.fall_back(n, ended),
        }
    }

    fn advance(&mut self, by: u64) {
        self.now += by;
        let now = self.now;
        // The pool looks at its threads.
        for at in 0..self.calls.len() {
            let n_replaced = self.calls.iter().filter(|call| call.is_replaced).count();
            let call = &mut self.calls[at];
            let seen = *call.seen.get_or_insert(now);
            if !call.is_stuck && now >= seen + STUCK {
                call.is_stuck = true;
                call.is_replaced = n_replaced < REPLACEMENTS;
            }
        }
        self.work();
        // The engine looks at its deadlines.
        loop {
            let places = self.registry.iter().enumerate();
            let due = places.filter_map(|(place, n)| {
                let deadline = self.requests[(*n)? as usize].deadline;
                (deadline <= now).then_some((deadline, place))
            });
            let Some((_, place)) = due.min() else { break };
            self.expire(self.registry[place].expect("it is due"));
        }
        for on in [On::Device, On::Standby] {
            let is_due = |(_, at): &mut (u64, u64)| *at <= now;
            let due: Vec<_> = self.later[on as usize].extract_if(.., is_due).collect();
            for (n, _) in due {
                self.attempt(on, n);
            }
        }
        self.work();
        // What begins meanwhile is seen the next time, at the latest.
        for call in &mut self.calls {
            call.seen.get_or_insert(now);
        }
    }

    fn expire(&mut self, n: u64) {
        self.counts.deadlines += 1;
        let on = self.requests[n as usize].on;
        let waits =
            self.backlog.contains(&n) || self.later.iter().flatten().any(|(waits, _)| *waits == n);
        if !self.rescue(n) {
            self.end(n, Ended::Deadline);
        }
        if !waits {
            self.request(n).deadline_counted = on == On::Device;
            self.note(on, Err(true));
        }
    }

    fn attempt(&mut self, on: On, n: u64) {
        if !self.admits(on, n) {
            match on {
                On::Device => self.fall_back(n, Ended::ShutOff),
                On::Standby => self.end(n, Ended::ShutOff),
            }
        } else if on == On::Standby {
            self.give_standby(n);
        } else if !self.enter(n) {
            self.fall_back(n, Ended::QueueFull);
        }
    }

    fn hang_up(&mut self, slot: usize) {
        if let Some((n, None)) = self.slots[slot].take() {
            self.counts.cancelled += 1;
            self.settle(n);
        }
    }

    /// Whether one more attempt can wait on a device without a doubt which comes first.
    fn may_wait(&self, on: On, said: Said) -> bool {
        let at = match said {
            Said::Transient | Said::Panic => self.now + HALF,
            Said::RetryAfter => self.now + 2 * HALF,
            _ => return true,
        };
        self.later[on as usize].iter().all(|(_, other)| *other != at)
    }
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        5 => Just(Said::Right),
        1 => Just(Said::Wrong),
        3 => Just(Said::Transient),
        2 => Just(Said::RetryAfter),
        1 => Just(Said::Permanent),
        1 => Just(Said::Panic),
    ]
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        prop_oneof![
            40 => (0..N_SLOTS).prop_map(Step::Submit),
            25 => (0..THREADS + REPLACEMENTS, said()).prop_map(|(nth, said)| Step::Answer(nth, said)),
            12 => (0..4usize, said()).prop_map(|(nth, said)| Step::AnswerStandby(nth, said)),
            15 => (0..N_SLOTS).prop_map(Step::HangUp),
            14 => Just(Step::Advance),
            3 => Just(Step::AdvanceLong),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match *step {
            Step::Submit(slot) => state.slots[slot].is_none(),
            Step::HangUp(slot) => state.slots[slot].is_some(),
            Step::Answer(nth, said) => nth < state.calls.len() && state.may_wait(On::Device, said),
            Step::AnswerStandby(nth, said) => {
                nth < state.standby.len()
                    && !matches!(said, Said::Wrong | Said::Panic)
                    && state.may_wait(On::Standby, said)
            }
            // No thread becomes stuck at a time that is not the model's choice.
            Step::Advance => state.calls.iter().all(|call| {
                call.is_stuck || call.seen.is_none_or(|seen| state.now + 4 * HALF < seen + STUCK)
            }),
            // Nothing waits for a thread that another is put in the place of, or for a deadline at the same time.
            Step::AdvanceLong => {
                let is_new = |call: &&Call| !call.is_stuck;
                let n_new = state.calls.iter().filter(is_new).count();
                let n_replaced = state.calls.iter().filter(|call| call.is_replaced).count();
                state.ring.is_empty()
                    && state.backlog.is_empty()
                    && (n_replaced == REPLACEMENTS || n_replaced + n_new <= REPLACEMENTS)
            }
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        // What has ended was collected.
        for slot in &mut state.slots {
            slot.take_if(|(_, ended)| ended.is_some());
        }
        match *step {
            Step::Submit(slot) => state.submit(slot),
            Step::Answer(nth, said) => {
                let call = state.calls.remove(nth);
                state.answered = Some((call.n, call.is_replaced));
                state.answer(On::Device, call.n, said);
                // What waits may get room before this thread is free.
                state.calls.insert(nth, call);
                state.work();
                state.calls.remove(nth);
                state.work();
            }
            Step::AnswerStandby(nth, said) => {
                let n = state.standby.remove(nth);
                state.answered = Some((n, false));
                state.answer(On::Standby, n, said);
            }
            Step::HangUp(slot) => state.hang_up(slot),
            Step::Advance => {
                state.advance(HALF);
                state.between = Some(Box::new(Self { between: None, ..state.clone() }));
                state.advance(HALF);
            }
            Step::AdvanceLong => {
                // So that every call has been seen.
                state.advance(0);
                state.advance(LONG);
            }
        }
        state
    }
}
