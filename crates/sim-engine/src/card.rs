//! The card: the simulated hardware, and the software that computes its results. One body of code for both clocks:
//! [`SimCard`](crate::SimCard) and [`SteppedCard`](crate::SteppedCard) drive it.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_core::{
    Clock, DeviceError, DeviceRefused, Health, Kind, Request, RoomNotice, Work, contain,
};
use sim_device::{Completion, CompletionStatus, Fault, InstanceStats};

use crate::compute::Compute;
use crate::config::{SimConfig, SimError};
use crate::hardware::{Alarm, Batch, Hardware, Inside};
use crate::polling::Poller;

pub(crate) struct Card<W: Work> {
    config: SimConfig,
    /// The device's clock.
    pub(crate) clock: Arc<dyn Clock>,
    compute: Arc<dyn Compute<Work = W>>,
    /// The rings and registers that driver and hardware share. Never held while computing, nor while a request is
    /// completed.
    hardware: Mutex<Hardware<W>>,
    /// Connections of the application, for the heuristic.
    pub(crate) active: AtomicUsize,
    /// One for each engine over this card.
    rooms: Mutex<Vec<RoomNotice>>,
}

/// A request with its answer.
pub(crate) type Answered<W> = (Request<W>, Result<<W as Work>::Output, DeviceError>);

