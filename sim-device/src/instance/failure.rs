//! Faults: where they can strike, their effects, and the driver's reset and reclaim.

use core::time::Duration;

use super::{Change, Instance, Presence, Response, Work};
use crate::completion::{CompletionStatus, EntryId, ServiceClass};
use crate::entries::{Slot, Stage};
use crate::fault::{Fault, Opportunity, Strike};
use crate::trace::Event;
use crate::units::{Seat, UnitGroup};

impl<P> Instance<P> {
    /// Returns the payload of a request whose response was lost, and frees its ring entry. `None` if
    /// the device still works on the entry.
    ///
    /// A driver calls it after its response timeout. A driver of real hardware cannot tell a lost
    /// response from a late one, and must reset the instance.
    pub fn reclaim(&mut self, entry: EntryId) -> Option<P> {
        let mut entries = self.entries.iter();
        let (slot, _) = entries.find(|(_, held)| held.id == entry && held.stage == Stage::Lost)?;
        let lost = self.release(slot);
        self.stats.reclaimed += 1;
        self.record(Event::Reclaimed(entry));
        Some(lost.payload)
    }

    /// Advances to `now` and resets the instance, as a driver does with one that hangs: every request
    /// inside completes with [`CompletionStatus::Reset`], and submissions are refused for `downtime`.
    ///
    /// Does nothing while the instance is unplugged.
    pub fn reset(&mut self, now: Duration, downtime: Duration) {
        self.advance(now);
        self.strike_instance(Fault::Reset { downtime });
    }

    /// Makes a fault strike outside rules and budgets: a fault of the whole instance now, any other at
    /// its next opportunity.
    pub fn inject(&mut self, now: Duration, fault: Fault) {
        self.advance(now);
        if fault.strikes_instance() {
            self.meet(fault, None);
            self.strike_instance(fault);
        } else {
            self.faults.inject(fault);
        }
    }

    /// Ends the fault plan: no further fault strikes. Faults in effect last as long as planned.
    pub fn disarm_faults(&mut self) {
        self.faults.disarm();
        self.changes.retain(|change| !matches!(change, Change::Strike(_)));
    }

    /// The number of strikes still possible.
    #[must_use]
    pub fn faults_left(&self) -> u64 {
        self.faults.left()
    }

