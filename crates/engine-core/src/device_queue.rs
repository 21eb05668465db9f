//! A device with the bounded backlog before its rings, and with its breaker.
//!
//! ```text
//!   enter --> device          while nothing waits and its ring has room
//!     |
//!     v
//!   backlog -- pump --> device                            OnFull::Queue: the request itself waits
//!     |
//!     +------- pump --> permit -- wake --> job -- retry --> device     OnFull::Notify: its owner waits for a permit
//! ```
//!
//! A request that the device failed, and that is to be attempted again, waits in the backlog too, until its time. So a
//! request is in the backlog, or the device has it, or it is on its way between the two.
//!
//! The waiting requests are behind one lock, which is held for bookkeeping only: the device and wakers are called without it.
//!
//! The methods return what happened. If a result says that the queue needs a [`pump`](DeviceQueue::pump), the engine
//! pumps, because a pump may return requests that belong on the standby.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accelerator::DeviceRefused;
use crate::admission::Admission;
use crate::backlog::{Backlog, Grant, Replaced, Waiting, Withdrawn};
use crate::breaker::{Breaker, BreakerState};
use crate::device::Device;
use crate::error::{DeviceError, EngineError};
use crate::fifo::Position;
use crate::foreign::Foreign;
use crate::meter::Meter;
use crate::options::OnFull;
use crate::plant::{self, Bug};
use crate::request::Request;
use crate::state::RequestState;
use crate::sync::lock;
use crate::waker::DriverWaker;
use crate::work::{Kind, RequestId, Role, Work};

pub(crate) struct DeviceQueue<W: Work> {
    role: Role,
    pub(crate) device: Device<W>,
    on_full: OnFull,
    /// Whether every result of this device is checked.
    pub(crate) check_all: bool,
    needs_poll: bool,
    meter: Arc<Meter>,
    waker: DriverWaker,
    pub(crate) breaker: Option<Mutex<Breaker>>,
    backlog: Mutex<RequestBacklog<W>>,
    /// Requests that the device holds. Counted before they are submitted, because a completion may overtake that.
    held: AtomicUsize,
    /// Requests that are queued or being submitted: while it is not zero, a new request of any kind goes to the end of
    /// its queue instead of overtaking. Written under the lock.
    waiting: AtomicUsize,
    /// Permits not yet used. Written under the lock.
    permits: AtomicUsize,
    /// Calls of [`pump`](Self::pump) that the running pump has not yet answered.
    pump_calls: AtomicUsize,
}

type RequestBacklog<W> = Backlog<Request<W>, Arc<RequestState<W>>>;

/// Where a new request is.
pub(crate) enum Entered<W: Work> {
    /// The device has it. If the flag is set the queue needs a pump: requests that queued meanwhile waited for this one.
    Submitted { pump: bool },
    /// It waits, and the queue needs a pump: the device may have emptied its ring before the request was queued, and then
    /// nothing else would. An owner that is to submit the request itself gets it back.
    Queued(Option<Request<W>>),
    /// The queue is full.
    Full(Request<W>),
}

/// Result of an owner's attempt to submit the request that it keeps. After the last two the queue needs a pump.
pub(crate) enum Retried<W: Work> {
    /// It has no permit.
    NotYet(Request<W>),
    /// It had a permit, and the ring was full. It is the next one.
    Full(Request<W>),
    Submitted,
}

/// What a pump did.
#[must_use = "diverted requests belong to the standby"]
pub(crate) struct Pumped<W: Work> {
    pub(crate) progress: Progress,
    /// Requests that the device must not get, because its breaker is open.
    pub(crate) diverted: Vec<Request<W>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// There was nothing to submit.
    None,
    /// The device refused every request.
    Refused,
    /// A request left the queue.
    Moved,
}

