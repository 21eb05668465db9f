//! Work that is easy to check, and a device that tests move by hand.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use engine_core::{
    Accelerator, Capabilities, CheckFailed, CheckPolicy, Clock, DeviceError, DeviceRefused, Engine,
    EngineBuilder, Health, Kind, Request, RequestOptions, RoomNotice, Work,
};

pub(crate) const KINDS: [Kind; 2] = [Kind::new("slow"), Kind::new("fast")];

/// Counts the outputs of one test.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) made: AtomicU64,
    pub(crate) erased: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl Outputs {
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    pub(crate) fn erased(&self) -> u64 {
        self.erased.load(Ordering::SeqCst)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// An output that counts where it ends: every one not handed to a caller has to be erased.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) value: u64,
    outputs: Arc<Outputs>,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.outputs.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// The work: to negate a number.
#[derive(Debug)]
pub(crate) struct Negate {
    pub(crate) n: u64,
    pub(crate) kind: Kind,
    pub(crate) must_check: bool,
    /// Whether there may be a second one for the standby.
    pub(crate) copies: bool,
    pub(crate) outputs: Arc<Outputs>,
}

impl Negate {
    pub(crate) fn new(n: u64, outputs: &Arc<Outputs>) -> Self {
        let outputs = Arc::clone(outputs);
        Self { n, kind: KINDS[0], must_check: true, copies: true, outputs }
    }

    pub(crate) fn right(&self) -> Secret {
        self.output(!self.n)
    }

    pub(crate) fn wrong(&self) -> Secret {
        self.output(!self.n ^ 1)
    }

    fn output(&self, value: u64) -> Secret {
        self.outputs.made.fetch_add(1, Ordering::SeqCst);
        Secret { value, outputs: Arc::clone(&self.outputs) }
    }
}

/// Work that makes its own check panic.
pub(crate) const PANICS: u64 = u64::MAX;

impl Work for Negate {
    type Output = Secret;

    fn kind(&self) -> Kind {
        self.kind
    }

    fn check(&self, output: &Secret) -> Result<(), CheckFailed> {
        assert_ne!(self.n, PANICS, "a check that panics");
        if output.value == !self.n { Ok(()) } else { Err(CheckFailed("not the negation")) }
    }

    fn must_check(&self) -> bool {
        self.must_check
    }

    fn duplicate(&self) -> Option<Self> {
        let Self { n, kind, must_check, copies, ref outputs } = *self;
        copies.then(|| Self { n, kind, must_check, copies, outputs: Arc::clone(outputs) })
    }

    fn erase(output: Secret) {
        output.outputs.erased.fetch_add(1, Ordering::SeqCst);
    }
}

/// How a device ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Right,
    Wrong,
    Fail,
    /// Drops the request without an answer.
    Drop,
}

pub(crate) const FAILED: DeviceError = DeviceError::Failed("told to");

pub(crate) fn end(request: Request<Negate>, answer: Answer) {
    match answer {
        Answer::Right => {
            let output = request.work().right();
            request.complete(Ok(output));
        }
        Answer::Wrong => {
            let output = request.work().wrong();
            request.complete(Ok(output));
        }
        Answer::Fail => request.complete(Err(FAILED)),
        Answer::Drop => drop(request),
    }
}

/// What the device does with the next submissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Takes what its ring has room for.
    #[default]
    Take,
    /// Ends each request before `submit` returns.
    Early(Answer),
    /// Says that its ring is full, whatever is on it.
    Stuck,
    /// The same, and yet that it has credits.
    Lying,
    /// Takes nothing for the time being.
    Away,
    /// Wants none.
    Unsupported,
}

/// A device with a ring for each kind, moved by hand.
pub(crate) struct Manual {
    state: Mutex<State>,
    /// Runs during the next call of `credits`, and so between two steps of its caller.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Runs while the device is offered a request the next time.
    during_offer: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    capabilities: Capabilities,
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

#[derive(Debug)]
struct State {
    rings: BTreeMap<Kind, Vec<Request<Negate>>>,
    depth: usize,
    mode: Mode,
    /// The numbers taken, in order.
    taken: Vec<u64>,
    health: Health,
    /// Whether the device says how much room it has.
    tells: bool,
    room: Option<RoomNotice>,
}

impl Manual {
    pub(crate) fn new(depth: usize) -> Arc<Self> {
        Self::with(depth, Capabilities::default())
    }

    pub(crate) fn with(depth: usize, capabilities: Capabilities) -> Arc<Self> {
        let state = State {
            rings: BTreeMap::new(),
            depth,
            mode: Mode::default(),
            taken: Vec::new(),
            health: Health::Unknown,
            tells: false,
            room: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            meanwhile: Mutex::default(),
            during_offer: Mutex::default(),
            capabilities,
        })
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.state.lock().unwrap().health = health;
    }

    /// From now on the device says how much room it has.
    pub(crate) fn tell_credits(&self) {
        self.state.lock().unwrap().tells = true;
    }

