//! The way of a request to a device: admission, the choice of the device, and its queue.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::{Arc, Weak};

use wait_ctx::InFlight;

use crate::accelerator::Attached;
use crate::admission::Admission;
use crate::breaker::SHUT_OFF;
use crate::device_queue::{DeviceQueue, Entered, Progress, Pumped, Retried};
use crate::error::{EngineError, Refused, RefusedReason};
use crate::event::event;
use crate::foreign::{self, Foreign};
use crate::inner::EngineInner;
use crate::options::{Offload, RequestOptions};
use crate::plant::{self, Bug};
use crate::request::Request;
use crate::state::RequestState;
use crate::work::{RequestId, Role, Work};

/// A request that the engine has accepted, and the request itself if the caller is to submit it once it has a permit.
type Accepted<W> = (Arc<RequestState<W>>, Option<Request<W>>);

impl<W: Work> EngineInner<W> {
    pub(crate) fn submit<B>(
        &self,
        work: W,
        begin: impl FnOnce() -> (InFlight, B),
        options: RequestOptions,
    ) -> Result<(Accepted<W>, B), Refused<W>> {
        // The caller's code, which may panic: called before the engine has changed anything.
        let (kind, must_check) = (work.kind(), work.must_check());
        let work = Foreign::new(work);
        let (in_flight, begun) = begin();
        // Before any lock: after a fork it may be held by a thread of the parent.
        if self.is_elsewhere() {
            return Err(self.refuse(work, &in_flight, RefusedReason::MadeElsewhere));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(self.refuse(work, &in_flight, RefusedReason::Closed));
        }
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let Some((role, admission)) = self.route(id, options) else {
            return Err(self.refuse(work, &in_flight, RefusedReason::Unavailable));
        };
        let state =
            RequestState::new(id, kind, must_check, options, in_flight.clone(), &self.meter);
        if plant::strikes(Bug::LeakRequest, id) {
            core::mem::forget(Arc::clone(&state));
        }
        if role == Role::Device && self.may_fall_back(options) {
            let copy = foreign::call(&self.meter, "Work::duplicate", || work.duplicate());
            state.set_spare(copy.unwrap_or_default().map(Foreign::new));
        }
        state.on_standby.store(role == Role::Standby, Ordering::Release);
        event!(TRACE, request = id.0, kind = kind.name(), "request.submit");
        if !self.register(&state) {
            return Err(self.refuse(work, &in_flight, RefusedReason::Closed));
        }

        let request = self.request(work, &state, role);
        let entered = self.enter_admitted(role, &state, request, admission).or_else(|request| {
            let admission =
                if role == Role::Device { self.standby_admits(id, options) } else { None };
            let Some(admission) = admission else { return Err(request) };
            // The device's queue is full: the standby may do it.
            let work = request.into_work().expect(HAS_WORK);
            // Its deadline may have passed first, and ended it or sent the copy to the standby.
            if state.is_settled() || !self.assign_to_standby(&state) {
                return Ok(None);
            }
            let request = self.request(work, &state, Role::Standby);
            self.enter_admitted(Role::Standby, &state, request, admission)
        });
        match entered {
            Ok(kept) => {
                self.meter.count(|c| &c.submitted);
                Ok(((state, kept), begun))
            }
            Err(request) => {
                self.deregister(&state);
                let bound = self.queue(role).bound();
                let work = request.into_work().expect(HAS_WORK);
                Err(self.refuse(work, &in_flight, RefusedReason::QueueFull { bound }))
            }
        }
    }

    fn refuse(&self, work: Foreign<W>, in_flight: &InFlight, reason: RefusedReason) -> Refused<W> {
        in_flight.cancel();
        self.meter.count(|c| &c.refused);
        Refused { work: work.into_inner(), reason }
    }

    #[inline]
    pub(crate) fn request(
        &self,
        work: Foreign<W>,
        state: &Arc<RequestState<W>>,
        role: Role,
    ) -> Request<W> {
        let check = self.queue(role).check_all || state.must_check;
        let engine: Weak<Self> = Weak::clone(&self.this);
        Request { work: Some(work), state: Arc::clone(state), engine, role, check }
    }