impl<W: Work> DeviceQueue<W> {
    pub(crate) fn new(
        role: Role,
        device: Device<W>,
        on_full: OnFull,
        bound: usize,
        check_all: bool,
        breaker: Option<Breaker>,
        (meter, waker): (Arc<Meter>, DriverWaker),
    ) -> Self {
        let needs_poll = device.get().capabilities().needs_poll;
        Self {
            role,
            device,
            on_full,
            check_all,
            needs_poll,
            meter,
            waker,
            breaker: breaker.map(Mutex::new),
            backlog: Mutex::new(Backlog::new(bound)),
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            permits: AtomicUsize::new(0),
            pump_calls: AtomicUsize::new(0),
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn bound(&self) -> usize {
        self.lock().bound()
    }

    /// Whether a request is queued or being submitted.
    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// The breaker's leave to give the device this request. `None` if it is not to have it.
    pub(crate) fn admit(&self, request: RequestId) -> Option<Admission<'_>> {
        Admission::ask(self.breaker.as_ref(), self.meter.now(), request)
    }

    /// The device has answered a request that was over, which says nothing of the device.
    pub(crate) fn handle_late_answer(&self, request: RequestId) {
        self.forget_probe(request);
    }

    /// A request has left the backlog, itself, its owner or its permit, and the device never gets it. Every such request comes
    /// through here, but those of a breaker that is open, which has no probe. Returns the work.
    fn leave_undelivered(
        &self,
        id: RequestId,
        left: Option<Waiting<Request<W>, Arc<RequestState<W>>>>,
    ) -> Option<Foreign<W>> {
        self.forget_probe(id);
        match left {
            Some(Waiting::Request(request)) => request.into_work(),
            Some(Waiting::Owner(_)) | None => None,
        }
    }

    fn forget_probe(&self, request: RequestId) {
        if let Some(breaker) = &self.breaker {
            lock(breaker).forget_probe(request);
        }
    }

    /// Whether the breaker is open.
    pub(crate) fn is_shut_off(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| lock(breaker).is_open(self.meter.now()))
    }

    /// The state of the breaker; closed if there is none.
    pub(crate) fn breaker_state(&self) -> BreakerState {
        let Some(breaker) = &self.breaker else { return BreakerState::Closed };
        lock(breaker).state(self.meter.now())
    }

    /// Counts a request that the device has ended, and returns how many it held with that one.
    pub(crate) fn let_go(&self) -> usize {
        self.held.fetch_sub(1, Ordering::Relaxed)
    }

    /// How many requests the device holds.
    pub(crate) fn n_held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Gives a request, which is new or due for another attempt, to the device or to the backlog before it.
    pub(crate) fn enter(&self, state: &RequestState<W>, request: Request<W>) -> Entered<W> {
        let kind = state.kind;
        let others_first =
            self.has_waiting() || self.permits.load(Ordering::Acquire) > 0 && !self.has_room(kind);
        let request = if others_first {
            request
        } else {
            let notify = self.on_full == OnFull::Notify;
            if notify {
                self.lock().distrust_credits(kind);
            }
            match self.submit(state, request) {
                Ok(()) => {
                    self.trust_credits(kind);
                    return Entered::Submitted { pump: notify };
                }
                Err(request) => {
                    self.handle_refusal(kind);
                    request
                }
            }
        };
        let queued = self.update(|backlog| {
            if backlog.is_full(kind) {
                return Entered::Full(request);
            }
            let id = request.id();
            let (waiting, kept) = match self.on_full {
                OnFull::Queue => (Waiting::Request(request), None),
                OnFull::Notify => (Waiting::Owner(Arc::clone(request.state())), Some(request)),
            };
            backlog.push(kind, id, waiting);
            Entered::Queued(kept)
        });
        if let Entered::Queued(_) = queued {
            self.meter.count(|c| &c.queued);
        }
        queued
    }

    /// Submits a request for its owner, if the owner has a permit.
    pub(crate) fn retry(&self, request: Request<W>) -> Retried<W> {
        if self.permits.load(Ordering::Acquire) == 0 {
            return Retried::NotYet(request);
        }
        let Some(position) = self.update(|backlog| backlog.use_permit(request.id())) else {
            return Retried::NotYet(request);
        };
        self.meter.count(|c| &c.retries);
        match self.submit_waiting(request) {
            Ok(()) => {
                self.meter.count(|c| &c.in_order);
                self.update(|backlog| {
                    backlog.done(position);
                    backlog.trust_credits(position.kind());
                });
                Retried::Submitted
            }
            Err(request) => {
                self.handle_refusal(position.kind());
                self.put_back(position, Waiting::Owner(Arc::clone(request.state())));
                Retried::Full(request)
            }
        }
    }

