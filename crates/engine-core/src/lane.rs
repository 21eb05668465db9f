//! The way to one device: the device, and the bounded queue before its rings.
//!
//! ```text
//!   hand_over --> device      while nobody waits and its ring has room
//!        |
//!        v
//!      room -- pump --> device                          OnFull::Queue: the request itself waits here
//!        |
//!        +-- pump --> grant -- wake --> job -- retry --> device     OnFull::Notify: only its turn does
//! ```
//!
//! Who may touch what: everything that waits is behind one lock, which is held for bookkeeping only; the device and
//! foreign wakers are called without it.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accelerator::DeviceRefused;
use crate::cell::Cell;
use crate::dispatch::Core;
use crate::error::{DeviceError, EngineError};
use crate::fifo::Position;
use crate::foreign::{Device, Foreign};
use crate::options::OnFull;
use crate::plant::{self, Bug};
use crate::request::{Request, RequestId};
use crate::waiting_room::{Granting, Replaced, Waiting, WaitingRoom, Withdrawn};
use crate::work::{Kind, Work};

/// Which of the engine's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Device,
    Standby,
}

pub(crate) struct Lane<W: Work> {
    role: Role,
    pub(crate) device: Device<W>,
    on_full: OnFull,
    /// Whether every result of this device is checked.
    pub(crate) check_all: bool,
    pub(crate) needs_poll: bool,
    room: Mutex<Room<W>>,
    /// Those in a queue or in hand: as long as it is not zero, a new request of any kind goes to the end of its queue
    /// instead of overtaking. Written under the lock.
    waiting: AtomicUsize,
    /// Grants not yet used. Written under the lock.
    granted: AtomicUsize,
    /// Calls of [`pump`](Self::pump) that the running pump has not yet answered.
    pump_calls: AtomicUsize,
}

type Room<W> = WaitingRoom<Request<W>, Arc<Cell<W>>>;

/// What came of the attempt to submit a request that its owner has kept.
pub(crate) enum Retried<W: Work> {
    /// It is not its turn.
    NotYet(Request<W>),
    /// It was its turn, and the ring was full after all. It is the next one.
    Full(Request<W>),
    Submitted,
}

/// What a call of [`Lane::pump`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pumped {
    /// There was nothing to offer.
    Nothing,
    /// The device took none of what it was offered.
    InVain,
    /// Something went to a device, or came to its end.
    Moved,
}

/// What became of the one that was next.
enum Step {
    /// It waits no longer, waits otherwise, or has been told to submit.
    Passed,
    /// It went to a device, or came to its end.
    Moved,
    /// It was not offered, for there is no room for its kind.
    NoRoom,
    /// The device did not take it.
    Refused,
}

