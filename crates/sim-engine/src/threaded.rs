//! The card in real time: a hardware queue thread steps it by the machine's clock.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, SendError, Sender, bounded, unbounded};
use crypto_ops::CryptoOp;
use engine_core::{
    Accelerator, Capabilities, DeviceRefused, Health, Kind, MADE_ELSEWHERE, OwnedThreads, Request,
    RoomNotice, Shutdown, ShuttingDown, Work, contain,
};
use sim_device::{Fault, InstanceStats};

use crate::card::{Answered, Card};
use crate::compute::Compute;
use crate::config::SimConfig;
use crate::error::SimError;
use crate::hardware::{Alarm, Batch, Doorbell};
use crate::polling::{Occasion, Poller, Polling};

/// A simulated card with its hardware queue thread, as an [`Accelerator`] for an engine.
///
/// The thread sleeps until the device has something due or the doorbell rings, and computes what is finished with real
/// keys. With [`Polling::Interrupt`] it also completes it; with any other policy it writes it to a response ring in
/// memory, which whoever polls the engine drains.
///
/// [`shutdown`](Self::shutdown) lets what is in flight finish until a deadline, ends the thread and joins it;
/// [`stop`](Self::stop) gives up what is in flight. Dropping the card does so, too, and waits for nothing: the thread ends by
/// itself.
pub struct SimCard<W: Work = CryptoOp> {
    shared: Arc<Shared<W>>,
    thread: OwnedThreads,
    ring: Option<ResponseRing<W>>,
}

/// Answers that nobody has collected yet.
struct ResponseRing<W: Work> {
    answers: Receiver<Answered<W>>,
    /// When to look, by the policy and the engine's clock.
    poller: Mutex<Poller>,
}

struct Shared<W: Work> {
    card: Card<W>,
    start: Instant,
    /// One slot: a doorbell that has not been heard need not ring twice.
    doorbell: Sender<()>,
    stopping: AtomicBool,
    /// Nothing is taken any more; set before `stopping`.
    closed: AtomicBool,
    /// What waits until nothing is in flight, once `closed`.
    idle: (Mutex<()>, Condvar),
    /// Requests between submission and completion, those on the response ring included.
    in_flight: AtomicUsize,
}

impl<W: Work> SimCard<W> {
    /// Builds the card and starts its thread. `compute` computes its results, as
    /// [`SoftwareKeys`](crate::SoftwareKeys) do with the private keys inside the card.
    ///
    /// # Errors
    ///
    /// [`SimError`] if the device cannot be built so, or there is no thread to be had.
    pub fn start(
        config: SimConfig,
        compute: Arc<impl Compute<Work = W> + 'static>,
    ) -> Result<Arc<Self>, SimError> {
        let name = config.instance.name.clone();
        let polling = config.polling;
        let poller = match polling {
            Polling::Interrupt { .. } => Poller::new(polling),
            // The policy is that of the response ring; the hardware thread empties the device at once.
            _ => Poller::eager(),
        };
        let card = Card::new(config, compute, poller)?;
        let (doorbell, heard) = bounded(1);
        let shared = Arc::new(Shared {
            card,
            start: Instant::now(),
            doorbell,
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            idle: (Mutex::new(()), Condvar::new()),
            in_flight: AtomicUsize::new(0),
        });
        // Not bounded: it never holds more than the device has accepted.
        let (written, answers) = unbounded();
        let ring = (!polling.by_interrupt())
            .then(|| ResponseRing { answers, poller: Mutex::new(Poller::new(polling)) });
        let written = ring.is_some().then_some(written);
        let hardware = Arc::clone(&shared);
        let thread = OwnedThreads::new();
        thread.spawn(name, move || hardware.run(&heard, written.as_ref()))?;
        Ok(Arc::new(Self { shared, thread, ring }))
    }

    /// Takes nothing more, lets what is in flight finish until `deadline`, ends the hardware queue thread and joins it.
    /// Requests that the card holds then are reported lost, later ones refused as unavailable. With a polling policy
    /// somebody has to poll the engine meanwhile.
    ///
    /// The work begins at once, on a thread of its own; the future is of any executor, and may be dropped.
    pub fn shutdown(self: &Arc<Self>, deadline: Duration) -> ShuttingDown {
        if !self.thread.home().is_here() {
            return ShuttingDown::ready(Shutdown::Drained);
        }
        self.shared.closed.store(true, Ordering::SeqCst);
        let card = Arc::clone(self);
        ShuttingDown::on_own_thread(deadline, move |deadline| card.shutdown_blocking(deadline))
    }

    /// As [`shutdown`](Self::shutdown), and blocks until then.
    pub fn shutdown_blocking(&self, deadline: Duration) -> Shutdown {
        if !self.thread.home().is_here() {
            return Shutdown::Drained;
        }
        let end = Instant::now().checked_add(deadline);
        let left =
            || end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.wait_idle(&left);
        self.shared.stop();
        self.thread.join(left().max(OwnedThreads::A_MOMENT))
    }

    /// Ends the hardware queue thread and waits for it, but not on that thread itself. Requests that the card holds are
    /// reported lost, later ones are refused as unavailable. Does nothing the second time.
    pub fn stop(&self) {
        if self.thread.home().is_here() {
            self.shared.stop();
            let _joined = self.thread.join(Duration::MAX);
        }
    }

    /// What the device has counted, over all instances.
    pub fn stats(&self) -> InstanceStats {
        self.shared.card.stats()
    }

    /// What each instance has counted.
    pub fn instance_stats(&self) -> Vec<InstanceStats> {
        self.shared.card.instance_stats()
    }