    /// The device for a new operation. `None` while its breaker is open, and that of the standby if the options allow it.
    fn route(&self, id: RequestId, options: RequestOptions) -> Option<(Role, Admission<'_>)> {
        let standby = self.standby.as_ref().filter(|_| self.may_fall_back(options));
        let is_idle =
            || matches!(self.offload, Offload::Beyond(under_way) if self.n_others() < under_way);
        let now = self.meter.now();
        if let Some(standby) = standby
            && is_idle()
            && let Some(admission) = self.admit(standby, id, now)
        {
            self.meter.count(|c| &c.not_offloaded);
            return Some((Role::Standby, admission));
        }
        if let Some(admission) = self.admit(&self.device, id, now) {
            return Some((Role::Device, admission));
        }
        let admission = self.admit(standby?, id, now)?;
        self.meter.count(|c| &c.fallbacks);
        Some((Role::Standby, admission))
    }

    /// Leave for a device to have a new operation, as far as its breaker knows.
    fn admit<'a>(
        &self,
        queue: &'a DeviceQueue<W>,
        id: RequestId,
        now: Duration,
    ) -> Option<Admission<'a>> {
        self.check_health(queue, now);
        queue.admit(id)
    }

    /// How many operations are under way besides the one that is about to begin.
    fn n_others(&self) -> usize {
        // The active handshakes include the one that begins it.
        let active = self.active.load(Ordering::Relaxed).saturating_sub(1);
        self.registry().len().max(active)
    }

    /// Gives a request to a device or its queue. Returns the request if its owner is to submit it once it has a permit;
    /// as an error if the queue is full.
    #[inline]
    fn enter(
        &self,
        role: Role,
        state: &RequestState<W>,
        request: Request<W>,
    ) -> Result<Option<Request<W>>, Request<W>> {
        let queue = self.queue(role);
        match queue.enter(state, request) {
            Entered::Submitted { pump } => {
                if pump {
                    self.pump(queue);
                }
                Ok(None)
            }
            Entered::Queued(kept) => {
                self.pump(queue);
                queue.watch_permits();
                Ok(kept)
            }
            Entered::Full(request) => Err(request),
        }
    }

    /// As [`enter`](Self::enter), with the leave of the device's breaker, which is given back if the queue is full.
    #[inline]
    pub(crate) fn enter_admitted(
        &self,
        role: Role,
        state: &RequestState<W>,
        request: Request<W>,
        admission: Admission<'_>,
    ) -> Result<Option<Request<W>>, Request<W>> {
        let kept = self.enter(role, state, request)?;
        admission.spend();
        let queue = self.queue(role);
        if queue.is_over(state) {
            // Another thread has ended or moved it, perhaps before it was queued.
            self.withdraw(queue, state.id);
        }
        Ok(kept)
    }

    /// Submits a request that its owner keeps, if it has a permit.
    pub(crate) fn retry(&self, request: Request<W>) -> Retried<W> {
        let retried = self.device.retry(request);
        if !matches!(retried, Retried::NotYet(_)) {
            self.pump(&self.device);
            self.device.watch_permits();
        }
        retried
    }

    /// Queues a request in place of its owner, who blocks.
    pub(crate) fn queue_instead(&self, request: Request<W>) {
        if self.device.queue_instead(request) {
            self.pump(&self.device);
        }
    }

    /// Pumps a queue, and moves to the standby what the device must not get.
    #[inline]
    pub(crate) fn pump(&self, queue: &DeviceQueue<W>) -> Progress {
        if queue.has_waiting() { self.pump_waiting(queue) } else { Progress::None }
    }

    fn pump_waiting(&self, queue: &DeviceQueue<W>) -> Progress {
        let Pumped { progress, diverted } = queue.pump();
        diverted
            .into_iter()
            .for_each(|request| self.divert(request, EngineError::Device(SHUT_OFF)));
        progress
    }

    /// Takes a request out of a queue, if it is there; not one that is being submitted.
    pub(crate) fn withdraw(&self, queue: &DeviceQueue<W>, id: RequestId) {
        if queue.withdraw(id) {
            self.pump(queue);
        }
    }

    pub(crate) fn withdraw_everywhere(&self, id: RequestId) {
        self.queues().for_each(|queue| self.withdraw(queue, id));
    }
}

impl<W: Work> Attached for EngineInner<W> {
    /// A request has left a device, or the device announces room.
    fn handle_room(&self, role: Role) {
        let queue = self.queue(role);
        queue.handle_room();
        self.pump(queue);
    }

    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}

const HAS_WORK: &str = "a request that was not submitted has its work";