    /// Queues a request in place of its owner, who blocks and so can no longer be woken to submit it. True if the queue
    /// needs a pump.
    pub(crate) fn queue_instead(&self, request: Request<W>) -> bool {
        let id = request.id();
        match self.update(|backlog| backlog.replace(id, request)) {
            Ok(replaced) => replaced == Replaced::Permit,
            // Its operation is over, or belongs to the standby by now.
            Err(request) => {
                drop(self.leave_undelivered(id, Some(Waiting::Request(request))));
                false
            }
        }
    }

    /// Keeps a request that the device has failed until its next attempt.
    pub(crate) fn postpone(&self, at: Duration, request: Request<W>) {
        let state = Arc::clone(request.state());
        self.lock().postpone(at, state.id, request);
        if self.is_over(&state) {
            // Another thread has ended or moved it, perhaps before it was kept. It has no permit.
            let _needs_no_pump = self.withdraw(state.id);
        } else {
            self.waker.wake_at(at);
        }
    }

    /// When the next attempt is due.
    pub(crate) fn next_attempt(&self) -> Option<Duration> {
        self.lock().next_attempt()
    }

    /// Takes out a request whose next attempt is due.
    pub(crate) fn take_due(&self, now: Duration) -> Option<Request<W>> {
        self.lock().take_due(now)
    }

    /// Drops all that wait for their next attempt.
    pub(crate) fn drop_postponed(&self) {
        let postponed = self.lock().take_later();
        for request in postponed {
            drop(self.leave_undelivered(request.id(), Some(Waiting::Request(request))));
        }
    }

    /// Takes a request or its permit out of the backlog; not a request that is being submitted. True if the queue needs a
    /// pump: the room that a permit had reserved is free.
    #[must_use = "the queue may need a pump"]
    pub(crate) fn withdraw(&self, id: RequestId) -> bool {
        let Some(withdrawn) = self.update(|backlog| backlog.withdraw(id)) else { return false };
        let (left, was_permit) = match withdrawn {
            Withdrawn::Waiting(waiting) => (Some(waiting), false),
            Withdrawn::Permit => (None, true),
        };
        drop(self.leave_undelivered(id, left));
        was_permit
    }

    /// Takes a request that waits for its work. Not one that its owner keeps: the job will still submit that.
    pub(crate) fn take_work(&self, id: RequestId) -> Option<Foreign<W>> {
        let request = self.update(|backlog| backlog.withdraw_request(id))?;
        self.leave_undelivered(id, Some(Waiting::Request(request)))
    }

    /// Whether a request waits here, for room or for its next attempt, or has a permit.
    pub(crate) fn is_queued(&self, id: RequestId) -> bool {
        self.lock().contains(id)
    }

    /// Whether this device has nothing more to do for a request. The thread that makes it so withdraws the request
    /// afterwards, which finds it unless it is being submitted or has yet to be queued.
    pub(crate) fn is_over(&self, state: &RequestState<W>) -> bool {
        state.is_settled() || self.role == Role::Device && state.is_on_standby()
    }

    fn submit_waiting(&self, request: Request<W>) -> Result<(), Request<W>> {
        let state = Arc::clone(request.state());
        state.stamp_accepted();
        self.submit(&state, request)
    }

    /// A refusal outside of a poll may give the device something to do, such as to open its ring again. The pump does not
    /// report its refusals here: it would keep the driver awake for as long as the ring is full.
    fn handle_refusal(&self, kind: Kind) {
        if self.on_full == OnFull::Notify && self.device.credits(kind) == Some(0) {
            self.trust_credits(kind);
        }
        if self.needs_poll {
            self.waker.wake();
        }
    }