impl<W: Work> Card<W> {
    /// A card whose responses are collected when `poller` says so.
    pub(crate) fn new(
        config: SimConfig,
        compute: Arc<dyn Compute<Work = W>>,
        poller: Poller,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SimError> {
        let hardware = Mutex::new(Hardware::new(&config, poller)?);
        let (active, rooms) = (AtomicUsize::new(0), Mutex::default());
        Ok(Self { config, clock, compute, hardware, active, rooms })
    }

    /// Also returns whether to ring the doorbell.
    pub(crate) fn submit(&self, request: Request<W>) -> (Result<(), DeviceRefused<W>>, bool) {
        match self.config.class_of(request.kind()) {
            Some(class) => self.hardware().submit(self.clock.now(), class, request),
            None => {
                let why = "this card has no unit for that kind of work";
                (Err(DeviceRefused::Unsupported(request, why)), false)
            }
        }
    }

    /// Moves the hardware to `now`, computes what it has finished and hands it to `done`. Returns when to call again;
    /// submissions ring the doorbell if that is too late for them.
    pub(crate) fn service(
        &self,
        now: Duration,
        batch: &mut Batch<W>,
        mut done: impl FnMut(Answered<W>),
    ) -> Alarm {
        let (mut alarm, opened) = {
            let mut hardware = self.hardware();
            (hardware.service(now, self.n_active(), batch), hardware.take_opened())
        };
        let freed = !batch.is_empty();
        for completion in batch.completions.drain(..) {
            // A duplicate has no payload: the request came with the first, and there is nothing to complete twice.
            if let Some(answered) = self.answer(completion) {
                done(answered);
            }
        }
        for request in batch.lost.drain(..) {
            done((request, Err(DeviceError::Lost)));
        }
        // A completion pumps its own engine; other engines over the card wait for room, too.
        if opened || freed && self.rooms().len() > 1 {
            // Without the lock: the callee may build an engine over this card.
            let rooms = self.rooms().clone();
            rooms.iter().for_each(RoomNotice::announce);
            // Requests submitted by that may be due earlier.
            if alarm != Alarm::Now {
                alarm = self.hardware().set_alarm(now, self.n_active());
            }
        }
        alarm
    }

    fn answer(&self, mut completion: Completion<Inside<W>>) -> Option<Answered<W>> {
        // The payload identifies the request; the tag beside it may be wrong.
        let Inside { request, .. } = completion.payload.take()?;
        tracing::trace!(
            device = %self.config.instance.name,
            request = request.id().as_u64(),
            kind = request.kind().name(),
            outcome = %completion.status,
            queue_us = completion.queue_wait().as_micros() as u64,
            service_us = completion.service_time().as_micros() as u64,
            "device.complete"
        );
        // The answer to a cancelled request would only be erased.
        let computes_cancelled = || self.run(|compute| Ok(compute.computes_cancelled()));
        let answer = if request.is_abandoned() && computes_cancelled() != Ok(true) {
            Err(DeviceError::Lost)
        } else {
            match completion.status {
                CompletionStatus::Finished => self.run(|compute| compute.compute(request.work())),
                CompletionStatus::Corrupt => self.run(|compute| {
                    compute.compute(request.work()).map(|output| compute.spoil(output))
                }),
                CompletionStatus::Reset | CompletionStatus::Removed => Err(DeviceError::Reset),
                _ => Err(DeviceError::Failed("the device reported an error")),
            }
        };
        Some((request, answer))
    }

    /// Runs the computation; a panic fails this request only.
    fn run<R>(
        &self,
        work: impl FnOnce(&dyn Compute<Work = W>) -> Result<R, DeviceError>,
    ) -> Result<R, DeviceError> {
        contain("the computation of a card", || work(&*self.compute))
            .unwrap_or(Err(DeviceError::Failed("the computation panicked")))
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.hardware().inject(self.clock.now(), fault);
    }

    pub(crate) fn health(&self) -> Health {
        let period = self.config.instance.heartbeat;
        if self.hardware().is_alive(self.clock.now(), period) {
            Health::Alive
        } else {
            Health::Dead
        }
    }

    pub(crate) fn credits(&self, kind: Kind) -> Option<usize> {
        self.hardware().credits(self.config.class_of(kind)?)
    }

    pub(crate) fn attach(&self, room: RoomNotice) {
        self.rooms().push(room);
    }

    /// Whether an engine over the card still takes work on.
    pub(crate) fn is_in_use(&self) -> bool {
        // A copy: dropping the last handle of an engine runs foreign code, for which the lock must be free.
        let rooms = self.rooms().clone();
        rooms.iter().any(RoomNotice::is_open)
    }

    fn rooms(&self) -> MutexGuard<'_, Vec<RoomNotice>> {
        // Nothing panics while they are locked, so they are whole.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more requests and drops those inside, which are thereby lost.
    pub(crate) fn shut(&self) {
        // Each is completed by its drop, for which the lock must be free.
        let inside = self.hardware().evict(self.clock.now());
        drop(inside);
    }

    pub(crate) fn n_active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// The counters of all instances, added up.
    pub(crate) fn stats(&self) -> InstanceStats {
        let all = self.hardware().stats();
        all.into_iter().reduce(add).unwrap_or_default()
    }

    pub(crate) fn hardware(&self) -> MutexGuard<'_, Hardware<W>> {
        // Nothing panics while the hardware is locked, so poisoned state is still whole.
        self.hardware.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> core::fmt::Debug for Card<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Card")
            .field("compute", &self.compute)
            .field("hardware", &*self.hardware())
            .finish_non_exhaustive()
    }
}

fn add(mut sum: InstanceStats, other: InstanceStats) -> InstanceStats {
    sum.submitted += other.submitted;
    sum.refused_full += other.refused_full;
    sum.refused_away += other.refused_away;
    sum.finished += other.finished;
    sum.drained += other.drained;
    sum.duplicates += other.duplicates;
    sum.reclaimed += other.reclaimed;
    sum.faults += other.faults;
    sum.response_stalls += other.response_stalls;
    sum.interrupts += other.interrupts;
    sum.interrupts_lost += other.interrupts_lost;
    sum.polls += other.polls;
    sum.empty_polls += other.empty_polls;
    sum.peak_occupancy += other.peak_occupancy;
    for (class, more) in sum.classes.iter_mut().zip(other.classes) {
        class.units += more.units;
        class.working += more.working;
        class.finished += more.finished;
        class.services += more.services;
        class.busy += more.busy;
        class.waited += more.waited;
    }
    sum
}