    /// Whether the instance is free of faults from now on: present, no ring stuck, no hang, the
    /// heartbeat alive, no response lost or held back, and no strike left.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults_left() == 0
            && self.presence == Presence::Present
            && !self.is_stuck()
            && self.now >= self.hung_until
            && self.heartbeat.is_beating(self.now)
            && self.held_back.is_empty()
            && !self.entries.iter().any(|(_, entry)| entry.stage == Stage::Lost)
    }

    /// Whether the instance accepts requests.
    #[must_use]
    pub const fn presence(&self) -> Presence {
        self.presence
    }

    /// Advances to `now` and reads the heartbeat, a counter that rises once a period while the device
    /// is alive. If it has not moved for longer than a period, the device hangs or lost its heartbeat.
    pub fn heartbeat(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.heartbeat.count(self.now)
    }

    /// Lets a fault strike at a submission.
    pub(super) fn meet_submission(&mut self, class: ServiceClass) {
        if let Some(strike) = self.faults.decide(Opportunity::Submission, Some(class), self.now) {
            self.spend(strike, None);
            self.strike_instance(strike.fault);
        }
    }

    /// Lets a timed fault rule strike.
    pub(super) fn handle_due_rule(&mut self, rule: usize) {
        if let Some(strike) = self.faults.due(rule) {
            self.spend(strike, None);
            self.strike_instance(strike.fault);
        }
    }

    /// Completes an entry that its unit has finished: writes the response, unless a fault strikes.
    pub(super) fn complete(&mut self, slot: Slot, seat: Seat) {
        let class = self.entries[slot].class;
        let Some(strike) = self.faults.decide(Opportunity::Completion, Some(class), self.now)
        else {
            self.answer(slot, CompletionStatus::Finished, Some(seat));
            return;
        };
        let partner = match strike.fault {
            Fault::Misdirected => self.misdirection_partner(slot),
            Fault::Reordered { .. } if !self.others_in_progress(slot) => None,
            _ => Some(slot),
        };
        // A fault that needs another request strikes at a later opportunity.
        let Some(partner) = partner else {
            self.answer(slot, CompletionStatus::Finished, Some(seat));
            return;
        };
        self.spend(strike, Some(self.entries[slot].id));
        match strike.fault {
            Fault::Corrupt => self.answer(slot, CompletionStatus::Corrupt, Some(seat)),
            Fault::DeviceError => self.answer(slot, CompletionStatus::DeviceError, Some(seat)),
            Fault::Duplicate => {
                let copy = self.entries[slot].completion(CompletionStatus::Finished);
                self.answer(slot, CompletionStatus::Finished, Some(seat));
                self.respond(Response::Duplicate(Box::new(copy)), None);
            }
            Fault::Misdirected => {
                let tag = self.entries[slot].tag;
                self.entries[slot].tag = core::mem::replace(&mut self.entries[partner].tag, tag);
                self.answer(slot, CompletionStatus::Finished, Some(seat));
            }
            Fault::Late { by } => {
                self.entries[slot].stage = Stage::Late;
                self.work.enter(self.now.saturating_add(by), Work::AnswerLate(slot));
                self.leave_unit(seat);
            }
            Fault::Reordered { behind } => {
                self.entries[slot].stage = Stage::HeldBack;
                self.held_back.push((slot, behind));
                self.leave_unit(seat);
            }
            Fault::Lost => {
                self.entries[slot].stage = Stage::Lost;
                self.leave_unit(seat);
                self.let_overtake(0);
            }
            _ => unreachable!("not a fault of completions"),
        }
    }

    /// Raises an interrupt, unless a fault loses it.
    pub(super) fn raise_interrupt(&mut self) {
        match self.faults.decide(Opportunity::Interrupt, None, self.now) {
            Some(strike) => {
                self.spend(strike, None);
                self.stats.interrupts_lost += 1;
            }
            None => self.line.raise(self.now),
        }
    }

    /// Applies a fault of the whole instance. Does nothing while it is unplugged.
    pub(super) fn strike_instance(&mut self, fault: Fault) {
        if matches!(self.presence, Presence::Removed { .. }) {
            return;
        }
        let now = self.now;
        // Injected faults may last up to `Duration::MAX`.
        let after = |time: Duration| now.saturating_add(time);
        match fault {
            Fault::RingStuck { lasts } => {
                self.stuck_until = self.stuck_until.max(after(lasts));
                self.changes.enter(after(lasts), Change::Recover);
            }
            Fault::HeartbeatLoss { lasts } => {
                self.heartbeat.stop(now, after(lasts));
                self.changes.enter(after(lasts), Change::Recover);
            }
            Fault::Hang { lasts } => {
                self.hung_until = self.hung_until.max(after(lasts));
                self.heartbeat.stop(now, after(lasts));
                self.changes.enter(after(lasts), Change::Recover);
            }
            Fault::Reset { downtime } => {
                let until = after(downtime);
                self.leave(Presence::Resetting { until }, Some(until), CompletionStatus::Reset);
            }
            Fault::Removal { absent } => {
                let until = absent.map(after);
                self.leave(Presence::Removed { until }, until, CompletionStatus::Removed);
            }
            _ => unreachable!("not a fault of whole instances"),
        }
    }

    pub(super) fn handle_return(&mut self) {
        self.presence = Presence::Present;
        self.heartbeat.restart(self.now);
        self.record(Event::Returned);
    }

    fn spend(&mut self, strike: Strike, entry: Option<EntryId>) {
        self.faults.spend(strike);
        self.meet(strike.fault, entry);
    }

    /// Counts and records that a fault has struck.
    fn meet(&mut self, fault: Fault, entry: Option<EntryId>) {
        self.stats.faults += 1;
        tracing::debug!(device = %self.name, %fault, "device.fault");
        self.record(Event::Struck { fault, entry });
    }

    /// Counts `n` responses that overtook those held back, and writes those that are overtaken by
    /// enough, or by all that are left.
    pub(super) fn let_overtake(&mut self, n: u32) {
        let stranded = !self.entries.iter().any(|(_, entry)| entry.stage.is_in_progress());
        let mut turn = Vec::new();
        self.held_back.retain_mut(|(slot, behind)| {
            *behind = behind.saturating_sub(n);
            let keep = *behind > 0 && !stranded;
            if !keep {
                turn.push(*slot);
            }
            keep
        });
        for slot in turn {
            self.answer(slot, CompletionStatus::Finished, None);
        }
    }

    /// The tag that a response reports.
    pub(super) fn tag_of(&self, response: &Response<P>) -> EntryId {
        match response {
            Response::Entry(slot) => self.entries[*slot].tag,
            Response::Duplicate(copy) => copy.entry,
        }
    }

    /// Takes the instance out of service and completes every request inside, oldest first. The driver
    /// does this, so the depth of the response ring does not limit it.
    fn leave(&mut self, presence: Presence, until: Option<Duration>, status: CompletionStatus) {
        self.presence = presence;
        self.record(Event::WentAway(status));
        self.changes.retain(|change| !matches!(change, Change::Return | Change::Recover));
        if let Some(until) = until {
            self.changes.enter(until, Change::Return);
        }
        self.heartbeat.stop(self.now, until.unwrap_or(Duration::MAX));
        self.stuck_until = self.now;
        self.hung_until = self.now;
        self.rung.clear();
        self.work.clear();
        self.held_back.clear();
        self.groups.iter_mut().for_each(UnitGroup::clear);
        self.stats.classes.iter_mut().for_each(|class| class.working = 0);
        if let Some(pool) = &mut self.pool {
            pool.clear();
        }
        self.abort_all(status);
    }

    fn abort_all(&mut self, status: CompletionStatus) {
        // Responses that units hold are lost, and so are stalled duplicates; completions of an
        // earlier reset stay as they are.
        let stalled = core::mem::take(&mut self.stalled);
        for (response, seat) in stalled {
            let Response::Entry(slot) = response else { continue };
            match self.entries[slot].stage {
                Stage::Answered(CompletionStatus::Reset | CompletionStatus::Removed) => {
                    self.stalled.push_back((response, seat));
                }
                _ => self.entries[slot].stage = Stage::Queued,
            }
        }
        let mut inside: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.stage.is_answered())
            .map(|(slot, entry)| (entry.id, slot))
            .collect();
        inside.sort_unstable();
        for (id, slot) in inside {
            let entry = &mut self.entries[slot];
            // The driver knows the request by its memory, even if the device had another tag for it.
            entry.tag = id;
            entry.finished = self.now;
            self.answer(slot, status, None);
        }
    }

    fn others_in_progress(&self, than: Slot) -> bool {
        self.entries.iter().any(|(slot, entry)| slot != than && entry.stage.is_in_progress())
    }

    /// The oldest other request in progress.
    fn misdirection_partner(&self, than: Slot) -> Option<Slot> {
        self.entries
            .iter()
            .filter(|(slot, entry)| *slot != than && entry.stage.is_in_progress())
            .min_by_key(|(_, entry)| entry.id)
            .map(|(slot, _)| slot)
    }
}
