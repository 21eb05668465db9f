//! The card in real time: a hardware queue thread steps it by the machine's clock.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, SendError, Sender, bounded, unbounded};
use crypto_ops::CryptoOp;
use engine_core::{
    Accelerator, Capabilities, DeviceRefused, Health, Kind, MADE_ELSEWHERE, MonotonicClock,
    OwnedThreads, Request, RoomNotice, Shutdown, ShuttingDown, Work, contain,
};
use sim_device::{Fault, InstanceStats};

use crate::card::{Answered, Card};
use crate::compute::Compute;
use crate::config::{SimConfig, SimError};
use crate::hardware::{Alarm, Batch};
use crate::polling::{Occasion, Poller, Polling};

/// A simulated card with its hardware queue thread, as an [`Accelerator`] for an engine.
///
/// The thread sleeps until the device has something due or the doorbell rings, and computes what is finished with real
/// keys. With [`Polling::Interrupt`] it also completes it; with any other policy it writes it to a response ring in
/// memory, which a poll of the engine drains.
///
/// [`shutdown`](Self::shutdown) waits for what is in flight until a deadline, ends the thread and joins it;
/// [`stop`](Self::stop) drops what is in flight. So does dropping the card, which waits for nothing: the thread ends by
/// itself.
pub struct SimCard<W: Work = CryptoOp> {
    shared: Arc<Shared<W>>,
    thread: OwnedThreads,
    ring: Option<ResponseRing<W>>,
}

/// Answers that no poll has collected yet.
struct ResponseRing<W: Work> {
    answers: Receiver<Answered<W>>,
    /// When to collect them, by the policy and the engine's clock.
    poller: Mutex<Poller>,
}

struct Shared<W: Work> {
    card: Card<W>,
    /// One slot: a doorbell that rings already need not ring twice.
    doorbell: Sender<()>,
    stopping: AtomicBool,
    /// The card takes no more requests; set before `stopping`.
    closed: AtomicBool,
    /// Signalled when nothing is in flight, once `closed`.
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
    /// [`SimError`] if the configuration is invalid, or the system gives no thread.
    pub fn start(
        config: SimConfig,
        compute: Arc<impl Compute<Work = W> + 'static>,
    ) -> Result<Arc<Self>, SimError> {
        let name = config.instance.name.clone();
        let polling = config.polling;
        let polled = !matches!(polling, Polling::Interrupt { .. });
        // Polled, the policy applies to the response ring; the hardware thread empties the device at once.
        let poller = if polled { Poller::eager() } else { Poller::new(polling) };
        let card = Card::new(config, compute, poller, Arc::new(MonotonicClock::new()))?;
        let (doorbell, heard) = bounded(1);
        let shared = Arc::new(Shared {
            card,
            doorbell,
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            idle: (Mutex::new(()), Condvar::new()),
            in_flight: AtomicUsize::new(0),
        });
        // Unbounded: it never holds more than the device has accepted.
        let (written, answers) = unbounded();
        let ring =
            polled.then(|| ResponseRing { answers, poller: Mutex::new(Poller::new(polling)) });
        let written = ring.is_some().then_some(written);
        let hardware = Arc::clone(&shared);
        let thread = OwnedThreads::new();
        thread.spawn(name, move || hardware.run(&heard, written.as_ref()))?;
        Ok(Arc::new(Self { shared, thread, ring }))
    }

    /// Stops the intake, waits for what is in flight until `deadline`, ends the hardware queue thread and joins it.
    /// Requests that the card holds then are reported lost, later ones refused as unavailable. With a polling policy the
    /// engine has to be polled meanwhile.
    ///
    /// It begins at once, on a thread of its own; the future works with any executor, and may be dropped.
    pub fn shutdown(self: &Arc<Self>, deadline: Duration) -> ShuttingDown {
        if !self.thread.home().is_here() {
            return ShuttingDown::ready(Shutdown::Drained);
        }
        self.shared.closed.store(true, Ordering::SeqCst);
        let card = Arc::clone(self);
        ShuttingDown::on_own_thread(deadline, move |deadline| card.shutdown_blocking(deadline))
    }

    /// As [`shutdown`](Self::shutdown), and blocks.
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

    /// Ends the hardware queue thread, and waits for it unless called on that thread. Requests that the card holds are
    /// reported lost, later ones are refused as unavailable. Further calls do nothing.
    pub fn stop(&self) {
        if self.thread.home().is_here() {
            self.shared.stop();
            let _joined = self.thread.join(Duration::MAX);
        }
    }

    /// The device's statistics, summed over all instances.
    pub fn stats(&self) -> InstanceStats {
        self.shared.card.stats()
    }

    /// What each instance has counted.
    pub fn instance_stats(&self) -> Vec<InstanceStats> {
        self.shared.card.hardware().stats()
    }

