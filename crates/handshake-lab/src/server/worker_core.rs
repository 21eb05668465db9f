//! The core of a worker: its sessions, and the order in which they continue. It has no socket and no clock.
//!
//! A driver feeds it: readiness of transports, new sessions, the end; [`worker`](super::worker) does with a poller in
//! real time, the stepped worker with a calendar in virtual time. Completions come by the ready queue.
//!
//! The policy: completions before new work, for their stacks and sessions are the ones still warm; and only a few new
//! handshakes a turn, so that a flood of them does not starve those under way. The file is long because every turn of a
//! session goes through this one order.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use job_core::{JobPool, PoolStats};
use wait_ctx::{ReadyQueue, ReadySender, Route, Token, contain};

use super::{
    limits::{Alarms, Limits},
    phase::{Cause, Milestone, Phase, SessionProgress},
    service::LiveCounters,
    session::{Charge, Session},
    slots::Slots,
    tally::{SessionTally, WorkerReport},
};
use crate::plant::{self, Bug};

/// Sessions accepted and handshakes begun in one turn of a driver's loop. Small, so that a worker that blocks in each
/// finishes those under way before it begins too many; large enough that a turn's poll is shared.
pub(crate) const NEW_A_TURN: usize = 8;

/// The part of the server's plan that a core needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Every n-th session that parks is resumed once more without a wake (law L2).
    pub(crate) unprompted_every: Option<u64>,
    /// No wake is asked for: parked sessions are called again until they are done.
    pub(crate) polls: bool,
    /// How long sessions may wait for their peers.
    pub(crate) limits: Limits,
}

/// How often parked sessions are called again where nothing wakes them.
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(1);

/// The sessions of one worker. They stay on its thread, for their jobs do.
#[derive(Debug)]
pub(crate) struct Core<S, C: Charge> {
    pool: JobPool,
    ready: ReadyQueue,
    sender: ReadySender,
    sessions: Slots<Held<S, C::Tariff>>,
    /// How many of them are parked.
    parked: usize,
    /// Sessions whose first bytes have arrived and have not been read.
    fresh: VecDeque<usize>,
    /// Sessions that wait for a job.
    starved: VecDeque<usize>,
    /// Jobs that have ended, for whatever reason, since a waiting session last got one.
    jobs_freed: usize,
    draining: bool,
    policy: Policy,
    /// When to look after sessions that wait for their peers.
    alarms: Alarms,
    /// The time, as the driver last said it.
    now: Duration,
    live: Arc<LiveCounters>,
    /// Kept between drains so that one allocates nothing.
    tokens: Vec<Token>,
    charge: C,
    report: WorkerReport,
}

/// A session and what the core keeps of it.
#[derive(Debug)]
struct Held<S, T> {
    session: S,
    tariff: T,
    tally: SessionTally,
    /// Whether its first bytes have arrived.
    begun: bool,
    /// Whether it waits for a free job.
    starved: bool,
    /// Whether it is counted among the parked.
    parked: bool,
    /// Up to where its time has been charged.
    charged: Milestone,
    phase: Phase,
    due: Option<Duration>,
    /// ... and when it is looked at next, which is then or before.
    alarm: Option<Duration>,
}

impl<S: Session, C: Charge> Core<S, C> {
    /// The core of a worker whose completions come by `ready`.
    pub(crate) fn new(
        pool: JobPool,
        ready: ReadyQueue,
        live: Arc<LiveCounters>,
        policy: Policy,
        charge: C,
    ) -> Self {
        let sender = ready.sender();
        let report = WorkerReport { pool: pool.stats(), ..WorkerReport::default() };
        Self {
            pool,
            ready,
            sender,
            sessions: Slots::new(),
            parked: 0,
            fresh: VecDeque::new(),
            starved: VecDeque::new(),
            jobs_freed: 0,
            draining: false,
            policy,
            alarms: Alarms::default(),
            now: Duration::ZERO,
            live,
            tokens: Vec::new(),
            charge,
            report,
        }
    }