    /// Lets something happen in the middle of the next step that asks for credits.
    pub(crate) fn meanwhile(&self, happens: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(happens));
    }

    /// Lets something happen while the device is offered the next request.
    pub(crate) fn during_offer(&self, happens: impl FnOnce() + Send + 'static) {
        *self.during_offer.lock().unwrap() = Some(Box::new(happens));
    }

    /// Tells the engine that there is room, without having completed anything.
    pub(crate) fn announce_room(&self) {
        let room = self.state.lock().unwrap().room.clone();
        room.expect("an engine over this device").announce();
    }

    /// The numbers on the ring of `kind`, oldest first.
    pub(crate) fn ring(&self, kind: Kind) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        state
            .rings
            .get(&kind)
            .map_or_else(Vec::new, |ring| ring.iter().map(|request| request.work().n).collect())
    }

    /// The numbers taken so far, in order.
    pub(crate) fn taken(&self) -> Vec<u64> {
        self.state.lock().unwrap().taken.clone()
    }

    /// Takes a request off the ring.
    pub(crate) fn take(&self, kind: Kind, index: usize) -> Option<Request<Negate>> {
        let mut state = self.state.lock().unwrap();
        let ring = state.rings.get_mut(&kind)?;
        (index < ring.len()).then(|| ring.remove(index))
    }

    /// Takes the request of this number off its ring.
    pub(crate) fn find(&self, n: u64) -> Option<Request<Negate>> {
        let mut state = self.state.lock().unwrap();
        state.rings.values_mut().find_map(|ring| {
            let index = ring.iter().position(|request| request.work().n == n)?;
            Some(ring.remove(index))
        })
    }

    /// Ends a request on the ring. False if there is none.
    pub(crate) fn answer(&self, kind: Kind, index: usize, answer: Answer) -> bool {
        self.take(kind, index).map(|request| end(request, answer)).is_some()
    }

    /// Ends the oldest request of the first kind.
    pub(crate) fn answer_first(&self, answer: Answer) {
        assert!(self.answer(KINDS[0], 0, answer), "the ring is empty");
    }
}

impl Accelerator<Negate> for Manual {
    fn submit(&self, request: Request<Negate>) -> Result<(), DeviceRefused<Negate>> {
        let meanwhile = self.during_offer.lock().unwrap().take();
        if let Some(happens) = meanwhile {
            happens();
        }
        let mut state = self.state.lock().unwrap();
        let depth = state.depth;
        match state.mode {
            Mode::Take => {
                let n = request.work().n;
                let ring = state.rings.entry(request.kind()).or_default();
                if ring.len() >= depth {
                    return Err(DeviceRefused::Full(request));
                }
                ring.push(request);
                state.taken.push(n);
            }
            Mode::Early(answer) => {
                state.taken.push(request.work().n);
                drop(state);
                end(request, answer);
            }
            Mode::Stuck | Mode::Lying => return Err(DeviceRefused::Full(request)),
            Mode::Away => return Err(DeviceRefused::Unavailable(request, "told to")),
            Mode::Unsupported => return Err(DeviceRefused::Unsupported(request, "told to")),
        }
        Ok(())
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(happens) = meanwhile {
            happens();
        }
        let state = self.state.lock().unwrap();
        let used = state.rings.get(&kind).map_or(0, Vec::len);
        let room = if state.mode == Mode::Stuck { 0 } else { state.depth.saturating_sub(used) };
        state.tells.then_some(room)
    }

    fn health(&self, _: Duration) -> Health {
        self.state.lock().unwrap().health
    }

    fn attach(&self, room: RoomNotice) {
        self.state.lock().unwrap().room = Some(room);
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

/// A clock moved by hand.
#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// A task that counts its wakes.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn wakes(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Long enough for any machine; only a broken engine makes a test wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future without any runtime.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => {
                thread::park_timeout(PATIENCE);
                assert!(std::time::Instant::now() < end, "the future was not woken");
            }
        }
    }
}

/// A device, a standby and a clock, all moved by hand.
pub(crate) struct Bench {
    pub(crate) device: Arc<Manual>,
    pub(crate) standby: Arc<Manual>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) outputs: Arc<Outputs>,
}

impl Bench {
    pub(crate) fn with_rings(device: usize, standby: usize) -> Self {
        let (device, standby) = (Manual::new(device), Manual::new(standby));
        Self { device, standby, clock: Arc::default(), outputs: Arc::default() }
    }

    pub(crate) fn builder(&self, options: RequestOptions) -> EngineBuilder<Negate> {
        Engine::builder(self.device.clone())
            .standby(self.standby.clone())
            .clock(self.clock.clone())
            .checks(CheckPolicy::Always)
            .options(options)
    }

    pub(crate) fn work(&self, n: u64) -> Negate {
        Negate::new(n, &self.outputs)
    }
}
