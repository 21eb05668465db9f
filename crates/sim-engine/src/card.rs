//! The card itself: an instance of the device, and the software that computes what the device pretends to. One body
//! of code for both clocks; [`SimCard`](crate::SimCard) and [`SteppedCard`](crate::SteppedCard) drive it.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_core::{DeviceError, Rejected, Request, Work};
use sim_device::{Completion, Instance, InstanceStats, Outcome, Refused};

use crate::compute::Compute;
use crate::config::SimConfig;
use crate::error::SimError;

pub(crate) struct Card<W: Work> {
    config: SimConfig,
    compute: Arc<dyn Compute<Work = W>>,
    /// The rings and registers that driver and hardware share. Held for bookkeeping only: never while computing, and
    /// never while a request is completed.
    hardware: Mutex<Hardware<W>>,
}

struct Hardware<W: Work> {
    /// The device owns the requests inside it (law L1).
    instance: Instance<Request<W>>,
    alarm: Alarm,
}

/// When the hardware looks again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// At once: it has just worked, or been rung.
    Now,
    /// At this time.
    At(Duration),
    /// Not before the doorbell.
    Never,
}

/// Whether the hardware has to be told of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doorbell {
    /// It looks soon enough by itself.
    Silent,
    /// It sleeps too long.
    Ring,
}

impl<W: Work> Card<W> {
    pub(crate) fn new(
        config: SimConfig,
        compute: Arc<dyn Compute<Work = W>>,
    ) -> Result<Self, SimError> {
        let instance = Instance::new(config.instance.clone(), config.seed)?;
        let hardware = Mutex::new(Hardware { instance, alarm: Alarm::Now });
        Ok(Self { config, compute, hardware })
    }

    pub(crate) fn submit(
        &self,
        now: Duration,
        request: Request<W>,
    ) -> Result<Doorbell, Rejected<W>> {
        let Some(class) = self.config.class_of(request.kind()) else {
            return Err(Rejected::Unsupported(
                request,
                "this card has no unit for that kind of work",
            ));
        };
        let mut hardware = self.lock();
        match hardware.instance.submit(now, class, request) {
            Ok(_entry) => Ok(hardware.doorbell()),
            Err(Refused::RingFull(request)) => Err(Rejected::Full(request)),
            Err(Refused::Resetting(request)) => {
                Err(Rejected::Unavailable(request, "it is being reset"))
            }
            Err(Refused::Removed(request)) => Err(Rejected::Unavailable(request, "it is unplugged")),
            Err(refused) => {
                let why = refused.reason();
                Err(Rejected::Unsupported(refused.into_payload(), why))
            }
        }
    }

    /// Moves the hardware to `now`, takes what it has finished off the response ring and completes it. Returns when
    /// to call again; submissions ring the doorbell if that is too late for them.
    pub(crate) fn service(&self, now: Duration, batch: &mut Vec<Completion<Request<W>>>) -> Alarm {
        let alarm = {
            let mut hardware = self.lock();
            hardware.instance.advance(now);
            let _announced = hardware.instance.take_interrupt(now);
            hardware.instance.poll_responses(usize::MAX, batch);
            hardware.alarm = match hardware.instance.next_deadline() {
                // Computing takes time: look again after it.
                _ if !batch.is_empty() => Alarm::Now,
                Some(at) => Alarm::At(at),
                None => Alarm::Never,
            };
            hardware.alarm
        };
        for completion in batch.drain(..) {
            self.complete(completion);
        }
        alarm
    }

    fn complete(&self, mut completion: Completion<Request<W>>) {
        let Some(request) = completion.payload.take() else { return };
        tracing::trace!(
            device = %self.config.instance.name,
            request = request.id().as_u64(),
            kind = request.kind().name(),
            outcome = %completion.outcome,
            queue_us = completion.queue_wait().as_micros() as u64,
            service_us = completion.service_time().as_micros() as u64,
            "device.complete"
        );
        // A card does not sign for somebody who has gone; the answer would only be wiped.
        let answer = if request.is_abandoned() {
            Err(DeviceError::Lost)
        } else {
            match completion.outcome {
                Outcome::Finished => self.compute.compute(request.work()),
                Outcome::Corrupt => {
                    self.compute.compute(request.work()).map(|output| self.compute.spoil(output))
                }
                Outcome::Reset | Outcome::Removed => Err(DeviceError::Reset),
                _ => Err(DeviceError::Failed("the device reported an error")),
            }
        };
        request.complete(answer);
    }

    pub(crate) fn stats(&self) -> InstanceStats {
        self.lock().instance.stats().clone()
    }

    pub(crate) fn with_instance<R>(&self, look: impl FnOnce(&mut Instance<Request<W>>) -> R) -> R {
        look(&mut self.lock().instance)
    }

    fn lock(&self) -> MutexGuard<'_, Hardware<W>> {
        // Nothing panics while the hardware is locked, so poisoned state is still whole.
        self.hardware.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Hardware<W> {
    fn doorbell(&mut self) -> Doorbell {
        let wanted = self.instance.next_deadline();
        let soon_enough = match (self.alarm, wanted) {
            (Alarm::Now, _) | (_, None) => true,
            (Alarm::At(alarm), Some(wanted)) => alarm <= wanted,
            (Alarm::Never, Some(_)) => false,
        };
        if soon_enough {
            return Doorbell::Silent;
        }
        self.alarm = Alarm::Now;
        Doorbell::Ring
    }
}

impl<W: Work> core::fmt::Debug for Card<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Card")
            .field("compute", &self.compute)
            .field("hardware", &*self.lock())
            .finish_non_exhaustive()
    }
}

impl<W: Work> core::fmt::Debug for Hardware<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Hardware")
            .field("occupancy", &self.instance.occupancy())
            .field("alarm", &self.alarm)
            .finish_non_exhaustive()
    }
}