    /// Reports how many connections the application has, for [`Polling::Heuristic`].
    pub fn set_active(&self, connections: usize) {
        self.shared.card.active.store(connections, Ordering::Relaxed);
    }

    /// Injects a fault into every instance, regardless of rules and budgets.
    pub fn inject(&self, fault: Fault) {
        self.shared.card.inject(fault);
        self.shared.ring();
    }

    /// The time since the card was started: the device's clock.
    pub fn elapsed(&self) -> Duration {
        self.shared.card.clock.now()
    }
}

impl<W: Work> core::fmt::Debug for SimCard<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SimCard").field("card", &self.shared.card).finish_non_exhaustive()
    }
}

impl<W: Work> Accelerator<W> for SimCard<W> {
    fn submit(&self, request: Request<W>) -> Result<(), DeviceRefused<W>> {
        // An engine over a card that interrupts has checked this already.
        if self.ring.is_some() && !self.thread.home().is_here() {
            return Err(DeviceRefused::Unavailable(request, MADE_ELSEWHERE));
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(DeviceRefused::Unavailable(request, "the card has been stopped"));
        }
        // Counted first: the answer may come before the return.
        self.shared.in_flight.fetch_add(1, Ordering::AcqRel);
        let (taken, ring) = self.shared.card.submit(request);
        if taken.is_err() {
            self.shared.record_left();
        }
        if ring {
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
            active: self.shared.card.n_active(),
        };
        let poller = || ring.poller.lock().unwrap_or_else(PoisonError::into_inner);
        let due = {
            let mut poller = poller();
            let due = poller.is_due(now, occasion());
            if due {
                poller.record_poll(now);
            }
            due
        };
        if due {
            for (request, answer) in ring.answers.try_iter() {
                self.shared.record_left();
                request.complete(answer);
            }
        }
        poller().next(now, occasion())
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        self.shared.card.credits(kind)
    }

    fn health(&self, _: Duration) -> Health {
        self.shared.card.health()
    }

    fn attach(&self, room: RoomNotice) {
        self.shared.card.attach(room);
    }

    fn capabilities(&self) -> Capabilities {
        let polled = self.ring.is_some();
        Capabilities { completion_thread: !polled, needs_poll: polled }
    }

    /// Shuts the card down, unless another engine uses it.
    fn end(&self, deadline: Duration) -> Option<Shutdown> {
        (!self.shared.card.is_in_use()).then(|| {
            // The engine has waited for its requests, and does not poll any more.
            let deadline = if self.ring.is_some() { Duration::ZERO } else { deadline };
            self.shutdown_blocking(deadline)
        })
    }
}

impl<W: Work> Drop for SimCard<W> {
    /// Waits for nothing: the thread itself may drop it, in a completion.
    fn drop(&mut self) {
        if !self.thread.home().is_here() {
            // The locks of the card, and of the engines that its requests are of, may be held by the parent's threads.
            core::mem::forget((Arc::clone(&self.shared), self.ring.take()));
            return;
        }
        self.shared.stop();
        if let Some(ring) = &self.ring {
            ring.answers.try_iter().for_each(lose);
        }
    }
}

/// Drops an answer that will not be collected: the request ends as lost, and the output is erased.
fn lose<W: Work>((request, answer): Answered<W>) {
    drop(request);
    let _ = contain("Work::erase", || answer.map(W::erase));
}

impl<W: Work> Shared<W> {
    /// Makes the thread end.
    fn stop(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.stopping.store(true, Ordering::SeqCst);
        self.ring();
        // Under the lock, so that it cannot come between a waiter's check of `stopping` and its wait.
        drop(self.idle.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.idle.1.notify_all();
    }

    /// Counts a request that has left the card.
    fn record_left(&self) {
        // Sequentially consistent: either this sees `closed`, or `wait_idle` sees the count.
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
        // A stopped card answers nothing more.
        while self.in_flight.load(Ordering::SeqCst) > 0
            && !self.stopping.load(Ordering::SeqCst)
            && !left().is_zero()
        {
            let wait = left().min(Duration::from_secs(86_400));
            guard = idle.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ring(&self) {
        // Full: it rings already. Disconnected: the thread has ended.
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
                    self.record_left();
                    let (request, answer) = answered;
                    request.complete(answer);
                }
            };
            // A timeout of the alarm and a doorbell both lead to the next service.
            match self.card.service(self.card.clock.now(), &mut batch, done) {
                Alarm::Now => {}
                Alarm::At(at) => {
                    let _ = heard.recv_timeout(at.saturating_sub(self.card.clock.now()));
                }
                Alarm::Never => drop(heard.recv()),
            }
        }
        self.card.shut();
    }
}
