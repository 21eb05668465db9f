//! The card in real time: a hardware queue thread steps it by the machine's clock.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, SendError, Sender, bounded, unbounded};
use crypto_ops::CryptoOp;
use engine_core::{
    Accelerator, Capabilities, Health, Kind, Rejected, Request, RoomNotice, Work, contain,
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
/// Dropping the card, or [`stop`](Self::stop), ends the thread; what is in flight then is reported lost.
pub struct SimCard<W: Work = CryptoOp> {
    shared: Arc<Shared<W>>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
            in_flight: AtomicUsize::new(0),
        });
        // Not bounded: it never holds more than the device has accepted.
        let (written, answers) = unbounded();
        let ring = (!polling.by_interrupt())
            .then(|| ResponseRing { answers, poller: Mutex::new(Poller::new(polling)) });
        let written = ring.is_some().then_some(written);
        let hardware = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || hardware.run(&heard, written.as_ref()))?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(thread)), ring }))
    }

    /// Ends the hardware queue thread and waits for it. Requests that the card holds are reported lost, later ones are
    /// refused as unavailable. Does nothing the second time.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            // The last owner of the engine may have been a completion on that very thread.
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the hardware queue thread panicked");
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
    fn submit(&self, request: Request<W>) -> Result<(), Rejected<W>> {
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(Rejected::Unavailable(request, "the card has been stopped"));
        }
        // Counted before, for the answer may be faster than the return.
        self.shared.in_flight.fetch_add(1, Ordering::AcqRel);
        let (taken, doorbell) = self.shared.card.submit(self.shared.start.elapsed(), request);
        if taken.is_err() {
            self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
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
                self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
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
}

impl<W: Work> Drop for SimCard<W> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<W: Work> Shared<W> {
    fn ring(&self) {
        // Full: it has been rung already. Disconnected: the thread has ended.
        let _ = self.doorbell.try_send(());
    }

    fn run(&self, heard: &Receiver<()>, ring: Option<&Sender<Answered<W>>>) {
        let mut batch = Batch::default();
        while !self.stopping.load(Ordering::Acquire) {
            let done = |answered: Answered<W>| match ring {
                Some(ring) => {
                    if let Err(SendError((request, answer))) = ring.send(answered) {
                        // Gone with its card: what it held is lost, and what was computed is wiped.
                        drop(request);
                        let wipe = || answer.map(W::erase);
                        let _ = contain("Work::erase", wipe);
                    }
                }
                None => {
                    self.in_flight.fetch_sub(1, Ordering::AcqRel);
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
