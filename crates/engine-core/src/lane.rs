//! The way to one device: the device, and the bounded queue before its rings.
//!
//! ```text
//!   hand_over --> device      while nobody waits and its ring has room
//!        |
//!        v
//!      Fifo -- pump --> device                          OnFull::Queue: the request itself waits here
//!        |
//!        +-- pump --> grant -- wake --> job -- retry --> device     OnFull::Notify: only its turn does
//! ```
//!
//! Who may touch what: everything that waits is behind one lock, which is held for bookkeeping only; the device and
//! foreign wakers are called without it.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accelerator::{Accelerator, Rejected};
use crate::cell::Cell;
use crate::dispatch::Core;
use crate::error::DeviceError;
use crate::fifo::{Fifo, Position};
use crate::plant::{self, Bug};
use crate::request::{Request, RequestId};
use crate::terms::OnFull;
use crate::work::{Kind, Work};

/// Which of the engine's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Device,
    Standby,
}

pub(crate) struct Lane<W: Work> {
    role: Role,
    pub(crate) device: Arc<dyn Accelerator<W>>,
    on_full: OnFull,
    /// Whether every result of this device is checked.
    pub(crate) check_all: bool,
    pub(crate) needs_poll: bool,
    waiting: Mutex<WaitingRoom<W>>,
    /// Entries of the queue, and one more while the pump holds one in its hand: as long as it is not zero, a new request
    /// of any kind goes to the end of its queue instead of overtaking.
    queued: AtomicUsize,
    /// Grants not yet used.
    granted: AtomicUsize,
    /// Calls of [`pump`](Self::pump) that the running pump has not yet answered.
    pump_calls: AtomicUsize,
}

struct WaitingRoom<W: Work> {
    fifo: Fifo<Waiting<W>>,
    /// Jobs that were told to submit and have not done so yet.
    grants: Vec<Grant>,
    /// The turn that the pump has in its hand.
    in_hand: Option<RequestId>,
    /// The request that has come to wait in the place of that turn.
    instead: Option<Request<W>>,
    /// Kinds of which one is being offered, or was refused, since something has last changed: there is no room for those,
    /// whatever the device says. Were its word enough, a turn granted on it would come back at once, and so on without
    /// end.
    tried: BTreeSet<Kind>,
}

enum Waiting<W: Work> {
    Request(Request<W>),
    /// The job has the request; this is its turn.
    Turn(Arc<Cell<W>>),
}

#[derive(Clone, Copy)]
struct Grant {
    id: RequestId,
    kind: Kind,
    position: Position,
}

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

impl<W: Work> WaitingRoom<W> {
    /// Takes out of the queue what is next, into the hand of the pump.
    fn pop(&mut self, full: &[Kind]) -> Option<(Kind, Position, Waiting<W>)> {
        let next = match () {
            #[cfg(feature = "plant")]
            () if plant::armed(Bug::LifoQueue) => self.fifo.pop_newest(full),
            #[cfg(feature = "plant")]
            () if plant::armed(Bug::SlowBlocksFast) => self.fifo.pop_oldest(full),
            () => self.fifo.pop(full),
        };
        if let Some((_, _, Waiting::Turn(cell))) = &next {
            self.in_hand = Some(cell.id);
        }
        next
    }

    fn take_grant(&mut self, id: RequestId) -> Option<Grant> {
        let index = self.grants.iter().position(|grant| grant.id == id)?;
        Some(self.grants.swap_remove(index))
    }

    /// Ends the time of a turn in the pump's hand. Comes with the request that waits in its place from now on, if any.
    fn set_down(&mut self) -> Option<Request<W>> {
        self.in_hand = None;
        self.instead.take()
    }
}

impl<W: Work> Waiting<W> {
    fn cell(&self) -> &Cell<W> {
        match self {
            Self::Request(request) => request.cell(),
            Self::Turn(cell) => cell,
        }
    }
}

