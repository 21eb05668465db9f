//! Devices with a thread of their own, in real time: the card with its hardware queue thread, and a pool of one thread.
//! Their computations wait at a gate, so that the script decides when they end and how.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::Poll;
use std::time::Duration;

use engine_core::{
    Accelerator, Capabilities, DeviceError, DeviceRefused, Engine, OnFull, Request, RoomNotice,
    ThreadPoolBuilder,
};
use sim_engine::SimCard;
use wait_ctx::Notifier;
use wait_ctx::testing::{self, Answer, DeviceEvent, Failed, Order, Tag};

use super::{Echo, Held, KNOWN, Kind, Session, Ticket, card, found, passes};
use crate::rig::PATIENCE;

/// The result that one computation has to return.
type Verdict = Result<u64, DeviceError>;

/// The device's side of the gate.
#[derive(Debug)]
struct Gate {
    /// Tells which request has come to the gate.
    begun: mpsc::Sender<u64>,
    verdicts: Mutex<mpsc::Receiver<Verdict>>,
}

/// A request that passes the gate without a verdict: once it is complete, so are all before it.
const PROBE: u64 = u64::MAX;

impl Gate {
    fn pass(&self, n: u64) -> Verdict {
        if n == PROBE {
            return Ok(n);
        }
        let gone = Err(DeviceError::Failed("the gate is closed"));
        if self.begun.send(n).is_err() {
            return gone;
        }
        self.verdicts.lock().unwrap().recv().unwrap_or(gone)
    }
}

impl sim_engine::Compute for Gate {
    type Work = Echo;

    fn compute(&self, work: &Echo) -> Verdict {
        self.pass(work.n)
    }

    fn spoil(&self, output: u64) -> u64 {
        !output
    }
}

/// The device behind a valve, full while the valve is shut: a card whose thread waits at the gate cannot be emptied.
#[derive(Debug)]
struct Valve {
    inner: Arc<dyn Accelerator<Echo>>,
    /// For probes.
    other: Arc<Engine<Echo>>,
    begun: Mutex<mpsc::Receiver<u64>>,
    /// Never locked while the device is waited for: a completion submits what waits.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once the gate is open for good.
    verdicts: Option<mpsc::Sender<Verdict>>,
    held: Held,
    /// The request that waits at the gate.
    at_gate: Option<u64>,
    cancelled: Vec<u64>,
    taken: u64,
    shut: bool,
    early: bool,
    rooms: Vec<RoomNotice>,
}

impl Valve {
    /// Returns when the oldest request waits at the gate, or nothing is inside. Everything before has been completed
    /// then, to the last thing that a completion does.
    fn settle(&self) {
        let oldest = {
            let mut state = self.state();
            if state.at_gate.is_some() {
                return;
            }
            // Requests that were cancelled before they came to the gate are dropped there.
            while let Some(n) = state.held.front().copied()
                && state.cancelled.contains(&n)
            {
                state.held.pop_front();
            }
            state.at_gate = state.held.front().copied();
            state.at_gate
        };
        if let Some(n) = oldest {
            let begun = self.begun.lock().unwrap().recv_timeout(PATIENCE);
            assert_eq!(begun, Ok(n), "in the order taken");
        } else {
            let probe = Echo { n: PROBE, kind: KNOWN };
            assert_eq!(self.other.run(probe), Ok(PROBE));
        }
    }

    /// Lets the request at the gate through. False if it is another one.
    fn open(&self, n: u64, verdict: Verdict) -> bool {
        let mut state = self.state();
        if state.at_gate != Some(n) {
            return false;
        }
        state.at_gate = None;
        state.held.pop_front();
        state.verdicts.as_ref().expect("open until the end").send(verdict).unwrap();
        true
    }

