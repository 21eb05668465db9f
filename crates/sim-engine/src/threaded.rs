//! The card in real time: a hardware queue thread steps it by the machine's clock.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use crypto_ops::CryptoOp;
use engine_core::{Accelerator, Capabilities, Rejected, Request, Work};
use sim_device::InstanceStats;

use crate::card::{Alarm, Card, Doorbell};
use crate::compute::Compute;
use crate::config::SimConfig;
use crate::error::SimError;

/// A simulated card with its hardware queue thread, as an [`Accelerator`] for an engine.
///
/// The thread sleeps until the device has something due or the doorbell rings, computes what is finished with real
/// keys, and completes it. Dropping the card, or [`stop`](Self::stop), ends the thread; what is in flight then is
/// reported lost.
pub struct SimCard<W: Work = CryptoOp> {
    shared: Arc<Shared<W>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<W: Work> {
    card: Card<W>,
    start: Instant,
    /// One slot: a doorbell that has not been heard need not ring twice.
    doorbell: Sender<()>,
    stopping: AtomicBool,
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
        let card = Card::new(config, compute)?;
        let (doorbell, heard) = bounded(1);
        let start = Instant::now();
        let shared = Arc::new(Shared { card, start, doorbell, stopping: AtomicBool::new(false) });
        let hardware = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name).spawn(move || hardware.run(&heard))?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Ends the hardware queue thread and waits for it. Requests that the card holds are dropped with it, and so
    /// reported lost. Does nothing the second time.
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

    /// What the device has counted.
    pub fn stats(&self) -> InstanceStats {
        self.shared.card.stats()
    }

    /// The time since the card was started: the device's clock.
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }
}

impl<W: Work> Accelerator<W> for SimCard<W> {
    fn submit(&self, request: Request<W>) -> Result<(), Rejected<W>> {
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(Rejected::Unsupported(request, "the card has been stopped"));
        }
        if self.shared.card.submit(self.shared.start.elapsed(), request)? == Doorbell::Ring {
            self.shared.ring();
        }
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { completion_thread: true, needs_poll: false }
    }
}

impl<W: Work> core::fmt::Debug for SimCard<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SimCard").field("card", &self.shared.card).finish_non_exhaustive()
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

    fn run(&self, heard: &Receiver<()>) {
        let mut batch = Vec::new();
        while !self.stopping.load(Ordering::Acquire) {
            // An error says that the alarm went off before the doorbell did; either way it is time to look.
            match self.card.service(self.start.elapsed(), &mut batch) {
                Alarm::Now => {}
                Alarm::At(at) => drop(heard.recv_deadline(self.start + at)),
                Alarm::Never => drop(heard.recv()),
            }
        }
    }
}