    /// Submits one request to the device. Returns it if the ring is full.
    fn submit(&self, state: &RequestState<W>, request: Request<W>) -> Result<(), Request<W>> {
        self.held.fetch_add(1, Ordering::Relaxed);
        match self.call_submit(request) {
            Ok(()) => {
                state.in_flight.accept();
                self.meter.count(|c| &c.accepted);
                if self.needs_poll {
                    self.waker.wake();
                }
                Ok(())
            }
            Err(DeviceRefused::Full(request)) => {
                self.let_go();
                self.meter.count(|c| &c.ring_full);
                Err(request)
            }
            Err(DeviceRefused::Unavailable(request, why)) => {
                request.complete(Err(DeviceError::Unavailable(why)));
                Ok(())
            }
            Err(DeviceRefused::Unsupported(request, why)) => {
                request.complete(Err(DeviceError::Unsupported(why)));
                Ok(())
            }
        }
    }

    fn call_submit(&self, mut request: Request<W>) -> Result<(), DeviceRefused<W>> {
        let useless_attempts = if plant::armed(Bug::SpinOnFull) { 99 } else { 0 };
        for _ in 0..useless_attempts {
            match self.device.submit(request) {
                Err(DeviceRefused::Full(back)) => request = back,
                other => return other,
            }
            self.meter.count(|c| &c.ring_full);
        }
        self.device.submit(request)
    }

