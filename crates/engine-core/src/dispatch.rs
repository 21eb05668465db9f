//! The heart of an engine: which device gets an operation, and what happens when it does not deliver.
//!
//! ```text
//!   offer --> route --> device lane --> answer --> whoever waits
//!                |          |  error, no answer in time, breaker opens
//!                |          v
//!                +----> standby lane -> answer --> whoever waits; the loser's goes to the sink
//! ```

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use wait_ctx::{InFlight, RequestPhase};

use crate::accelerator::BlockingScope;
use crate::breaker::{self, Breaker, BreakerState, Tripped};
use crate::cell::Cell;
use crate::driver::Bell;
use crate::error::{DeviceError, EngineError, Refused, RefusedReason};
use crate::foreign::{self, Foreign};
use crate::lane::{Lane, Role};
use crate::meter::Meter;
use crate::options::{Fallback, Offload, RequestOptions};
use crate::pending::{Pending, WakesBy};
use crate::plant::{self, Bug};
use crate::request::{Request, RequestId};
use crate::roster::{Place, Roster};
use crate::work::Work;

/// What the engine's requests refer back to.
pub(crate) struct Core<W: Work> {
    pub(crate) meter: Arc<Meter>,
    pub(crate) device: Lane<W>,
    pub(crate) standby: Option<Lane<W>>,
    pub(crate) breaker: Option<Mutex<Breaker>>,
    /// Requests without an outcome.
    roster: Mutex<Roster<Weak<Cell<W>>>>,
    /// Signalled when the roster is empty, once somebody drains the engine.
    pub(crate) emptied: Condvar,
    pub(crate) bell: Bell,
    /// A device has a thread of its own for completions.
    pub(crate) relies_on_threads: bool,
    offload: Offload,
    /// Handshakes of the application, as it says.
    pub(crate) active: AtomicUsize,
    next_id: AtomicU64,
    pub(crate) closed: AtomicBool,
    /// The result that a planted bug gives to the next request.
    #[cfg(feature = "plant")]
    held_back: Mutex<Option<W::Output>>,
}

/// Whether an operation went to the standby.
pub(crate) enum FellBack {
    /// It does now.
    Now,
    /// It had been there before.
    Before,
    /// Its options do not allow it, or there is no standby.
    Never,
}

impl<W: Work> Core<W> {
    pub(crate) fn new(
        meter: Arc<Meter>,
        device: Lane<W>,
        standby: Option<Lane<W>>,
        breaker: Option<Breaker>,
        offload: Offload,
    ) -> Self {
        let on_thread = |lane: &Lane<W>| lane.device.get().capabilities().completion_thread;
        Self {
            relies_on_threads: on_thread(&device) || standby.as_ref().is_some_and(on_thread),
            meter,
            device,
            standby,
            breaker: breaker.map(Mutex::new),
            roster: Mutex::new(Roster::new()),
            emptied: Condvar::new(),
            bell: Bell::new(),
            offload,
            active: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            #[cfg(feature = "plant")]
            held_back: Mutex::new(None),
        }
    }