    /// Takes up a new session, made by `make` with its key, the job pool and the route of its wakes, if it is to have
    /// any.
    pub(crate) fn welcome(
        &mut self,
        now: Duration,
        tariff: C::Tariff,
        make: impl FnOnce(usize, &JobPool, Option<Route>) -> Option<S>,
    ) -> Option<usize> {
        self.report.accepted += 1;
        self.now = now;
        let (pool, sender, polls) = (&self.pool, &self.sender, self.policy.polls);
        let inserted = self.sessions.insert_with(|key| {
            let route = (!polls).then(|| Route::Ready(sender.clone(), Token(key)));
            let session = make(key, pool, route)?;
            let tally = SessionTally::default();
            Some(Held {
                session,
                tariff,
                tally,
                begun: false,
                starved: false,
                parked: false,
                charged: Milestone::Accepted,
                phase: Phase::Handshake,
                due: None,
                alarm: None,
            })
        });
        if inserted.is_some() {
            self.live.opened();
        } else {
            self.report.failed += 1;
            self.live.failure(Cause::Other);
            *self.report.failures.entry("no session could be made".to_owned()).or_default() += 1;
        }
        if let Some(key) = inserted {
            self.begin_wait(key);
            if self.draining {
                self.drain_one(key);
            }
        }
        inserted
    }

    /// The driver's clock. Waits that begin from now on are counted from here.
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    /// A session begins to wait for something: its time runs from now on.
    fn begin_wait(&mut self, key: usize) {
        let Some(held) = self.sessions.by_key(key) else { return };
        held.due = self.policy.limits.of(held.phase).map(|limit| self.now.saturating_add(limit));
        self.set_alarm(key);
    }

    /// Sees to it that a session is looked at when its time is over.
    fn set_alarm(&mut self, key: usize) {
        let Some(held) = self.sessions.by_key(key) else { return };
        if let Some(due) = held.due
            && held.alarm.is_none_or(|alarm| due < alarm)
        {
            held.alarm = Some(due);
            self.alarms.set(due, key);
        }
    }