impl<W: Work> Lane<W> {
    pub(crate) fn new(
        role: Role,
        device: Device<W>,
        on_full: OnFull,
        bound: usize,
        check_all: bool,
    ) -> Self {
        let needs_poll = device.get().capabilities().needs_poll;
        Self {
            role,
            device,
            on_full,
            check_all,
            needs_poll,
            room: Mutex::new(WaitingRoom::new(bound)),
            waiting: AtomicUsize::new(0),
            granted: AtomicUsize::new(0),
            pump_calls: AtomicUsize::new(0),
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn bound(&self) -> usize {
        self.lock().bound()
    }

    /// Gives a new request to the device or to the queue before it. Comes back with the request if its owner is to
    /// submit it when told, and as an error if the queue is full.
    pub(crate) fn hand_over(
        &self,
        core: &Core<W>,
        request: Request<W>,
    ) -> Result<Option<Request<W>>, Request<W>> {
        let kind = request.kind();
        let others_first = self.waiting.load(Ordering::Acquire) > 0
            || self.granted.load(Ordering::Acquire) > 0 && !self.has_room(kind);
        let request = if others_first {
            request
        } else {
            if self.on_full == OnFull::Notify {
                self.lock().note_attempt(kind);
            }
            match self.submit(core, request) {
                Ok(()) => {
                    self.note_fit(kind);
                    // Whoever has come to wait during the offer was told to wait because of it.
                    if self.on_full == OnFull::Notify {
                        self.pump(core);
                    }
                    return Ok(None);
                }
                Err(request) => {
                    self.note_refusal(core, kind);
                    request
                }
            }
        };
        let kept = self.update(core, |room| {
            if room.is_full(kind) {
                return Err(request);
            }
            let id = request.id();
            let (waiting, kept) = match self.on_full {
                OnFull::Queue => (Waiting::Request(request), None),
                OnFull::Notify => (Waiting::Turn(Arc::clone(request.shared_cell())), Some(request)),
            };
            room.push(kind, id, waiting);
            Ok(kept)
        })?;
        core.meter.count(|c| &c.queued);
        // The device may have emptied its ring between the refusal and the push, and then nothing else would pump.
        self.pump(core);
        self.watch_permits(core);
        Ok(kept)
    }

    /// The owner of a request submits it, if it has been granted its turn.
    pub(crate) fn retry(&self, core: &Core<W>, request: Request<W>) -> Retried<W> {
        if self.granted.load(Ordering::Acquire) == 0 {
            return Retried::NotYet(request);
        }
        let Some(position) = self.update(core, |room| room.take_grant(request.id())) else {
            return Retried::NotYet(request);
        };
        core.meter.count(|c| &c.retries);
        let retried = match self.submit_waiting(core, request) {
            Ok(()) => {
                core.meter.count(|c| &c.in_order);
                self.update(core, |room| {
                    room.done(position);
                    room.note_fit(position.kind());
                });
                Retried::Submitted
            }
            Err(request) => {
                self.note_refusal(core, position.kind());
                let turn = Waiting::Turn(Arc::clone(request.shared_cell()));
                self.put_back(core, position, turn);
                Retried::Full(request)
            }
        };
        self.pump(core);
        self.watch_permits(core);
        retried
    }

    /// Lets a request wait in place of its turn: its owner can no longer be woken, for it blocks.
    pub(crate) fn queue_instead(&self, core: &Core<W>, request: Request<W>) {
        let id = request.id();
        match self.update(core, |room| room.replace(id, request)) {
            Ok(Replaced::InQueue) => {}
            Ok(Replaced::Grant) => drop(self.pump(core)),
            // Its operation is over, or is the standby's by now.
            Err(request) => drop(request.into_work()),
        }
    }

    /// Takes a request out of wherever it waits here, with its work if that is here too.
    pub(crate) fn withdraw(&self, core: &Core<W>, id: RequestId) -> Option<Foreign<W>> {
        match self.update(core, |room| room.withdraw(id))? {
            Withdrawn::Waiting(Waiting::Request(request)) => request.into_work(),
            Withdrawn::Waiting(Waiting::Turn(_)) => None,
            Withdrawn::Grant => {
                // The room that it was granted goes to the next one.
                self.pump(core);
                None
            }
        }
    }

    /// Takes a request out of the queue for its work. Not a turn: that has none, and its job will still submit.
    pub(crate) fn take_work(&self, core: &Core<W>, id: RequestId) -> Option<Foreign<W>> {
        self.update(core, |room| room.withdraw_request(id))?.into_work()
    }

    /// Whether a request has nothing more to expect from this device. Whoever makes it so withdraws it afterwards,
    /// which finds it unless it is in hand, or has yet to come.
    fn is_over(&self, cell: &Cell<W>) -> bool {
        cell.is_settled() || self.role == Role::Device && cell.is_on_standby()
    }

    /// Offers to the device one that had to wait.
    fn submit_waiting(&self, core: &Core<W>, request: Request<W>) -> Result<(), Request<W>> {
        request.cell().stamp_accepted();
        self.submit(core, request)
    }

    /// A refusal outside of a poll may give the device something to do, such as to open its ring again. Not so in the
    /// pump: there it would keep the driver awake for as long as the ring is full.
    fn note_refusal(&self, core: &Core<W>, kind: Kind) {
        if self.on_full == OnFull::Notify && self.device.credits(kind) == Some(0) {
            self.note_fit(kind);
        }
        if self.needs_poll {
            core.bell.ring();
        }
    }

    /// Offers one request to the device. Gives it back if the ring is full.
    fn submit(&self, core: &Core<W>, request: Request<W>) -> Result<(), Request<W>> {
        let in_flight = request.cell().in_flight.clone();
        match self.offer(core, request) {
            Ok(()) => {
                in_flight.accept();
                core.meter.count(|c| &c.accepted);
                if self.needs_poll {
                    core.bell.ring();
                }
                Ok(())
            }
            Err(DeviceRefused::Full(request)) => {
                core.meter.count(|c| &c.ring_full);
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

    fn offer(&self, core: &Core<W>, mut request: Request<W>) -> Result<(), DeviceRefused<W>> {
        let in_vain = if plant::armed(Bug::SpinOnFull) { 99 } else { 0 };
        for _ in 0..in_vain {
            match self.device.submit(request) {
                Err(DeviceRefused::Full(back)) => request = back,
                other => return other,
            }
            core.meter.count(|c| &c.ring_full);
        }
        self.device.submit(request)
    }

    /// Moves waiting requests to the device until it is full again, or tells their owners to.
    ///
    /// Any thread may call it at any time, also from within: one caller works, and goes round once more for whoever
    /// called meanwhile.
    pub(crate) fn pump(&self, core: &Core<W>) -> Pumped {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Pumped::Nothing;
        }
        if self.pump_calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return Pumped::Nothing;
        }
        let running = Running(&self.pump_calls);
        let mut pumped = Pumped::Nothing;
        loop {
            let calls = self.pump_calls.load(Ordering::Acquire);
            pumped = pumped.max(self.pump_once(core));
            if self.pump_calls.fetch_sub(calls, Ordering::AcqRel) == calls {
                core::mem::forget(running);
                return pumped;
            }
        }
    }

    fn pump_once(&self, core: &Core<W>) -> Pumped {
        self.reclaim_permits(core);
        let mut full: Vec<Kind> = Vec::new();
        let mut pumped = Pumped::Nothing;
        while let Some((position, next)) = self.update(core, |room| room.next(&full)) {
            let step = match next {
                Waiting::Request(request) => self.offer_request(core, position, request),
                Waiting::Turn(cell) => self.offer_turn(core, position, &cell),
            };
            if matches!(step, Step::NoRoom | Step::Refused) {
                full.push(position.kind());
            }
            pumped = pumped.max(match step {
                Step::Passed | Step::NoRoom => Pumped::Nothing,
                Step::Refused => Pumped::InVain,
                Step::Moved => Pumped::Moved,
            });
        }
        pumped
    }

    /// Takes the room back from permits whose owners have not come in time, so that others go on (law L13).
    fn reclaim_permits(&self, core: &Core<W>) {
        if self.granted.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = core.meter.now();
        while let Some(cell) = { self.lock().expire(now) } {
            core.meter.count(|c| &c.permits_expired);
            if self.is_over(&cell) {
                // Its session was dropped and its job was leaked: the permit will never be used.
                drop(self.update(core, |room| room.withdraw(cell.id)));
            }
        }
    }

    /// Tells the driver when the next permit ends that a request has begun to wait for. While none waits, the driver has no
    /// reason to wake up for permits, so it may be asleep. Not for the pump to call: the driver's own poll pumps.
    fn watch_permits(&self, core: &Core<W>) {
        if let Some(at) = self.next_expiry() {
            core.bell.want(at);
        }
    }

    /// When a permit loses its room to one that waits for it.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        if self.granted.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().next_expiry()
    }

    fn offer_request(&self, core: &Core<W>, position: Position, request: Request<W>) -> Step {
        if self.is_over(request.cell()) {
            self.update(core, |room| room.done(position));
            drop(request.into_work());
            return Step::Passed;
        }
        if self.role == Role::Device && core.is_shut_off() {
            self.update(core, |room| room.done(position));
            core.divert(request);
            return Step::Moved;
        }
        // It waits among turns, and the room may be promised to one that came earlier.
        if self.on_full == OnFull::Notify && !self.has_room(position.kind()) {
            self.put_back(core, position, Waiting::Request(request));
            return Step::NoRoom;
        }
        match self.submit_waiting(core, request) {
            Ok(()) => {
                let overtook = self.update(core, |room| room.done(position));
                core.meter.count(|c| if overtook { &c.out_of_order } else { &c.in_order });
                Step::Moved
            }
            Err(request) => {
                self.put_back(core, position, Waiting::Request(request));
                Step::Refused
            }
        }
    }

    /// Tells the owner of a request to submit it, if there is room.
    fn offer_turn(&self, core: &Core<W>, position: Position, cell: &Cell<W>) -> Step {
        if self.is_over(cell) {
            drop(self.withdraw(core, cell.id));
            return Step::Passed;
        }
        let credits = self.device.credits(position.kind());
        let now = core.meter.now();
        match self.update(core, |room| room.grant(position, credits, now)) {
            Granting::Granted { until } => {
                // The thread that keeps the deadlines takes the room back from an owner that does not come.
                core.bell.want(until);
                // Asked first: who begins to look in between is woken.
                let looks = cell.in_flight.is_armed();
                if cell.in_flight.notify_retry() {
                    core.meter.count(|c| &c.retry_wakes);
                } else if !looks {
                    self.lock().note_unheard(cell.id);
                }
                Step::Passed
            }
            Granting::NoRoom => Step::NoRoom,
            Granting::Changed => Step::Passed,
        }
    }

    /// Lets one that the device did not take wait again, unless it was over meanwhile.
    fn put_back(
        &self,
        core: &Core<W>,
        position: Position,
        waiting: Waiting<Request<W>, Arc<Cell<W>>>,
    ) {
        let over = self.update(core, |room| {
            let cell = match &waiting {
                Waiting::Request(request) => request.cell(),
                Waiting::Turn(cell) => cell,
            };
            let id = cell.id;
            if self.is_over(cell) {
                room.done(position);
                return Some(waiting);
            }
            room.put_back(position, id, waiting);
            None
        });
        if let Some(Waiting::Request(request)) = over {
            drop(request.into_work());
        }
    }

    fn has_room(&self, kind: Kind) -> bool {
        let credits = self.device.credits(kind);
        self.lock().has_room(kind, credits)
    }

    /// Something has left the device, or it says that it has room again.
    pub(crate) fn note_room(&self) {
        if self.on_full == OnFull::Notify {
            self.lock().note_room();
        }
    }

    fn note_fit(&self, kind: Kind) {
        if self.on_full == OnFull::Notify {
            self.lock().note_fit(kind);
        }
    }

    /// Changes who waits, and says so to those who look without the lock. The change must call nothing foreign, and
    /// drop no work: of what it drops, such as a turn, somebody else has another half.
    fn update<X>(&self, core: &Core<W>, change: impl FnOnce(&mut Room<W>) -> X) -> X {
        let mut room = self.lock();
        let before = room.n_waiting() + room.n_granted();
        let changed = change(&mut room);
        let (waiting, granted) = (room.n_waiting(), room.n_granted());
        self.waiting.store(waiting, Ordering::Release);
        self.granted.store(granted, Ordering::Release);
        let after = waiting + granted;
        if after > before {
            core.meter.waiters.add(after - before);
        } else if after < before {
            core.meter.waiters.sub(before - after);
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Room<W>> {
        // Nothing panics while it is locked, so a poisoned one is still whole.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Drop for Lane<W> {
    /// Requests end as they are dropped. Whoever has its own, and waits to be told, hears that nobody will.
    fn drop(&mut self) {
        let turns = self.room.get_mut().unwrap_or_else(PoisonError::into_inner).take_turns();
        for cell in turns.iter().filter(|cell| !self.is_over(cell)) {
            cell.publish(None, Err(EngineError::Gone));
        }
    }
}

/// A pump at work. One that foreign code unwinds leaves the way free for the next.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
