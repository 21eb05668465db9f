//! One instance: the events of the simulated hardware, and the software's side of its rings.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::calendar::Calendar;
use crate::completion::{Completion, EntryId, Outcome, Refused, ServiceClass};
use crate::config::{ConfigError, InstanceConfig, RingLayout};
use crate::entries::{Entries, Entry, Slot, Stage};
use crate::interrupt::{InterruptLine, Signal};
use crate::stats::{ClassStats, InstanceStats};
use crate::units::UnitGroup;

/// One instance of a simulated accelerator, stepped by its owner.
///
/// `P` is the request: it is moved in by [`submit`](Self::submit) and comes back in a
/// [`Completion`]; meanwhile the device owns it, and nothing points at it.
///
/// # Time
/// Every `now` is the time since the start, and must not go back (an earlier one is taken as the
/// latest seen). [`submit`](Self::submit) and [`take_interrupt`](Self::take_interrupt) first
/// [`advance`](Self::advance) to their `now`; [`poll_responses`](Self::poll_responses) only looks
/// at what is on the ring.
///
/// # Threads
/// A plain value without locks or shared state: `Send` and `Sync` if `P` is. Whoever owns it drives
/// it.
///
/// # Drop
/// Drops the payloads still inside.
pub struct Instance<P> {
    name: String,
    now: Duration,
    next_id: u64,
    entries: Entries<P>,
    /// Free entries of each request ring.
    credits: Vec<usize>,
    doorbell: Duration,
    /// Entries whose doorbell is on its way. The latency is constant, so they arrive in order.
    rung: VecDeque<(Duration, Slot)>,
    groups: Vec<UnitGroup>,
    calendar: Calendar<Happening>,
    response_depth: usize,
    responses: VecDeque<Response>,
    /// Responses for which the response ring has no room, oldest first. The unit that made one
    /// stays taken, if the response names a group.
    stalled: VecDeque<(Response, Option<usize>)>,
    line: InterruptLine,
    stats: InstanceStats,
}

/// What the calendar holds.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// A unit is done with the entry.
    Finish(Slot),
}

/// What the response ring holds.
#[derive(Debug, Clone, Copy)]
enum Response {
    Entry(Slot),
}

/// Where the next thing comes from. The order is that of things at the same instant: units are
/// freed before new entries look for one, and interrupts speak of all that came before.
#[derive(Debug, Clone, Copy)]
enum Source {
    Calendar,
    Doorbell,
    Line,
}

