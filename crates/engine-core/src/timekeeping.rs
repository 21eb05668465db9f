//! What an engine does as time passes: it polls devices, keeps deadlines and checks the device's health.

use core::time::Duration;
use std::sync::Arc;

use wait_ctx::{RequestPhase, contain};

use crate::accelerator::Health;
use crate::breaker::SHUT_OFF;
use crate::device::AFTER_A_PANIC;
use crate::device_queue::{DeviceQueue, Progress};
use crate::error::{EngineError, RefusedReason};
use crate::inner::EngineInner;
use crate::plant::{self, Bug};
use crate::state::RequestState;
use crate::sync::lock;
use crate::work::{Role, Work};

impl<W: Work> EngineInner<W> {
    /// Moves everything to the present, and returns when to call again.
    pub(crate) fn poll(&self) -> Option<Duration> {
        if self.is_elsewhere() {
            return None;
        }
        loop {
            let now = self.meter.now();
            // The device first: an answer that is due at the deadline is in time.
            let mut devices = self.poll_devices(now);
            let mut moved = false;
            for queue in self.queues() {
                moved |= self.check_health(queue, now);
            }
            moved |= self.expire(now);
            for queue in self.queues() {
                moved |= self.attempt_due(queue, now);
            }
            let progress = self.queues().map(|queue| self.pump(queue)).max();
            if moved || progress == Some(Progress::Moved) {
                continue;
            }
            // A refusal may have given the device something to do. Polled once more, and not pumped: a request that was
            // just refused is not submitted again before that is due.
            if progress == Some(Progress::Refused) {
                devices = self.poll_devices(now);
            }
            return devices.into_iter().chain(self.next_timer()).min();
        }
    }

    /// As [`poll`](Self::poll). A panic in it, which has done part of its work, is contained: the rest is due soon.
    pub(crate) fn poll_contained(&self) -> Option<Duration> {
        contain("Engine::poll", || self.poll())
            .unwrap_or_else(|_panicked| Some(self.meter.after(AFTER_A_PANIC)))
    }

    fn poll_devices(&self, now: Duration) -> Option<Duration> {
        self.queues().filter_map(|queue| queue.device.poll(now)).min()
    }

    fn next_timer(&self) -> Option<Duration> {
        let permits = self.queues().filter_map(|queue| queue.next_expiry()).min();
        let attempt = self.queues().filter_map(DeviceQueue::next_attempt).min();
        let registry = self.registry();
        let breakers = self.queues().filter_map(|queue| queue.breaker.as_ref());
        let health = breakers.map(|breaker| lock(breaker).health_due()).min();
        let health = health.filter(|_| registry.len() > 0);
        registry.next_deadline().into_iter().chain(health).chain(permits).chain(attempt).min()
    }

    /// Ends or moves every request whose deadline has come. True if there was one.
    fn expire(&self, now: Duration) -> bool {
        if plant::armed(Bug::IgnoreDeadline) {
            return false;
        }
        let mut any = false;
        // One at a time: ending one may open the breaker, which moves others to the standby, with a new deadline.
        loop {
            let due = {
                let mut registry = self.registry();
                let Some(state) = registry.take_due(now) else { return any };
                // Under the lock: record which device timed out.
                state.upgrade().map(|state| (state.is_on_standby(), state))
            };
            any = true;
            if let Some((on_standby, state)) = due {
                self.expire_one(&state, on_standby);
            }
        }
    }

    /// Gives a device the requests whose next attempt is due. True if there was one.
    fn attempt_due(&self, queue: &DeviceQueue<W>, now: Duration) -> bool {
        let mut any = false;
        while let Some(request) = queue.take_due(now) {
            any = true;
            let state = Arc::clone(request.state());
            if queue.is_over(&state) {
                drop(request.into_work());
                continue;
            }
            let Some(admission) = queue.admit(state.id) else {
                self.divert(request, EngineError::Device(SHUT_OFF));
                continue;
            };
            match self.enter_admitted(queue.role(), &state, request, admission) {
                // Its owner is not awake to submit it.
                Ok(Some(kept)) => self.queue_instead(kept),
                Ok(None) => {}
                Err(request) => {
                    let full = RefusedReason::QueueFull { bound: queue.bound() };
                    self.divert(request, EngineError::Refused(full));
                }
            }
        }
        any
    }

    fn expire_one(&self, state: &Arc<RequestState<W>>, on_standby: bool) {
        if state.is_settled() {
            return;
        }
        self.meter.count(|c| &c.deadlines);
        let phase = state.in_flight.phase();
        let role = if on_standby { Role::Standby } else { Role::Device };
        let queue = self.queue(role);
        // Once submitted, it waits again if the device has failed it.
        let device_has_it = phase == RequestPhase::Submitted && !queue.is_queued(state.id);
        let rescued = self.rescue(state, &EngineError::Deadline);
        // If another thread has moved it to the standby since, it has its time again there.
        if !rescued && state.is_on_standby() == on_standby {
            self.fail(state, EngineError::Deadline);
        }
        if device_has_it {
            self.note_outcome(queue, state, &Err(EngineError::Deadline), queue.n_held());
        }
    }

    /// Asks for a device's health, if that is due. True if the breaker opened.
    pub(crate) fn check_health(&self, queue: &DeviceQueue<W>, now: Duration) -> bool {
        let Some(breaker) = &queue.breaker else { return false };
        if now < lock(breaker).health_due() {
            return false;
        }
        // Without the lock: the device is foreign code.
        let alive = queue.device.health(now) != Health::Dead;
        let tripped = lock(breaker).handle_health(now, alive);
        if tripped {
            self.handle_trip(queue);
        }
        tripped
    }
}