    /// The owner cancels a request.
    fn note_cancelled(&self, n: u64) {
        let mut state = self.state();
        if state.at_gate != Some(n) {
            state.cancelled.push(n);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut(&self) {
        self.state().shut = true;
    }

    fn open_valve(&self, announce: bool) {
        let rooms = {
            let mut state = self.state();
            state.shut = false;
            state.rooms.clone()
        };
        if announce {
            rooms.iter().for_each(RoomNotice::announce);
        }
    }

    fn is_shut(&self) -> bool {
        self.state().shut
    }
}

impl Accelerator<Echo> for Valve {
    fn submit(&self, request: Request<Echo>) -> Result<(), DeviceRefused<Echo>> {
        if self.is_shut() {
            return Err(DeviceRefused::Full(request));
        }
        let n = request.work().n;
        if request.kind() != KNOWN {
            return Err(DeviceRefused::Unsupported(request, "no unit for that"));
        }
        self.inner.submit(request)?;
        let early = {
            let mut state = self.state();
            state.held.push_back(n);
            state.taken += 1;
            core::mem::take(&mut state.early)
        };
        if early {
            // The whole completion, on the device's thread, before the engine learns that the request was taken.
            self.settle();
            assert!(self.open(n, Ok(n)), "it was alone");
            self.settle();
        }
        Ok(())
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        if self.is_shut() { Some(0) } else { self.inner.credits(kind) }
    }

    fn attach(&self, room: RoomNotice) {
        self.state().rooms.push(room.clone());
        self.inner.attach(room);
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// The device for an engine that does not hear of room: whatever a device announces after a probe has come through would
/// be one thing too many.
#[derive(Debug)]
struct Probed(Arc<dyn Accelerator<Echo>>);

impl Accelerator<Echo> for Probed {
    fn submit(&self, request: Request<Echo>) -> Result<(), DeviceRefused<Echo>> {
        self.0.submit(request)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    Nothing,
    /// The result is another than the right one.
    WrongResult,
    /// A completion wakes once more than is due.
    WakesTwice,
    /// Room is not announced.
    Mute,
}

struct Gated {
    session: Session,
    valve: Arc<Valve>,
    planted: Planted,
    last_notifier: Option<Notifier>,
}

/// Makes the device whose computations pass the gate.
type Build = fn(Gate) -> Arc<dyn Accelerator<Echo>>;

fn threaded_card(gate: Gate) -> Arc<dyn Accelerator<Echo>> {
    let mut config = card(Duration::from_nanos(1));
    config.instance.doorbell = Duration::ZERO;
    config.instance.interrupt_latency = Duration::ZERO;
    SimCard::start(config, Arc::new(gate)).unwrap()
}

fn pool(gate: Gate) -> Arc<dyn Accelerator<Echo>> {
    let pool = ThreadPoolBuilder::new().threads(1).ring(64);
    Arc::new(pool.build(move |work: &Echo| gate.pass(work.n)))
}

impl Gated {
    fn new(on_full: OnFull, build: Build) -> Self {
        Self::with(Planted::Nothing, on_full, build)
    }

    fn with(planted: Planted, on_full: OnFull, build: Build) -> Self {
        let (begin, begun) = mpsc::channel();
        let (verdicts, decided) = mpsc::channel();
        let inner = build(Gate { begun: begin, verdicts: Mutex::new(decided) });
        let state = State {
            verdicts: Some(verdicts),
            held: Held::new(),
            at_gate: None,
            cancelled: Vec::new(),
            taken: 0,
            shut: false,
            early: false,
            rooms: Vec::new(),
        };
        let other = Engine::builder(Arc::new(Probed(inner.clone()))).build();
        let (begun, state) = (Mutex::new(begun), Mutex::new(state));
        let valve = Arc::new(Valve { inner, other, begun, state });
        let session = Session::new(Engine::builder(valve.clone()), on_full);
        Self { session, valve, planted, last_notifier: None }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // Whatever is inside comes through, so that the device can end.
        self.valve.state().verdicts = None;
    }
}

impl testing::TestedEngine for Gated {
    type Request = Ticket;

    fn on_full(&self) -> testing::FullPolicy {
        self.session.on_full()
    }

    fn order(&self) -> Order {
        Order::Submission
    }

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Self::Request {
        match answer {
            Answer::Full => self.valve.shut(),
            Answer::Early => self.valve.state().early = true,
            Answer::Accept | Answer::Fatal => {}
        }
        self.last_notifier = Some(notifier.clone());
        self.session.submit(notifier, tag, answer)
    }

    fn poll(&mut self, request: &mut Self::Request) -> Poll<Result<Tag, Failed>> {
        request.poll()
    }

    fn cancel(&mut self, request: Self::Request) {
        let n = request.tag.0;
        drop(request);
        self.valve.note_cancelled(n);
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        match event {
            DeviceEvent::Complete(tag) => {
                let result = if self.planted == Planted::WrongResult { !tag.0 } else { tag.0 };
                let opened = self.valve.open(tag.0, Ok(result));
                if self.planted == Planted::WakesTwice
                    && let Some(notifier) = &self.last_notifier
                {
                    notifier.waker().wake();
                }
                opened
            }
            DeviceEvent::Fail(tag) => {
                self.valve.open(tag.0, Err(DeviceError::Failed("as the script says")))
            }
            // A request comes through the gate once.
            DeviceEvent::Duplicate(_) => false,
            DeviceEvent::Room => {
                self.valve.open_valve(self.planted != Planted::Mute);
                true
            }
        }
    }

    fn taken(&self) -> u64 {
        self.valve.state().taken
    }

    fn settle(&mut self) {
        self.valve.settle();
    }
}

#[test]
fn a_card_with_its_hardware_thread_passes_the_conformance_run() {
    for on_full in [OnFull::Queue, OnFull::Notify] {
        passes(300, || Gated::new(on_full, threaded_card));
    }
}

#[test]
fn a_pool_of_threads_passes_the_conformance_run() {
    for on_full in [OnFull::Queue, OnFull::Notify] {
        passes(300, || Gated::new(on_full, pool));
    }
}

#[test]
fn what_is_wrong_with_a_device_that_has_threads_is_found() {
    let law = [
        (Planted::WrongResult, "L3: a completion was lost"),
        (Planted::WakesTwice, "L4: a wake too many"),
        (Planted::Mute, "status: session 0 shows `again` instead of `ok`"),
    ];
    for build in [threaded_card as Build, pool] {
        for (bug, law) in law {
            let text = found(|| Gated::with(bug, OnFull::Queue, build));
            assert!(text.starts_with(law), "{bug:?}: {text}");
        }
    }
}