impl<P> Instance<P> {
    /// Builds an instance, idle at time zero.
    ///
    /// Equal configurations and seeds give instances that do the same at the same calls.
    ///
    /// # Errors
    /// The first field of `config` that makes no sense, with its value and what to write instead.
    pub fn new(config: InstanceConfig, seed: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let n_rings = match config.rings {
            RingLayout::PerClass => config.units.len(),
            RingLayout::Shared => 1,
        };
        let groups: Vec<_> = config
            .units
            .iter()
            .enumerate()
            .map(|(index, unit)| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(FIRST_GROUP_STREAM + index as u64);
                UnitGroup::new(unit, index % n_rings, rng)
            })
            .collect();
        let stats = InstanceStats {
            classes: groups.iter().map(|g| ClassStats::new(g.class, g.count())).collect(),
            ..InstanceStats::default()
        };
        Ok(Self {
            name: config.name,
            now: Duration::ZERO,
            next_id: 0,
            entries: Entries::new(),
            credits: vec![config.ring_depth; n_rings],
            doorbell: config.doorbell,
            rung: VecDeque::new(),
            groups,
            calendar: Calendar::new(),
            response_depth: config.response_depth,
            responses: VecDeque::new(),
            stalled: VecDeque::new(),
            line: InterruptLine::new(config.interrupts, config.interrupt_latency),
            stats,
        })
    }

    /// Writes a request to the ring of its class and rings the doorbell.
    ///
    /// # Errors
    /// [`Refused`] with the payload, if the ring is full or the instance takes no such request now.
    pub fn submit(
        &mut self,
        now: Duration,
        class: ServiceClass,
        payload: P,
    ) -> Result<EntryId, Refused<P>> {
        self.advance(now);
        let Some(group) = self.groups.iter().position(|group| group.class == class) else {
            return Err(Refused::NoSuchUnit(payload));
        };
        let ring = self.groups[group].ring;
        if self.credits[ring] == 0 {
            self.stats.refused_full += 1;
            return Err(Refused::RingFull(payload));
        }
        self.credits[ring] -= 1;
        let id = EntryId(self.next_id);
        self.next_id += 1;
        let slot = self.entries.insert(Entry {
            id,
            class,
            group,
            stage: Stage::Rung,
            payload,
            submitted: self.now,
            started: None,
            finished: Duration::ZERO,
        });
        self.stats.submitted += 1;
        self.stats.peak_occupancy = self.stats.peak_occupancy.max(self.entries.len());
        if self.doorbell.is_zero() {
            self.handle_doorbell(slot);
        } else {
            self.rung.push_back((self.now + self.doorbell, slot));
        }
        Ok(id)
    }

    /// Moves the simulated hardware to `now`: everything due by then happens, in order.
    pub fn advance(&mut self, now: Duration) {
        while let Some((at, source)) = self.next_event() {
            if at > now {
                break;
            }
            self.now = self.now.max(at);
            match source {
                Source::Calendar => match self.calendar.take_next() {
                    Some(Happening::Finish(slot)) => self.handle_finish(slot),
                    None => unreachable!("the calendar named its next event"),
                },
                Source::Doorbell => {
                    let (_, slot) = self.rung.pop_front().expect("the doorbell named its event");
                    self.handle_doorbell(slot);
                }
                Source::Line => {
                    let signal = self.line.handle_deadline(self.now);
                    self.handle_signal(signal);
                }
            }
        }
        self.now = self.now.max(now);
    }

    /// Drains up to `max` responses, oldest first, onto the end of `into`; says how many.
    ///
    /// Each frees the ring entry of its request, and makes room for a response that a unit had to
    /// keep. Software that relies on interrupts drains until it gets fewer than `max`: what it
    /// leaves on the ring is not announced again.
    pub fn poll_responses(&mut self, max: usize, into: &mut Vec<Completion<P>>) -> usize {
        self.stats.polls += 1;
        let mut drained = 0;
        while drained < max {
            let Some(response) = self.responses.pop_front() else { break };
            into.push(self.take_response(response));
            drained += 1;
            self.refill_responses();
        }
        if self.responses.is_empty() {
            self.line.handle_drained();
        }
        if drained == 0 {
            self.stats.empty_polls += 1;
        }
        self.stats.drained += drained as u64;
        drained
    }

    /// When [`advance`](Self::advance) will next change something; `None` if nothing is under way.
    ///
    /// Responses on the ring and an interrupt not taken are not under way: they wait for the
    /// software.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.next_event().map(|(at, _)| at.max(self.now))
    }

    /// Advances to `now` and takes the interrupt, if one is pending.
    pub fn take_interrupt(&mut self, now: Duration) -> bool {
        self.advance(now);
        self.line.take()
    }

    /// Whether an interrupt waits to be taken.
    #[must_use]
    pub const fn has_interrupt(&self) -> bool {
        self.line.is_pending()
    }

    /// Whether the instance interrupts at all, or has to be polled.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.line.is_used()
    }

    /// Responses on the ring.
    #[must_use]
    pub fn responses_waiting(&self) -> usize {
        self.responses.len()
    }

    /// Ring entries in use, over all rings: the payloads that the device holds.
    #[must_use]
    pub fn occupancy(&self) -> usize {
        self.entries.len()
    }

    /// Free entries of the ring that serves `class`; `None` if no ring does.
    #[must_use]
    pub fn credits(&self, class: ServiceClass) -> Option<usize> {
        let group = self.groups.iter().find(|group| group.class == class)?;
        Some(self.credits[group.ring])
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &InstanceStats {
        &self.stats
    }

    /// The name given in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The latest time seen.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    fn next_event(&self) -> Option<(Duration, Source)> {
        let calendar = self.calendar.next_at().map(|at| (at, Source::Calendar));
        let doorbell = self.rung.front().map(|(at, _)| (*at, Source::Doorbell));
        let line = self.line.deadline().map(|at| (at, Source::Line));
        // `min_by_key` gives the first of equals, hence the order of `Source`.
        [calendar, doorbell, line].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The device has seen the entry.
    fn handle_doorbell(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot];
        entry.stage = Stage::Queued;
        let group = entry.group;
        self.groups[group].enqueue(slot);
        self.start_work(group);
    }

    fn start_work(&mut self, group: usize) {
        while let Some((slot, service)) = self.groups[group].start_next() {
            let entry = &mut self.entries[slot];
            entry.stage = Stage::InService;
            entry.started = Some(self.now);
            self.calendar.enter(self.now + service, Happening::Finish(slot));
        }
    }

    fn handle_finish(&mut self, slot: Slot) {
        let entry = &mut self.entries[slot];
        entry.finished = self.now;
        let started = entry.started.expect("finished work has been started");
        let group = entry.group;
        let stats = &mut self.stats.classes[group];
        stats.finished += 1;
        stats.busy += self.now - started;
        stats.waited += started - entry.submitted;
        self.stats.finished += 1;
        self.answer(slot, Outcome::Finished, Some(group));
    }

    /// Writes the response of an entry, and releases the unit of `group`, if one is named, as soon
    /// as it is written.
    fn answer(&mut self, slot: Slot, outcome: Outcome, group: Option<usize>) {
        self.entries[slot].stage = Stage::Answered(outcome);
        self.respond(Response::Entry(slot), group);
    }

    fn respond(&mut self, response: Response, group: Option<usize>) {
        if self.responses.len() == self.response_depth {
            self.stats.response_stalls += 1;
            self.stalled.push_back((response, group));
            return;
        }
        self.responses.push_back(response);
        let signal = self.line.handle_response(self.now);
        self.handle_signal(signal);
        if let Some(group) = group {
            self.groups[group].release();
            self.start_work(group);
        }
    }

    fn refill_responses(&mut self) {
        if self.responses.len() < self.response_depth
            && let Some((response, group)) = self.stalled.pop_front()
        {
            self.respond(response, group);
        }
    }

    fn take_response(&mut self, response: Response) -> Completion<P> {
        let Response::Entry(slot) = response;
        let entry = self.entries.remove(slot);
        self.credits[self.groups[entry.group].ring] += 1;
        let Stage::Answered(outcome) = entry.stage else {
            unreachable!("only answered entries are on the response ring")
        };
        Completion {
            entry: entry.id,
            class: entry.class,
            payload: Some(entry.payload),
            outcome,
            submitted: entry.submitted,
            started: entry.started,
            finished: entry.finished,
        }
    }

    fn handle_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Nothing => {}
            Signal::Raise => self.line.raise(self.now),
            Signal::Delivered => self.stats.interrupts += 1,
        }
    }
}

/// Leaves the payloads out: they may hold key material.
impl<P> fmt::Debug for Instance<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("name", &self.name)
            .field("now", &self.now)
            .field("occupancy", &self.occupancy())
            .field("responses_waiting", &self.responses_waiting())
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

/// The generator's streams: the first for faults, then one for each group of units, so that a
/// fault rule more or less leaves every service time as it was.
const FIRST_GROUP_STREAM: u64 = 1;