    /// How many connections the application has: what [`Polling::Heuristic`] goes by.
    pub fn set_active(&self, connections: usize) {
        self.shared.card.set_active(connections);
    }

    /// Makes a fault strike every instance, whatever rules and budgets say.
    pub fn inject(&self, fault: Fault) {
        self.shared.card.inject(self.shared.start.elapsed(), fault);
        self.shared.ring();
    }

    /// The time since the card was started: the device's clock.
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }
}

impl<W: Work> core::fmt::Debug for SimCard<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SimCard").field("card", &self.shared.card).finish_non_exhaustive()
    }
}

impl<W: Work> Accelerator<W> for SimCard<W> {
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        // An engine over a card that interrupts has asked before.
        if self.ring.is_some() && !self.thread.home().is_here() {
            return Err(DeviceRefused::Unavailable(request, MADE_ELSEWHERE));
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(DeviceRefused::Unavailable(request, "the card has been stopped"));
        }
        // Counted before, for the answer may be faster than the return.
        self.shared.in_flight.fetch_add(1, Ordering::AcqRel);
        let (taken, doorbell) = self.shared.card.submit(self.shared.start.elapsed(), request);
        if taken.is_err() {
            self.shared.left();
        }
        if doorbell == Doorbell::Ring {
            self.shared.ring();
        }
        taken
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        let ring = self.ring.as_ref()?;
        let occasion = || Occasion {
            interrupt: false,
            ready: !ring.answers.is_empty(),
            in_flight: self.shared.in_flight.load(Ordering::Acquire),
            active: self.shared.card.active(),
        };
        let poller = || ring.poller.lock().unwrap_or_else(PoisonError::into_inner);
        let due = {
            let mut poller = poller();
            let due = poller.is_due(now, occasion());
            if due {
                poller.handle_look(now);
            }
            due
        };
        if due {
            for (request, answer) in ring.answers.try_iter() {
                self.shared.left();
                request.complete(answer);
            }
        }
        poller().next(now, occasion())
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        self.shared.card.credits(kind)
    }

    fn health(&self, _: Duration) -> Health {
        self.shared.card.health(self.shared.start.elapsed())
    }

    fn attach(&self, room: RoomNotice) {
        self.shared.card.attach(room);
    }

    fn capabilities(&self) -> Capabilities {
        let polled = self.ring.is_some();
        Capabilities { completion_thread: !polled, needs_poll: polled }
    }

    /// Unless another engine still uses the card: the last one ends it.
    fn end(&self, deadline: Duration) -> Option<Shutdown> {
        (!self.shared.card.is_in_use()).then(|| {
            // The engine has waited for its requests, and polls no more.
            let deadline = if self.ring.is_some() { Duration::ZERO } else { deadline };
            self.shutdown_blocking(deadline)
        })
    }
}

impl<W: Work> Drop for SimCard<W> {
    /// Waits for nothing: a completion on that very thread may have dropped it.
    fn drop(&mut self) {
        if self.thread.home().is_here() {
            self.shared.stop();
        }
        if let Some(ring) = &self.ring {
            ring.answers.try_iter().for_each(lose);
        }
    }
}

/// An answer that will not be collected: the request ends as lost, and what was computed is wiped.
fn lose<W: Work>((request, answer): Answered<W>) {
    drop(request);
    let _ = contain("Work::erase", || answer.map(W::erase));
}

impl<W: Work> Shared<W> {
    /// Tells the thread to end.
    fn stop(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.stopping.store(true, Ordering::SeqCst);
        self.ring();
        // Under the lock, so that it comes neither before a look at `stopping` nor between that and the wait.
        drop(self.idle.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.idle.1.notify_all();
    }

    /// A request has left the card.
    fn left(&self) {
        // In one order with `closed` and the look at the count: either this sees the one, or `wait_idle` the other.
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.closed.load(Ordering::SeqCst)
        {
            drop(self.idle.0.lock().unwrap_or_else(PoisonError::into_inner));
            self.idle.1.notify_all();
        }
    }

    /// Waits, once closed, until nothing is in flight, the card was stopped, or no time is left.
    fn wait_idle(&self, left: &dyn Fn() -> Duration) {
        let (lock, idle) = &self.idle;
        let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A card that was stopped meanwhile answers nothing more.
        while self.in_flight.load(Ordering::SeqCst) > 0
            && !self.stopping.load(Ordering::SeqCst)
            && !left().is_zero()
        {
            let wait = left().min(Duration::from_secs(86_400));
            guard = idle.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ring(&self) {
        // Full: it has been rung already. Disconnected: the thread has ended.
        let _ = self.doorbell.try_send(());
    }

    fn run(&self, heard: &Receiver<()>, ring: Option<&Sender<Answered<W>>>) {
        let mut batch = Batch::default();
        while !self.stopping.load(Ordering::Acquire) {
            let done = |answered: Answered<W>| match ring {
                Some(ring) => {
                    // Gone with its card.
                    if let Err(SendError(answered)) = ring.send(answered) {
                        lose(answered);
                    }
                }
                None => {
                    self.left();
                    let (request, answer) = answered;
                    request.complete(answer);
                }
            };
            // An error says that the alarm went off before the doorbell did; either way it is time to look.
            match self.card.service(self.start.elapsed(), &mut batch, done) {
                Alarm::Now => {}
                Alarm::At(at) => match self.start.checked_add(at) {
                    Some(at) => drop(heard.recv_deadline(at)),
                    // Later than the machine's clock can tell.
                    None => drop(heard.recv()),
                },
                Alarm::Never => drop(heard.recv()),
            }
        }
        self.card.shut(self.start.elapsed());
    }
}