    /// Submits waiting requests until the device is full, or gives their owners permits to. While the breaker is open, hands
    /// them back instead.
    ///
    /// Any thread may call it at any time, also from within: one caller works, and goes round once more for each call
    /// that came meanwhile.
    pub(crate) fn pump(&self) -> Pumped<W> {
        let mut pumped = Pumped { progress: Progress::None, diverted: Vec::new() };
        if !self.has_waiting() || self.pump_calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return pumped;
        }
        let running = Running(&self.pump_calls);
        loop {
            let calls = self.pump_calls.load(Ordering::Acquire);
            self.pump_once(&mut pumped);
            if self.pump_calls.fetch_sub(calls, Ordering::AcqRel) == calls {
                core::mem::forget(running);
                return pumped;
            }
        }
    }

    fn pump_once(&self, pumped: &mut Pumped<W>) {
        self.reclaim_permits();
        let mut full: Vec<Kind> = Vec::new();
        while let Some((position, next)) = self.update(|backlog| backlog.next(&full)) {
            let has_room = match next {
                Waiting::Request(request) => self.submit_next(position, request, pumped),
                Waiting::Owner(state) => self.permit_next(position, &state),
            };
            if !has_room {
                full.push(position.kind());
            }
        }
    }

    /// Submits the next request, unless it is over or diverted. False if there is no room for its kind.
    fn submit_next(&self, position: Position, request: Request<W>, pumped: &mut Pumped<W>) -> bool {
        if self.is_over(request.state()) {
            self.update(|backlog| backlog.done(position));
            drop(self.leave_undelivered(request.id(), Some(Waiting::Request(request))));
            return true;
        }
        if self.is_shut_off() {
            self.update(|backlog| backlog.done(position));
            pumped.progress = Progress::Moved;
            pumped.diverted.push(request);
            return true;
        }
        // Queued among owners with permits: the room may be reserved for an earlier one.
        if self.on_full == OnFull::Notify && !self.has_room(position.kind()) {
            self.put_back(position, Waiting::Request(request));
            return false;
        }
        match self.submit_waiting(request) {
            Ok(()) => {
                let overtook = self.update(|backlog| backlog.done(position));
                self.meter.count(|c| if overtook { &c.out_of_order } else { &c.in_order });
                pumped.progress = Progress::Moved;
                true
            }
            Err(request) => {
                self.put_back(position, Waiting::Request(request));
                pumped.progress = pumped.progress.max(Progress::Refused);
                false
            }
        }
    }

    /// Gives the owner of a request a permit to submit it, and wakes the owner. False if there is no room for its kind.
    fn permit_next(&self, position: Position, state: &RequestState<W>) -> bool {
        if self.is_over(state) {
            if self.withdraw(state.id) {
                // This pump goes round once more.
                self.pump_calls.fetch_add(1, Ordering::AcqRel);
            }
            return true;
        }
        let credits = self.device.credits(position.kind());
        let now = self.meter.now();
        match self.update(|backlog| backlog.grant(position, credits, now)) {
            Grant::Granted { until } => {
                // The thread that keeps deadlines also takes the room back from an owner that does not come.
                self.waker.wake_at(until);
                // Read first: an owner that arms in between is woken.
                let armed = state.in_flight.is_armed();
                if state.in_flight.notify_retry() {
                    self.meter.count(|c| &c.retry_wakes);
                } else if !armed {
                    self.lock().release_room(state.id);
                }
                state.wake_waiting();
                true
            }
            Grant::NoRoom => false,
            Grant::Changed => true,
        }
    }

    /// Takes the room back from permits that were not used in time, so that others go on (law L13).
    fn reclaim_permits(&self) {
        if self.permits.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = self.meter.now();
        while let Some(state) = { self.lock().expire(now) } {
            self.meter.count(|c| &c.permits_expired);
            if self.is_over(&state) {
                // Its session was dropped and its job was leaked: the permit will never be used.
                let _this_pump_sees_it = self.withdraw(state.id);
            }
        }
    }

    /// Tells the driver when the next permit expires that a request has begun to wait for. While none waits, permits do
    /// not wake the driver, so it may be asleep. Not for the pump to call: the driver's own poll pumps.
    pub(crate) fn watch_permits(&self) {
        if let Some(at) = self.next_expiry() {
            self.waker.wake_at(at);
        }
    }

    /// When a permit loses its room to a waiting request.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        if self.permits.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().next_expiry()
    }

    /// Queues a request, or its owner, that the device refused, at its old position; drops it if it is over.
    fn put_back(&self, position: Position, waiting: Waiting<Request<W>, Arc<RequestState<W>>>) {
        let over = self.update(|backlog| {
            let state = match &waiting {
                Waiting::Request(request) => request.state(),
                Waiting::Owner(state) => state,
            };
            let id = state.id;
            if self.is_over(state) {
                backlog.done(position);
                return Some((id, waiting));
            }
            backlog.put_back(position, id, waiting);
            None
        });
        if let Some((id, waiting)) = over {
            drop(self.leave_undelivered(id, Some(waiting)));
        }
    }

    fn has_room(&self, kind: Kind) -> bool {
        let credits = self.device.credits(kind);
        self.lock().has_room(kind, credits)
    }

    /// A request has left the device, or the device announces room.
    pub(crate) fn handle_room(&self) {
        if self.on_full == OnFull::Notify {
            self.lock().trust_all_credits();
        }
    }

    fn trust_credits(&self, kind: Kind) {
        if self.on_full == OnFull::Notify {
            self.lock().trust_credits(kind);
        }
    }

    /// Changes the backlog, and publishes its sizes for readers without the lock. The change must call no foreign code
    /// and drop no work; what it drops must have another owner.
    fn update<X>(&self, change: impl FnOnce(&mut RequestBacklog<W>) -> X) -> X {
        let mut backlog = self.lock();
        let before = backlog.n_waiting() + backlog.n_permits();
        let changed = change(&mut backlog);
        let (waiting, permits) = (backlog.n_waiting(), backlog.n_permits());
        self.waiting.store(waiting, Ordering::Release);
        self.permits.store(permits, Ordering::Release);
        let after = waiting + permits;
        if after > before {
            self.meter.waiters.add((after - before) as u64);
        } else if after < before {
            self.meter.waiters.sub((before - after) as u64);
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, RequestBacklog<W>> {
        lock(&self.backlog)
    }
}

impl<W: Work> Drop for DeviceQueue<W> {
    /// Queued requests end as they are dropped; an owner that waits for a permit gets [`EngineError::Gone`] here.
    fn drop(&mut self) {
        let owners = self.backlog.get_mut().unwrap_or_else(PoisonError::into_inner).take_owners();
        for state in owners.iter().filter(|state| !self.is_over(state)) {
            state.settle(None, Err(EngineError::Gone), || ());
        }
    }
}

/// A running pump. If foreign code unwinds it, the next call may pump.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