    /// Ends the waits that should have been over by `now`, and says when to look again.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<Duration> {
        self.now = now;
        let sessions = &mut self.sessions;
        self.alarms.tidy(sessions.len(), |at, key| {
            sessions.by_key(key).is_some_and(|held| held.alarm == Some(at))
        });
        let mut next = None;
        while let Some((at, key)) = self.alarms.first() {
            let alarm = self.sessions.by_key(key).and_then(|held| held.alarm);
            if alarm == Some(at) && at > now {
                next = Some(at);
                break;
            }
            self.alarms.take_first();
            // One that was set anew for an earlier time, or whose session has ended, is of no use.
            if let Some(held) = self.sessions.by_key(key)
                && held.alarm == Some(at)
            {
                held.alarm = held.due.filter(|&due| due > now);
                match held.alarm {
                    Some(due) => self.alarms.set(due, key),
                    None if held.due.is_some() => self.time_out(key),
                    None => {}
                }
            }
        }
        self.feed_starved();
        next
    }

    /// A session has waited for its peer as long as it may.
    fn time_out(&mut self, key: usize) {
        let Some(held) = self.sessions.by_key(key) else { return };
        let (phase, was_parked) = (held.phase, held.session.is_parked());
        held.due = None;
        let limit = self.policy.limits.of(phase).unwrap_or_default();
        let goes_on = match phase {
            Phase::Response(_) | Phase::Closing => false,
            Phase::Handshake | Phase::Request(_) | Phase::Idle(_) => held.session.time_out(limit),
        };
        self.jobs_freed += usize::from(was_parked && !held.session.is_parked());
        self.report.timeouts.count(phase);
        self.live.timed_out(phase);
        if phase == Phase::Handshake {
            self.live.failure(Cause::TimedOut);
            *self.report.failures.entry(TOO_SLOW.to_owned()).or_default() += 1;
        }
        if goes_on {
            self.advance(key);
        } else {
            self.end(key, false);
            self.charge.step_ended();
        }
    }

    /// Whether parked sessions must be polled, since nothing will wake them.
    pub(crate) fn polls(&self) -> bool {
        self.policy.polls && self.parked > 0
    }

    /// Calls every parked session once; says whether one of them got on.
    pub(crate) fn poll_parked(&mut self) -> bool {
        let mut any = false;
        for key in self.sessions.keys() {
            let Some(held) = self.sessions.by_key(key) else { continue };
            if held.session.is_parked() {
                held.tally.unprompted += 1;
                self.report.unprompted_resumes += 1;
                self.advance(key);
                any |= !self.sessions.by_key(key).is_some_and(|held| held.session.is_parked());
            }
        }
        self.feed_starved();
        any
    }

    /// Resumes every session that a completion has woken, and gives jobs to sessions that wait for one; says whether there
    /// was any of either, in whose time something else may have happened.
    pub(crate) fn completions(&mut self) -> bool {
        let mut tokens = std::mem::take(&mut self.tokens);
        self.ready.drain(&mut tokens);
        let any = !tokens.is_empty();
        for token in tokens.drain(..) {
            self.woken(token.0);
        }
        self.tokens = tokens;
        self.feed_starved() || any
    }

    /// Handles the wake of a session, whatever its route.
    pub(crate) fn woken(&mut self, key: usize) {
        self.report.tokens += 1;
        let Some(held) = self.sessions.by_key(key) else { return };
        held.tally.tokens += 1;
        if held.session.is_parked() {
            held.tally.resumes += 1;
            self.report.resumes += 1;
            self.advance(key);
        }
        self.feed_starved();
    }

    /// Another turn of the driver's loop begins.
    pub(crate) fn turn(&mut self) {
        self.report.turns += 1;
    }

    /// Gives freed jobs to the sessions that wait for one, first come first served; says whether there was any.
    fn feed_starved(&mut self) -> bool {
        let mut any = false;
        while self.jobs_freed > 0 {
            let Some(key) = self.starved.pop_front() else {
                self.jobs_freed = 0;
                return any;
            };
            let Some(held) = self.sessions.by_key(key) else { continue };
            any = true;
            held.starved = false;
            self.jobs_freed -= 1;
            self.advance(key);
            let used = self.starved.back() == Some(&key)
                || self.sessions.by_key(key).is_some_and(|held| held.session.is_parked());
            // It has not parked: the job it had is free again.
            self.jobs_freed += usize::from(!used);
        }
        any
    }

    /// The transport of a session is ready; `first` says whether for what a session begins with.
    pub(crate) fn transport_ready(&mut self, key: usize, first: bool) {
        let Some(held) = self.sessions.by_key(key) else { return };
        if held.session.is_parked() {
            // Not resumed: only looked after, so that a peer that hangs up is noticed.
            if let Err(failure) = held.session.watch_peer() {
                self.fail(key, &failure);
            }
        } else if held.starved {
            // It looks at its transport when it has its job.
        } else if held.begun {
            self.advance(key);
        } else if first {
            held.begun = true;
            self.fresh.push_back(key);
        }
    }

    /// Begins one of the handshakes that have not been looked at, if there is one.
    pub(crate) fn begin_one(&mut self) -> bool {
        let Some(key) = self.fresh.pop_front() else { return false };
        if self.sessions.by_key(key).is_some() {
            // Up to the signature the work is known before it is done; then the device gets the request after it.
            self.charge_to(key, Milestone::Signing);
            self.advance(key);
        }
        true
    }

    pub(crate) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// No new session will come, but for those that the driver has accepted already: every session ends with its next
    /// answer, and those between two requests end now.
    pub(crate) fn begin_drain(&mut self) {
        self.draining = true;
        for key in self.sessions.keys() {
            self.drain_one(key);
        }
    }

    /// A session ends with its next answer. One that has said nothing yet has no longer for its hello than for a request:
    /// clients connect ahead of need, and would hold up the end for as long as a slow key may take.
    fn drain_one(&mut self, key: usize) {
        let Some(held) = self.sessions.by_key(key) else { return };
        if held.session.drain() {
            self.advance(key);
        } else if !held.begun
            && let Some(limit) = self.policy.limits.request
        {
            let due = self.now.saturating_add(limit);
            held.due = Some(held.due.map_or(due, |before| before.min(due)));
            self.set_alarm(key);
        }
    }

    /// Gives a session up, wherever it is.
    pub(crate) fn give_up(&mut self, key: usize) {
        if self.sessions.by_key(key).is_some() {
            self.report.given_up += 1;
            self.end(key, false);
            self.charge.step_ended();
        }
    }

    /// Gives every session up.
    pub(crate) fn give_up_all(&mut self) {
        for key in self.sessions.keys() {
            self.give_up(key);
        }
    }

    /// A session cancels the operation that it waits for, if it waits for one, and asks anew.
    pub(crate) fn start_over(&mut self, key: usize) {
        let Some(held) = self.sessions.by_key(key) else { return };
        if held.session.start_over() {
            self.report.dropped += 1;
            self.count_parked(key, false);
            self.advance(key);
            let parked = self.sessions.by_key(key).is_some_and(|held| held.session.is_parked());
            // The job that it had was for the next one, unless it has taken that itself.
            self.jobs_freed += usize::from(!parked);
            self.feed_starved();
        }
    }

    /// Closes the remaining sessions and returns the report.
    pub(crate) fn finish(mut self, cpu: Duration) -> WorkerReport {
        self.report.abandoned = self.sessions.len() as u64;
        for key in self.sessions.keys() {
            self.sessions.remove(key);
            self.live.closed();
        }
        self.report.fd_writes = self.ready.fd_writes();
        self.report.pool = since(&self.report.pool, self.pool.stats());
        self.report.cpu = cpu;
        self.report
    }

    /// Announces a sleep; see [`ReadyQueue::prepare_sleep`].
    pub(crate) fn prepare_sleep(&mut self) -> bool {
        self.ready.prepare_sleep()
    }

    /// Ends a sleep; see [`ReadyQueue::awake`].
    pub(crate) fn awake(&mut self) {
        self.ready.awake();
    }

    /// Goes on with a session as far as it can.
    fn advance(&mut self, key: usize) {
        let Some(held) = self.sessions.by_key(key) else { return };
        let parked_before = held.session.is_parked();
        let milestone_before = held.session.milestone();
        let Some(result) = alone(|| held.session.advance(&self.live)) else {
            return self.panicked(key, parked_before);
        };
        let phase = held.session.phase();
        let waits_anew = phase != held.phase;
        held.phase = phase;
        let parked = held.session.is_parked();
        let milestone = held.session.milestone();
        // Also if the peer closes right after it.
        if milestone == Milestone::Established && milestone_before != Milestone::Established {
            self.report.handshakes += 1;
        }
        if result.is_ok() {
            held.starved = matches!(result, Ok(SessionProgress::WaitsForJob));
            if parked && !parked_before {
                held.tally.parks += 1;
                self.report.parks += 1;
            }
            self.charge_to(key, milestone);
            if waits_anew {
                self.begin_wait(key);
            }
        }
        self.jobs_freed += usize::from(parked_before && !parked);
        if parked != parked_before {
            self.count_parked(key, parked);
        }
        match result {
            Ok(SessionProgress::Ended) => self.end(key, false),
            Ok(SessionProgress::WaitsForJob) => self.starved.push_back(key),
            Ok(SessionProgress::Waits) => {
                if parked && !parked_before {
                    self.parked(key);
                }
            }
            Err(failure) => self.fail(key, &failure),
        }
        self.charge.step_ended();
    }

    /// Counts a session that has parked, or does not park any more.
    fn count_parked(&mut self, key: usize, parked: bool) {
        if let Some(held) = self.sessions.by_key(key)
            && std::mem::replace(&mut held.parked, parked) != parked
        {
            self.parked = if parked { self.parked + 1 } else { self.parked - 1 };
            self.report.parked_peak = self.report.parked_peak.max(self.parked as u64);
        }
        self.charge.parked(key, parked);
    }

    /// Charges a session for its way to `milestone`, unless it has been.
    fn charge_to(&mut self, key: usize, milestone: Milestone) {
        let Some(held) = self.sessions.by_key(key) else { return };
        let (tariff, from) = (held.tariff, held.charged);
        if milestone > from {
            held.charged = milestone;
            self.charge.charge(tariff, from, milestone);
        }
    }

    /// A session has just parked: now and then it is resumed once more without a wake.
    fn parked(&mut self, key: usize) {
        let Some(held) = self.sessions.by_key(key) else { return };
        if let Err(failure) = held.session.parked() {
            self.fail(key, &failure);
            return;
        }
        if plant::armed(Bug::SpinResume) {
            held.tally.resumes += 2;
            self.report.resumes += 2;
            self.advance(key);
            self.advance(key);
            return;
        }
        let parks = self.report.parks;
        let due = self.policy.unprompted_every.is_some_and(|every| parks.is_multiple_of(every));
        if due {
            held.tally.unprompted += 1;
            self.report.unprompted_resumes += 1;
            self.advance(key);
        }
    }

    fn fail(&mut self, key: usize, failure: &S::Failure) {
        let hung_up = S::has_hung_up(failure);
        if hung_up {
            self.report.hung_up += 1;
        } else {
            self.report.failed += 1;
        }
        self.live.failure(S::cause(failure));
        let ssl = self.sessions.by_key(key).and_then(|held| held.session.id());
        tracing::debug!(ssl, error = %failure, "connection.failed");
        *self.report.failures.entry(failure.to_string()).or_default() += 1;
        self.end(key, !hung_up);
    }

    /// A session has panicked: it ends, and the others go on.
    fn panicked(&mut self, key: usize, parked_before: bool) {
        let parked = self.sessions.by_key(key).is_some_and(|held| held.session.is_parked());
        self.jobs_freed += usize::from(parked_before && !parked);
        if parked_before {
            self.count_parked(key, false);
        }
        self.report.failed += 1;
        self.live.failure(Cause::Other);
        *self.report.failures.entry("the session panicked".to_owned()).or_default() += 1;
        self.end(key, true);
        self.charge.step_ended();
    }

    fn end(&mut self, key: usize, harmed: bool) {
        if let Some(held) = self.sessions.remove(key) {
            self.live.closed();
            self.jobs_freed += usize::from(held.session.is_parked());
            self.parked -= usize::from(held.parked);
            self.report.dropped += u64::from(held.parked);
            self.report.sessions.take(&held.tally, harmed);
            let _ = alone(|| drop(held.session));
        }
    }
}

/// Does something for one session. A panic ends neither the others nor their worker, and is logged. On this stack, for
/// the worker may be a job that a blocking operation pauses.
fn alone<R>(step: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(done) => Some(done),
        Err(payload) => {
            let _logged = contain("a session of the server", || resume_unwind(payload)).is_err();
            None
        }
    }
}

impl<S, C: Charge> AsFd for Core<S, C> {
    /// Readable when a completion arrived during a sleep.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

/// What is said of a handshake that took too long.
const TOO_SLOW: &str = "the handshake was not done in time";

/// What a pool has done since it was in the state `before`. The pool may have served another core earlier.
fn since(before: &PoolStats, mut now: PoolStats) -> PoolStats {
    now.started -= before.started;
    now.finished -= before.finished;
    now.cancelled -= before.cancelled;
    now.resumes -= before.resumes;
    now.swallowed_panics -= before.swallowed_panics;
    now.swallowed_unwinds -= before.swallowed_unwinds;
    now.quarantined -= before.quarantined;
    now
}

#[cfg(test)]
mod tests;
