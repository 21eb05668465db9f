//! The hardware between the rings: it fetches an entry, runs it in a unit, writes the response and
//! raises an interrupt.

use core::time::Duration;

use super::{Change, Instance, Response, Work};
use crate::completion::CompletionStatus;
use crate::entries::{Slot, Stage};
use crate::interrupt::Signal;
use crate::trace::Event;
use crate::units::{Pool, Seat, UnitGroup};

/// The source of the next event. The order is that of events at one instant: timed changes come
/// first, units are freed before new entries need one, a due batch includes entries that have just
/// arrived, and interrupts announce all responses before them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Changes,
    Work,
    Doorbell,
    Batch,
    Line,
}

impl<P> Instance<P> {
    pub(super) fn next_event(&self) -> Option<(Duration, Source)> {
        let thawed = |at: Duration| at.max(self.hung_until);
        let mut next: Option<(Duration, Source)> = None;
        // Of equal times the first offer wins, in the order of `Source`. Not a chain of iterators,
        // which took half of all running time.
        let mut offer = |at: Option<Duration>, source| {
            if let Some(at) = at
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, source));
            }
        };
        offer(self.changes.next_at(), Source::Changes);
        offer(self.work.next_at().map(thawed), Source::Work);
        offer(self.rung.front().map(|(at, _)| thawed(*at)), Source::Doorbell);
        if self.fills_batches {
            offer(self.next_batch().map(|(at, _)| thawed(at)), Source::Batch);
        }
        offer(self.line.deadline(), Source::Line);
        next
    }

    /// As `next_event`, but with the first response that may follow in the place of the start of work.
    pub(super) fn earliest_output(&self) -> Option<Duration> {
        let thawed = |at: Duration| at.max(self.hung_until);
        let answered = |start: Duration| thawed(start).saturating_add(self.shortest_service);
        let batch = if self.fills_batches { self.next_batch() } else { None };
        [
            self.changes.next_at(),
            self.work.next_at().map(thawed),
            self.rung.front().map(|(at, _)| answered(*at)),
            batch.map(|(at, _)| answered(at)),
            self.line.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next group in which a unit starts an incomplete batch, and when.
    fn next_batch(&self) -> Option<(Duration, usize)> {
        if self.pool.as_ref().is_some_and(|pool| !pool.has_idle()) {
            return None;
        }
        let due = |(group, units): (usize, &UnitGroup)| Some((units.timeout_at()?, group));
        self.groups.iter().enumerate().filter_map(due).min()
    }

    /// Handles the event that `next_event` has returned.
    pub(super) fn handle_event(&mut self, source: Source) {
        match source {
            Source::Changes => match self.changes.pop().expect("named as next").1 {
                Change::Strike(rule) => self.handle_due_rule(rule),
                Change::Recover => self.record(Event::Recovered),
                Change::Return => self.handle_return(),
            },
            Source::Work => match self.work.pop().expect("named as next").1 {
                Work::Finish { slot, unit, last } => self.handle_finish(slot, unit, last),
                Work::AnswerLate(slot) => self.answer(slot, CompletionStatus::Finished, None),
            },
            Source::Doorbell => {
                let (_, slot) = self.rung.pop_front().expect("named as next");
                self.handle_doorbell(slot);
            }
            Source::Batch => {
                let (_, group) = self.next_batch().expect("named as next");
                self.start_work(group);
            }
            Source::Line => {
                let signal = self.line.handle_deadline(self.now);
                self.handle_signal(signal);
            }
        }
    }

    /// Queues an entry that the device has seen.
    fn handle_doorbell(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot];
        entry.stage = Stage::Queued;
        let group = entry.group;
        self.groups[group].enqueue(slot, self.now);
        self.start_work(group);
    }

    /// Starts every unit that can start, after a unit of `group` became free or an entry arrived.
    fn start_work(&mut self, group: usize) {
        if self.pool.is_none() {
            while self.start_one(group) {}
            return;
        }
        while self.pool.as_ref().is_some_and(Pool::has_idle) {
            // Tags count up in the order of arrival, whatever the class.
            let first = (0..self.groups.len())
                .filter_map(|g| Some((self.entries[self.groups[g].next(self.now)?].id, g)))
                .min();
            let Some((_, group)) = first else { return };
            self.pool.iter_mut().for_each(Pool::take);
            self.start_one(group);
        }
    }

    fn start_one(&mut self, group: usize) -> bool {
        let Some(start) = self.groups[group].start_next(self.now) else { return false };
        self.stats.classes[group].working += 1;
        for left in (0..start.requests).rev() {
            let slot = self.groups[group].seat();
            let entry = &mut self.entries[slot];
            entry.stage = Stage::InService;
            entry.started = Some(self.now);
            let id = entry.id;
            let finish = Work::Finish { slot, unit: start.unit, last: left == 0 };
            self.work.enter(self.now.saturating_add(start.service), finish);
            self.record(Event::Started(id));
        }
        true
    }

    fn handle_finish(&mut self, slot: Slot, unit: u32, last: bool) {
        let entry = &mut self.entries[slot];
        entry.finished = self.now;
        let (id, group) = (entry.id, entry.group);
        let started = entry.started.expect("finished work has been started");
        let class = &mut self.stats.classes[group];
        class.finished += 1;
        class.waited = class.waited.saturating_add(started.saturating_sub(entry.submitted));
        if last {
            class.services += 1;
            class.busy = class.busy.saturating_add(self.now.saturating_sub(started));
        }
        self.stats.finished += 1;
        self.record(Event::Finished(id));
        self.complete(slot, Seat { group, unit });
    }

    /// Writes the response of an entry. `seat`, if given, holds the entry until it is written.
    pub(super) fn answer(&mut self, slot: Slot, status: CompletionStatus, seat: Option<Seat>) {
        let entry = &mut self.entries[slot];
        entry.stage = Stage::Answered(status);
        let tag = entry.tag;
        self.record(Event::Answered { entry: tag, status });
        self.respond(Response::Entry(slot), seat);
        if !self.held_back.is_empty() {
            self.let_overtake(1);
        }
    }

    pub(super) fn respond(&mut self, response: Response<P>, seat: Option<Seat>) {
        if self.responses.len() < self.response_depth {
            self.write_response(response, seat);
            return;
        }
        if seat.is_some() {
            let tag = self.tag_of(&response);
            self.stats.response_stalls += 1;
            self.record(Event::Stalled(tag));
        }
        self.stalled.push_back((response, seat));
    }

    /// Writes stalled responses while the response ring has room.
    pub(super) fn refill_responses(&mut self) {
        while self.responses.len() < self.response_depth {
            let Some((response, seat)) = self.stalled.pop_front() else { return };
            self.write_response(response, seat);
        }
    }

    pub(super) fn handle_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Nothing => {}
            Signal::Raise => self.raise_interrupt(),
            Signal::Delivered => {
                self.stats.interrupts += 1;
                self.record(Event::Interrupt);
            }
        }
    }

    fn write_response(&mut self, response: Response<P>, seat: Option<Seat>) {
        self.responses.push_back(response);
        let signal = self.line.handle_response(self.now);
        self.handle_signal(signal);
        if let Some(seat) = seat {
            self.leave_unit(seat);
        }
    }

    /// Removes a request from its unit, which starts new work if that was its last.
    pub(super) fn leave_unit(&mut self, seat: Seat) {
        let Seat { group, unit } = seat;
        if !self.groups[group].release(unit) {
            return;
        }
        self.stats.classes[group].working -= 1;
        self.pool.iter_mut().for_each(Pool::release);
        self.start_work(group);
    }
}
