//! The driver of a worker in virtual time: a job whose events come by mail, and whose CPU time the calendar ends.
//!
//! The core is that of real time. Where a poller would sleep, the job pauses; where a session without async mode blocks its
//! thread, the engine runs in the worker's job and pauses that.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use engine_core::Clock as _;
use job_core::{JobPool, Pause};
use lab_report::recording::HandshakeTrace;
use wait_ctx::ReadyQueue;

use super::{
    cost::Costs,
    heartbeat::Heartbeat,
    protocol::Protocol,
    time::{Event, Time},
    trace::Mark,
    wire::{End, Outbox, Wire},
};
use crate::{
    scenario::ConnectionKind,
    server::{
        Charge, LiveCounters, Milestone, Session, WorkerReport,
        worker_core::{Core, NEW_A_TURN, POLL_EVERY, Policy},
    },
};

/// The state that a worker shares with the world.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) number: usize,
    pub(super) mail: RefCell<VecDeque<Mail>>,
    pub(super) doing: Cell<Doing>,
    /// No more mail will come.
    pub(super) ending: Cell<bool>,
    /// The wires that its sessions wrote to in the present step.
    pub(super) outbox: Rc<Outbox>,
    pub(super) time: Rc<Time>,
    /// The connection number of each session whose handshake is traced.
    numbers: RefCell<BTreeMap<usize, u64>>,
    heartbeat: RefCell<Option<Heartbeat>>,
}

#[derive(Debug)]
pub(super) enum Mail {
    Connected(End),
    /// Data has arrived for a session.
    Arrived(Rc<Wire>),
    /// Give a session up.
    GiveUp(Rc<Wire>),
    /// Cancel the operation of a session, which then asks again.
    StartOver(Rc<Wire>),
}

/// Why a worker's job is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It waits for mail or a completion.
    Nothing,
    /// It works until a time that is in the calendar, or waits in the engine.
    Something,
}

/// Charges the CPU time of sessions to the worker: its job pauses until the time has passed.
#[derive(Debug)]
struct Busy {
    desk: Rc<Desk>,
    costs: Costs,
    spent: Rc<Cell<Duration>>,
}

impl Charge for Busy {
    type Tariff = ConnectionKind;

    fn charge(&mut self, kind: ConnectionKind, from: Milestone, to: Milestone) {
        let computed = self.desk.time.computed.swap(0, Ordering::Relaxed);
        let cost = self.costs.between(kind, from, to) + self.costs.sign(kind) * computed;
        if cost.is_zero() || is_cancelled() {
            return;
        }
        let until = self.desk.time.clock.now() + cost;
        self.desk.time.enter(until, Event::Worked(self.desk.number));
        // A resume is only a hint (law L2): the time decides.
        while self.desk.time.clock.now() < until {
            if job_core::pause() != Pause::Resumed {
                return;
            }
        }
        self.spent.set(self.spent.get() + cost);
    }

    fn step_ended(&mut self) {
        self.desk.time.send_off(&self.desk.outbox);
        self.desk.run_heartbeat();
    }

    fn parked(&mut self, key: usize, parked: bool) {
        self.desk.time.record(|recorder, now| {
            if let Some(&number) = self.desk.numbers.borrow().get(&key) {
                recorder.handshake_trace.parked(now, number, parked);
            }
        });
    }
}