    pub(crate) fn submit(
        self: &Arc<Self>,
        work: W,
        begin: impl FnOnce() -> (InFlight, WakesBy),
        options: RequestOptions,
    ) -> Result<Pending<W>, Refused<W>> {
        // The caller's code, which may panic: before there is anything that it could leave half done.
        let (kind, must_check) = (work.kind(), work.must_check());
        let work = Foreign::new(work);
        let (in_flight, wakes_by) = begin();
        // Before any lock, which a thread may hold that is not in this process.
        if self.is_elsewhere() {
            return Err(self.refuse(work, &in_flight, RefusedReason::MadeElsewhere));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(self.refuse(work, &in_flight, RefusedReason::Closed));
        }
        let Some(role) = self.route(options) else {
            return Err(self.refuse(work, &in_flight, RefusedReason::Unavailable));
        };
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let cell = Cell::new(id, kind, must_check, options, in_flight.clone(), self);
        if plant::strikes(Bug::LeakRequest, id) {
            core::mem::forget(Arc::clone(&cell));
        }
        if role == Role::Device && self.standby_for(options).is_some() {
            let copy = foreign::call(&self.meter, "Work::duplicate", || work.duplicate());
            cell.set_spare(copy.unwrap_or_default().map(Foreign::new));
        }
        cell.on_standby.store(role == Role::Standby, Ordering::Release);
        if !self.enroll(&cell) {
            return Err(self.refuse(work, &in_flight, RefusedReason::Closed));
        }
        tracing::trace!(request = id.0, kind = kind.name(), "request.submit");

        let request = self.request(work, &cell, role);
        let handed = self.lane(role).hand_over(self, request).or_else(|request| {
            // The device is swamped: the standby may do it.
            match self.standby_for(options) {
                Some(standby) if role == Role::Device => {
                    let work = request.into_work().expect(HAS_WORK);
                    if cell.on_standby.swap(true, Ordering::AcqRel) {
                        // Its deadline was faster, with the copy.
                        return Ok(None);
                    }
                    self.meter.count(|c| &c.fallbacks);
                    standby.hand_over(self, self.request(work, &cell, Role::Standby))
                }
                _ => Err(request),
            }
        });
        match handed {
            Ok(kept) => {
                self.meter.count(|c| &c.submitted);
                Ok(Pending::new(cell, kept, wakes_by))
            }
            Err(request) => {
                let bound = self.lane(role).bound();
                // A request that was never taken on needs no answer: its work goes back.
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

    fn request(&self, work: Foreign<W>, cell: &Arc<Cell<W>>, role: Role) -> Request<W> {
        let check = self.lane(role).check_all || cell.must_check;
        Request::new(work, Arc::clone(cell), role, check)
    }

    /// Which device a new operation goes to; none while the breaker is open and the options allow no other.
    fn route(&self, options: RequestOptions) -> Option<Role> {
        let may_stand_by = self.standby_for(options).is_some();
        if may_stand_by
            && let Offload::Beyond(under_way) = self.offload
            && self.n_others() < under_way
        {
            self.meter.count(|c| &c.not_offloaded);
            return Some(Role::Standby);
        }
        let Some(breaker) = &self.breaker else { return Some(Role::Device) };
        let now = self.meter.now();
        let _ = self.check_health(now);
        let admitted = lock(breaker).admit(now);
        if !admitted && may_stand_by {
            self.meter.count(|c| &c.fallbacks);
        }
        match (admitted, may_stand_by) {
            (true, _) => Some(Role::Device),
            (false, true) => Some(Role::Standby),
            (false, false) => None,
        }
    }

    fn standby_for(&self, options: RequestOptions) -> Option<&Lane<W>> {
        self.standby.as_ref().filter(|_| options.fallback == Fallback::Standby)
    }

    pub(crate) fn lane(&self, role: Role) -> &Lane<W> {
        match role {
            Role::Device => &self.device,
            Role::Standby => self.standby.as_ref().expect("only an engine with a standby uses it"),
        }
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane<W>> {
        core::iter::once(&self.device).chain(&self.standby)
    }

    /// Lets the standby do what the device could not.
    pub(crate) fn fall_back(
        &self,
        cell: &Arc<Cell<W>>,
        work: Foreign<W>,
        error: &EngineError,
    ) -> FellBack {
        let Some(standby) = self.standby_for(cell.options) else { return FellBack::Never };
        let deadline = cell.options.deadline.map(|deadline| self.meter.after(deadline));
        {
            let mut roster = self.roster();
            // Under the lock, so that nobody takes the old deadline for that of the standby; and a place seen under it is
            // still this one's.
            if cell.on_standby.swap(true, Ordering::AcqRel) {
                return FellBack::Before;
            }
            if let (Some(deadline), Some(place)) = (deadline, cell.place()) {
                roster.extend(place, deadline);
            }
        }
        self.meter.count(|c| &c.fallbacks);
        tracing::debug!(request = cell.id.0, kind = cell.kind.name(), %error, "request.fall_back");
        if *error != EngineError::Device(SHUT_OFF) {
            self.meter.complain(cell.kind, error);
        }
        if let Some(deadline) = deadline {
            self.bell.want(deadline);
        }
        if let Err(request) = standby.hand_over(self, self.request(work, cell, Role::Standby)) {
            drop(request.into_work());
            let reason = RefusedReason::QueueFull { bound: standby.bound() };
            cell.publish(Some(self), Err(EngineError::Refused(reason)));
        }
        FellBack::Now
    }

    /// What a request gets for its result: with a bug planted, that of the request before it.
    #[cfg(feature = "plant")]
    pub(crate) fn swap(
        &self,
        result: Result<W::Output, EngineError>,
    ) -> Result<W::Output, EngineError> {
        if !plant::armed(Bug::ForeignResult) {
            return result;
        }
        let first = DeviceError::Failed("the first result was held back");
        result.and_then(|output| {
            lock(&self.held_back).replace(output).ok_or(EngineError::Device(first))
        })
    }

    /// Takes a waiting request away from a device that is shut off.
    pub(crate) fn divert(&self, request: Request<W>) {
        let cell = Arc::clone(request.shared_cell());
        let error = EngineError::Device(SHUT_OFF);
        let Some(work) = request.into_work() else { return };
        if let FellBack::Never = self.fall_back(&cell, work, &error) {
            cell.publish(Some(self), Err(error));
        }
    }

    /// Tells the breaker how the device did.
    pub(crate) fn note_outcome(&self, result: &Result<W::Output, EngineError>) {
        let Some(breaker) = &self.breaker else { return };
        let tripped = match result {
            Ok(_) => {
                lock(breaker).handle_success();
                Tripped::No
            }
            Err(error) if breaker::counts(error) => lock(breaker).handle_failure(self.meter.now()),
            Err(_) => Tripped::No,
        };
        if tripped == Tripped::Yes {
            self.handle_trip();
        }
    }

    /// The breaker has opened: whoever may goes to the standby now, instead of waiting for a device that is not well.
    pub(crate) fn handle_trip(&self) {
        self.meter.count(|c| &c.trips);
        tracing::warn!(device = ?self.device.device, "breaker.open");
        for cell in self.under_way() {
            if !cell.is_settled() && !cell.is_on_standby() {
                self.rescue(&cell, &EngineError::Device(SHUT_OFF));
            }
        }
    }

    /// Sends an operation to the standby although the device has not given it back. False if that cannot be done.
    pub(crate) fn rescue(&self, cell: &Arc<Cell<W>>, error: &EngineError) -> bool {
        if self.standby_for(cell.options).is_none() || cell.is_on_standby() {
            return false;
        }
        let waits = cell.in_flight.phase() == RequestPhase::Queued;
        let in_queue = || self.device.take_work(self, cell.id);
        let Some(work) = cell.take_spare().or_else(in_queue) else { return false };
        let rescued = !matches!(self.fall_back(cell, work, error), FellBack::Never);
        if waits {
            // Only now that whoever has it in hand would see where it went.
            drop(self.device.withdraw(self, cell.id));
        }
        rescued
    }

    /// Takes a request out of whatever queue it waits in.
    pub(crate) fn withdraw(&self, id: RequestId) -> Option<Foreign<W>> {
        self.lanes().find_map(|lane| lane.withdraw(self, id))
    }

    /// Something has left a device, or it says that it has room again.
    pub(crate) fn handle_room(&self, role: Role) {
        let lane = self.lane(role);
        lane.note_room();
        lane.pump(self);
    }

    /// How a thread in no job waits for an answer, which may come from either device.
    pub(crate) fn blocking(&self) -> Result<Option<BlockingScope>, DeviceError> {
        let mut scope = None;
        for lane in self.lanes() {
            scope = scope.or(lane.device.blocking()?);
        }
        Ok(scope)
    }

    /// Whether the breaker is open.
    pub(crate) fn is_shut_off(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| lock(breaker).is_open(self.meter.now()))
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        let now = self.meter.now();
        self.breaker.as_ref().map_or(BreakerState::Closed, |breaker| lock(breaker).state(now))
    }

    /// Lists a request. False if the engine has been closed.
    fn enroll(&self, cell: &Arc<Cell<W>>) -> bool {
        let deadline = cell.options.deadline.map(|deadline| self.meter.after(deadline));
        {
            let mut roster = self.roster();
            // Under the lock: once a shutdown has found nobody under way, nobody comes.
            if self.closed.load(Ordering::Acquire) {
                return false;
            }
            cell.set_place(roster.enroll(Arc::downgrade(cell), deadline));
        }
        if let Some(deadline) = deadline {
            self.bell.want(deadline);
        }
        true
    }

    pub(crate) fn leave(&self, place: Place) {
        let mut roster = self.roster();
        roster.remove(place);
        if roster.len() == 0 && self.closed.load(Ordering::Acquire) {
            self.emptied.notify_all();
        }
    }

    /// How many others are under way besides an operation that is about to begin.
    fn n_others(&self) -> usize {
        // Whoever begins it is among the active.
        let active = self.active.load(Ordering::Relaxed).saturating_sub(1);
        self.roster().len().max(active)
    }

    pub(crate) fn under_way(&self) -> Vec<Arc<Cell<W>>> {
        self.roster().iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster<Weak<Cell<W>>>> {
        lock(&self.roster)
    }
}

impl<W: Work> Drop for Core<W> {
    fn drop(&mut self) {
        self.bell.let_go();
    }
}

const HAS_WORK: &str = "a request that was not submitted has its work";

const SHUT_OFF: DeviceError = DeviceError::Unavailable("the circuit breaker is open");

/// Nothing panics while these are locked, so poisoned ones are still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