impl<W: Work> Lane<W> {
    pub(crate) fn new(
        role: Role,
        device: Arc<dyn Accelerator<W>>,
        on_full: OnFull,
        bound: usize,
        check_all: bool,
    ) -> Self {
        let needs_poll = device.capabilities().needs_poll;
        let waiting = Mutex::new(WaitingRoom {
            fifo: Fifo::new(bound),
            grants: Vec::new(),
            in_hand: None,
            instead: None,
            tried: BTreeSet::new(),
        });
        Self {
            role,
            device,
            on_full,
            check_all,
            needs_poll,
            waiting,
            queued: AtomicUsize::new(0),
            granted: AtomicUsize::new(0),
            pump_calls: AtomicUsize::new(0),
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn bound(&self) -> usize {
        self.lock().fifo.bound()
    }

    /// Gives a new request to the device or to the queue before it. Comes back with the request if its owner is to
    /// submit it when told, and as an error if the queue is full.
    pub(crate) fn hand_over(
        &self,
        core: &Core<W>,
        request: Request<W>,
    ) -> Result<Option<Request<W>>, Request<W>> {
        let kind = request.kind();
        let others_first = self.queued.load(Ordering::Acquire) > 0
            || self.granted.load(Ordering::Acquire) > 0 && !self.has_room(kind);
        let request = if others_first {
            request
        } else {
            self.note_attempt(kind);
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
        let kept = {
            let mut waiting = self.lock();
            self.queued.fetch_add(1, Ordering::AcqRel);
            let pushed = match self.on_full {
                OnFull::Queue => match waiting.fifo.push(kind, Waiting::Request(request)) {
                    Ok(()) => Ok(None),
                    Err(Waiting::Request(request)) => Err(request),
                    Err(Waiting::Turn(_)) => unreachable!("it is a request that was pushed"),
                },
                OnFull::Notify => {
                    let turn = Waiting::Turn(Arc::clone(request.shared_cell()));
                    if waiting.fifo.push(kind, turn).is_ok() {
                        Ok(Some(request))
                    } else {
                        Err(request)
                    }
                }
            };
            if pushed.is_err() {
                self.queued.fetch_sub(1, Ordering::AcqRel);
            } else {
                core.meter.waiters.add(1);
            }
            pushed?
        };
        core.meter.count(|c| &c.queued);
        // The device may have emptied its ring between the refusal and the push, and then nothing else would pump.
        self.pump(core);
        Ok(kept)
    }

    /// The owner of a request submits it, if it has been granted its turn.
    pub(crate) fn retry(&self, core: &Core<W>, request: Request<W>) -> Retried<W> {
        if self.granted.load(Ordering::Acquire) == 0 {
            return Retried::NotYet(request);
        }
        let grant = {
            // The attempt takes the place of the grant, with no moment between in which the room looks free.
            let mut waiting = self.lock();
            let Some(grant) = waiting.take_grant(request.id()) else {
                return Retried::NotYet(request);
            };
            waiting.tried.insert(grant.kind);
            grant
        };
        core.meter.count(|c| &c.retries);
        let retried = match self.submit_waiting(core, request) {
            Ok(()) => {
                core.meter.count(|c| &c.in_order);
                core.meter.waiters.sub(1);
                self.note_fit(grant.kind);
                Retried::Submitted
            }
            Err(request) => {
                self.note_refusal(core, grant.kind);
                let turn = Waiting::Turn(Arc::clone(request.shared_cell()));
                self.put_back(grant.kind, grant.position, turn);
                Retried::Full(request)
            }
        };
        self.granted.fetch_sub(1, Ordering::AcqRel);
        self.pump(core);
        retried
    }

    /// Lets a request wait in place of its turn: its owner can no longer be woken, for it blocks.
    pub(crate) fn queue_instead(&self, core: &Core<W>, request: Request<W>) {
        let (kind, id) = (request.kind(), request.id());
        {
            let mut waiting = self.lock();
            if let Some(turn) = waiting.fifo.find_mut(kind, |waiting| waiting.cell().id == id) {
                *turn = Waiting::Request(request);
                return;
            }
            if waiting.in_hand == Some(id) {
                waiting.instead = Some(request);
                return;
            }
        }
        let grant = self.lock().take_grant(id);
        match grant {
            Some(grant) => {
                self.put_back(kind, grant.position, Waiting::Request(request));
                self.granted.fetch_sub(1, Ordering::AcqRel);
                self.pump(core);
            }
            // It was settled meanwhile, and its turn has passed.
            None => drop(request.into_work()),
        }
    }

    /// Takes a request out of the queue, if it waits here, with its work if that is here too.
    pub(crate) fn withdraw(&self, core: &Core<W>, kind: Kind, id: RequestId) -> Option<W> {
        let removed = self.lock().fifo.remove(kind, |waiting| waiting.cell().id == id);
        if let Some(waiting) = removed {
            return self.forget(core, waiting);
        }
        let grant = self.lock().take_grant(id);
        if grant.is_some() {
            core.meter.waiters.sub(1);
            self.granted.fetch_sub(1, Ordering::AcqRel);
            // The room that it was granted goes to the next one.
            self.pump(core);
        }
        None
    }

    /// Takes a request out of the queue for its work. Not a turn: that has none, and its job will still submit.
    pub(crate) fn take_work(&self, core: &Core<W>, kind: Kind, id: RequestId) -> Option<W> {
        let is_request = |waiting: &Waiting<W>| matches!(waiting, Waiting::Request(request) if request.id() == id);
        let removed = self.lock().fifo.remove(kind, is_request)?;
        self.forget(core, removed)
    }

    /// Whether a request has nothing more to expect from this device.
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
            Err(Rejected::Full(request)) => {
                core.meter.count(|c| &c.ring_full);
                Err(request)
            }
            Err(Rejected::Unavailable(request, why)) => {
                request.complete(Err(DeviceError::Unavailable(why)));
                Ok(())
            }
            Err(Rejected::Unsupported(request, why)) => {
                request.complete(Err(DeviceError::Unsupported(why)));
                Ok(())
            }
        }
    }

    fn offer(&self, core: &Core<W>, mut request: Request<W>) -> Result<(), Rejected<W>> {
        let in_vain = if plant::armed(Bug::SpinOnFull) { 99 } else { 0 };
        for _ in 0..in_vain {
            match self.device.submit(request) {
                Err(Rejected::Full(back)) => request = back,
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
        if self.queued.load(Ordering::Acquire) == 0 {
            return Pumped::Nothing;
        }
        if self.pump_calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return Pumped::Nothing;
        }
        let mut pumped = Pumped::Nothing;
        loop {
            let calls = self.pump_calls.load(Ordering::Acquire);
            pumped = pumped.max(self.pump_once(core));
            if self.pump_calls.fetch_sub(calls, Ordering::AcqRel) == calls {
                return pumped;
            }
        }
    }

    fn pump_once(&self, core: &Core<W>) -> Pumped {
        let mut full: Vec<Kind> = Vec::new();
        let mut pumped = Pumped::Nothing;
        while let Some((kind, position, waiting)) = self.pop(&full) {
            if self.is_over(waiting.cell()) {
                // Since it was in this hand, or before it came back from there.
                let instead = self.lock().set_down();
                drop(instead.map(Request::into_work));
                drop(self.forget(core, waiting));
                continue;
            }
            match waiting {
                Waiting::Request(request) if self.role == Role::Device && core.is_shut_off() => {
                    pumped = Pumped::Moved;
                    self.leave(core);
                    core.divert(request);
                }
                // It waits among turns, and the room may be promised to one that came earlier.
                Waiting::Request(_) if self.on_full == OnFull::Notify && !self.has_room(kind) => {
                    self.lock().fifo.put_back(kind, position, waiting);
                    full.push(kind);
                }
                Waiting::Request(request) => match self.submit_waiting(core, request) {
                    Ok(()) => {
                        pumped = Pumped::Moved;
                        let oldest = self.lock().fifo.oldest(kind);
                        let overtaken = oldest.is_some_and(|oldest| oldest < position);
                        core.meter.count(|c| if overtaken { &c.out_of_order } else { &c.in_order });
                        self.leave(core);
                    }
                    Err(request) => {
                        pumped = pumped.max(Pumped::InVain);
                        self.lock().fifo.put_back(kind, position, Waiting::Request(request));
                        full.push(kind);
                    }
                },
                Waiting::Turn(cell) => {
                    let has_room = self.has_room(kind);
                    let mut waiting = self.lock();
                    if let Some(request) = waiting.set_down() {
                        waiting.fifo.put_back(kind, position, Waiting::Request(request));
                        continue;
                    }
                    if !has_room {
                        waiting.fifo.put_back(kind, position, Waiting::Turn(cell));
                        full.push(kind);
                        continue;
                    }
                    waiting.grants.push(Grant { id: cell.id, kind, position });
                    drop(waiting);
                    self.granted.fetch_add(1, Ordering::AcqRel);
                    self.queued.fetch_sub(1, Ordering::AcqRel);
                    if cell.in_flight.notify_retry() {
                        core.meter.count(|c| &c.retry_wakes);
                    }
                    if self.is_over(&cell) {
                        // Before the grant was there to be found.
                        self.withdraw(core, kind, cell.id);
                    }
                }
            }
        }
        pumped
    }

    fn pop(&self, full: &[Kind]) -> Option<(Kind, Position, Waiting<W>)> {
        self.lock().pop(full)
    }

    fn put_back(&self, kind: Kind, position: Position, item: Waiting<W>) {
        let mut waiting = self.lock();
        self.queued.fetch_add(1, Ordering::AcqRel);
        waiting.fifo.put_back(kind, position, item);
    }

    /// Something has left the queue for good.
    fn leave(&self, core: &Core<W>) {
        self.queued.fetch_sub(1, Ordering::AcqRel);
        core.meter.waiters.sub(1);
    }

    fn forget(&self, core: &Core<W>, waiting: Waiting<W>) -> Option<W> {
        self.leave(core);
        match waiting {
            Waiting::Request(request) => request.into_work(),
            Waiting::Turn(_) => None,
        }
    }

    /// Whether there may be room for one more of `kind`, grants not yet used set aside.
    fn has_room(&self, kind: Kind) -> bool {
        let credits = self.device.credits(kind);
        let waiting = self.lock();
        let granted = waiting.grants.iter().filter(|grant| grant.kind == kind).count();
        // Who does not tell is believed to have room for one.
        !waiting.tried.contains(&kind) && granted < credits.unwrap_or(1)
    }

    /// Something has left the device, or it says that it has room again. Kinds may share a ring, so this may be news for
    /// any of them.
    pub(crate) fn note_room(&self) {
        if self.on_full == OnFull::Notify {
            self.lock().tried.clear();
        }
    }

    /// What the device says of its room for `kind` fits what it does.
    fn note_fit(&self, kind: Kind) {
        if self.on_full == OnFull::Notify {
            self.lock().tried.remove(&kind);
        }
    }

    /// Something of `kind` is about to be offered. Before the offer: what leaves during it must count.
    fn note_attempt(&self, kind: Kind) {
        if self.on_full == OnFull::Notify {
            self.lock().tried.insert(kind);
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitingRoom<W>> {
        // Nothing panics while it is locked, so a poisoned one is still whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