/// The body of a worker's job.
pub(super) fn serve<P: Protocol>(
    protocol: &P,
    desk: &Rc<Desk>,
    (pool, ready): (JobPool, ReadyQueue),
    policy: Policy,
    costs: Costs,
    live: Arc<LiveCounters>,
) -> io::Result<WorkerReport> {
    let spent = Rc::new(Cell::new(Duration::ZERO));
    let busy = Busy { desk: Rc::clone(desk), costs, spent: Rc::clone(&spent) };
    let mut core = Core::new(pool, ready, live, policy, busy);
    let mut rounds = PollRounds::default();
    while !is_cancelled() {
        core.turn();
        desk.run_heartbeat();
        while let Some(mail) = next(desk) {
            core.completions();
            match mail {
                Mail::Connected(end) => {
                    let wire = Rc::clone(end.wire());
                    let now = desk.time.clock.now();
                    let session = core.welcome(now, wire.kind, |_, pool, route| {
                        protocol.accept(end, pool, route)
                    });
                    wire.session.set(session);
                    if let Some(key) = session {
                        desk.remember(key, wire.number);
                    }
                }
                Mail::Arrived(wire) => {
                    if let Some(session) = wire.session.get() {
                        core.transport_ready(session, true);
                    }
                }
                Mail::GiveUp(wire) => {
                    if let Some(session) = wire.session.get() {
                        core.give_up(session);
                    }
                }
                Mail::StartOver(wire) => {
                    if let Some(session) = wire.session.get() {
                        core.start_over(session);
                    }
                }
            }
        }
        for _ in 0..NEW_A_TURN {
            if !core.begin_one() {
                break;
            }
            core.completions();
        }
        if !desk.mail.borrow().is_empty() || core.has_fresh() || core.completions() {
            continue;
        }
        if rounds.are_due(desk, &core) && core.poll_parked() {
            rounds.in_vain = 0;
            continue;
        }
        if desk.ending.get() {
            break;
        }
        desk.doing.set(Doing::Nothing);
        // Cancelled or resumed: the head of the loop finds out.
        let _ = job_core::pause();
        desk.doing.set(Doing::Something);
    }
    let beat_late = desk.heartbeat.take().map(Heartbeat::into_late);
    Ok(WorkerReport { beat_late, ..core.finish(spent.get()) })
}

/// The schedule on which a worker that nothing wakes calls its parked sessions again.
#[derive(Debug, Default)]
struct PollRounds {
    next: Option<Duration>,
    in_vain: u32,
}

impl PollRounds {
    /// Returns whether a call is due, and enters the next one in the calendar.
    fn are_due<S: Session, C: Charge>(&mut self, desk: &Desk, core: &Core<S, C>) -> bool {
        let now = desk.time.clock.now();
        let due = self.next.is_none_or(|next| next <= now);
        // An operation that never ends would otherwise keep the calendar running forever.
        if due && core.polls() && self.in_vain < MOST_IN_VAIN {
            self.in_vain += 1;
            self.next = Some(now + POLL_EVERY);
            desk.time.enter(now + POLL_EVERY, Event::Worked(desk.number));
        }
        due && core.polls()
    }
}

/// Ten seconds, which is longer than any key takes.
const MOST_IN_VAIN: u32 = 10_000;

fn next(desk: &Desk) -> Option<Mail> {
    desk.mail.borrow_mut().pop_front()
}

fn is_cancelled() -> bool {
    job_core::current().is_some_and(|job| job.is_cancelled())
}

impl Desk {
    pub(super) fn new(number: usize, time: &Rc<Time>, heartbeat: Option<Heartbeat>) -> Rc<Self> {
        if let Some(due) = heartbeat.as_ref().and_then(Heartbeat::next) {
            time.enter(due, Event::Heartbeat(number));
        }
        Rc::new(Self {
            number,
            mail: RefCell::default(),
            doing: Cell::new(Doing::Something),
            ending: Cell::new(false),
            outbox: Rc::default(),
            time: Rc::clone(time),
            numbers: RefCell::default(),
            heartbeat: RefCell::new(heartbeat),
        })
    }

    /// Runs the heartbeat task if it is due.
    fn run_heartbeat(&self) {
        let mut heartbeat = self.heartbeat.borrow_mut();
        if let Some(heartbeat) = heartbeat.as_mut()
            && heartbeat.run(self.time.clock.now())
            && let Some(due) = heartbeat.next()
        {
            self.time.enter(due, Event::Heartbeat(self.number));
        }
    }

    fn remember(&self, key: usize, number: u64) {
        // Session keys are not reused, and connections are traced from the first on.
        if self.time.recorder.get().is_some() && number < HandshakeTrace::MOST as u64 {
            self.numbers.borrow_mut().insert(key, number);
        }
    }

    /// Whether it waits for mail or a completion.
    pub(super) fn waits(&self) -> bool {
        self.doing.get() == Doing::Nothing
    }

    /// Called when the worker's job has paused or ended: writes its step into the trace.
    pub(super) fn note(&self) {
        self.time.mark(Mark::Worked, self.number as u64);
    }
}
