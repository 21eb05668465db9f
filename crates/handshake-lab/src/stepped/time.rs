//! Virtual time and its calendar of events.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use engine_core::Clock as _;
use sim_device::Calendar;

use super::{
    clock::VirtualClock,
    recorder::Recorder,
    trace::{Mark, Trace},
    wire::{Outbox, Side, Wire},
};

/// Virtual time and its calendar of events.
#[derive(Debug)]
pub(super) struct Time {
    pub(super) clock: Arc<VirtualClock>,
    pub(super) calendar: RefCell<Calendar<Event>>,
    pub(super) trace: RefCell<Trace>,
    /// The recorder; none in a swarm.
    pub(super) recorder: OnceCell<RefCell<Recorder>>,
    /// Signatures computed by software since the running worker was resumed, not charged yet; shared with the standbys.
    pub(super) computed: Arc<AtomicU32>,
    /// The delay from one end of a wire to the other.
    latency: Duration,
}

#[derive(Debug)]
pub(super) enum Event {
    /// The next client of a stream comes.
    StreamArrival,
    /// The client of a place connects.
    Arrival(usize),
    /// A chunk reaches an end of a wire.
    Delivery(Rc<Wire>, Side),
    HangUp(Rc<Wire>),
    /// The server gives a session up.
    GiveUp(Rc<Wire>),
    /// A session cancels the operation that it waits for, and asks again.
    StartOver(Rc<Wire>),
    /// A worker's CPU time has passed.
    Worked(usize),
    /// The heartbeat task of a worker's thread is due.
    Heartbeat(usize),
    /// A device has something to do.
    Device(usize),
}

impl Time {
    pub(super) fn new(clock: Arc<VirtualClock>, latency: Duration) -> Rc<Self> {
        let (calendar, trace) = (RefCell::new(Calendar::new()), RefCell::new(Trace::new()));
        let recorder = OnceCell::new();
        let computed = Arc::default();
        Rc::new(Self { clock, calendar, trace, recorder, computed, latency })
    }

    pub(super) fn enter(&self, at: Duration, event: Event) {
        self.calendar.borrow_mut().enter(at, event);
    }

    pub(super) fn mark(&self, mark: Mark, who: u64) {
        self.trace.borrow_mut().mark(self.clock.now(), mark, who);
    }

    /// Calls the recorder, if there is one.
    pub(super) fn record(&self, tell: impl FnOnce(&mut Recorder, Duration)) {
        if let Some(recorder) = self.recorder.get() {
            tell(&mut recorder.borrow_mut(), self.clock.now());
        }
    }

    /// The chunks written in the last step depart.
    pub(super) fn send_off(&self, outbox: &Outbox) {
        let arrival = self.clock.now() + self.latency;
        for (wire, to) in outbox.borrow_mut().drain(..) {
            wire.depart(to);
            self.calendar.borrow_mut().enter(arrival, Event::Delivery(wire, to));
        }
    }
}
