//! One instance: its state, and the software's side of its rings.
//!
//! `hardware` has the processing between the rings, `failure` the faults and a driver's reset and
//! reclaim.

mod failure;
mod hardware;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::calendar::Calendar;
use crate::completion::{Completion, EntryId, ServiceClass, SubmitError};
use crate::config::{InstanceConfig, RingLayout};
use crate::entries::{Entries, Entry, Slot, Stage};
use crate::error::ConfigError;
use crate::fault::Faults;
use crate::heartbeat::Heartbeat;
use crate::interrupt::InterruptLine;
use crate::stats::{ClassStats, InstanceStats};
use crate::trace::{Event, Trace, TraceRecord};
use crate::units::{Pool, Seat, UnitGroup};

/// One instance of a simulated accelerator, stepped by its owner.
///
/// `P` is the payload of a request: [`submit`](Self::submit) moves it in and a [`Completion`] returns
/// it; in between the device owns it.
///
/// # Time
/// Every `now` is the time since the start. An earlier `now` counts as the latest one seen. An event
/// after [`Duration::MAX`] happens at that time.
/// [`submit`](Self::submit) and [`take_interrupt`](Self::take_interrupt) first
/// [`advance`](Self::advance) to their `now`; [`poll_responses`](Self::poll_responses) does
/// not.
///
/// # Threads
/// A plain value without locks or shared state: `Send` and `Sync` if `P` is.
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
    /// No request is answered sooner after it was started.
    shortest_service: Duration,
    /// Entries that the device has not seen yet. The doorbell latency is constant, so they arrive in
    /// order.
    rung: VecDeque<(Duration, Slot)>,
    groups: Vec<UnitGroup>,
    pool: Option<Pool>,
    /// Whether any group's units wait for full batches, so that batch timeouts matter.
    fills_batches: bool,
    /// Work in progress; stopped by a hang, discarded by a reset.
    work: Calendar<Work>,
    /// Timed faults and recoveries.
    changes: Calendar<Change>,
    response_depth: usize,
    responses: VecDeque<Response<P>>,
    /// Responses for which the response ring has no room, oldest first, with the units that hold
    /// them. Empty unless the ring is full.
    stalled: VecDeque<(Response<P>, Option<Seat>)>,
    line: InterruptLine,
    heartbeat: Heartbeat,
    presence: Presence,
    /// The rings report that they are full until then.
    stuck_until: Duration,
    /// No work moves until then.
    hung_until: Duration,
    /// Responses held back, with the number of others that must overtake them first.
    held_back: Vec<(Slot, u32)>,
    faults: Faults,
    stats: InstanceStats,
    trace: Trace,
}

/// Whether an instance accepts requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// It accepts requests.
    Present,
    /// It is being reset.
    Resetting {
        /// When the reset is over.
        until: Duration,
    },
    /// It is unplugged.
    Removed {
        /// When it returns; `None` if never.
        until: Option<Duration>,
    },
}

/// A piece of work in progress.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A unit finishes the entry. `last` is true for the last entry of its batch.
    Finish { slot: Slot, unit: u32, last: bool },
    /// The late response of a finished entry is written.
    AnswerLate(Slot),
}

/// A change of the instance at a set time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The timed fault rule of this index strikes.
    Strike(usize),
    /// A stuck ring, a hang or a heartbeat loss is over.
    Recover,
    /// The instance returns from a reset or removal.
    Return,
}

/// A response on the response ring.
enum Response<P> {
    Entry(Slot),
    /// A second response: a copy of all but the payload.
    Duplicate(Box<Completion<P>>),
}

impl<P> Instance<P> {
    /// Builds an instance, idle at time zero.
    ///
    /// Equal configurations and seeds give instances that behave equally under equal calls.
    ///
    /// # Errors
    /// The first invalid field of `config`, with its value and the accepted range.
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
                let rng = stream(seed, FIRST_GROUP_STREAM + index as u64);
                UnitGroup::new(unit, index % n_rings, rng)
            })
            .collect();
        let shortest_service =
            config.units.iter().map(|unit| unit.service.shortest()).min().unwrap_or_default();
        let faults = Faults::new(&config.faults, stream(seed, FAULT_STREAM));
        let mut changes = Calendar::new();
        for (at, rule) in faults.timed() {
            changes.enter(at, Change::Strike(rule));
        }
        let count: u32 = groups.iter().fold(0, |sum, g| g.count().saturating_add(sum));
        let fills_batches = groups.iter().any(UnitGroup::waits_for_more);
        let stats = InstanceStats {
            units: config.pool.map_or(count, |pool| pool.min(count)),
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
            shortest_service,
            rung: VecDeque::new(),
            groups,
            fills_batches,
            pool: config.pool.map(Pool::new),
            work: Calendar::new(),
            changes,
            response_depth: config.response_depth,
            responses: VecDeque::new(),
            stalled: VecDeque::new(),
            line: InterruptLine::new(config.interrupts, config.interrupt_latency),
            heartbeat: Heartbeat::new(config.heartbeat),
            presence: Presence::Present,
            stuck_until: Duration::ZERO,
            hung_until: Duration::ZERO,
            held_back: Vec::new(),
            faults,
            stats,
            trace: Trace::default(),
        })
    }

    /// Builds several instances, as one accelerator card has them, each with a seed of its own that is drawn from `seed`.
    /// They share nothing.
    ///
    /// # Errors
    /// The first invalid field of the first invalid configuration.
    pub fn several(
        configs: impl IntoIterator<Item = InstanceConfig>,
        seed: u64,
    ) -> Result<Vec<Self>, ConfigError> {
        let mut seeds = ChaCha8Rng::seed_from_u64(seed);
        configs.into_iter().map(|config| Self::new(config, seeds.next_u64())).collect()
    }

    /// Writes a request to the ring of its class and rings the doorbell.
    ///
    /// # Errors
    /// [`SubmitError`] with the payload, if the ring is full or the instance cannot accept the request.
    pub fn submit(
        &mut self,
        now: Duration,
        class: ServiceClass,
        payload: P,
    ) -> Result<EntryId, SubmitError<P>> {
        self.advance(now);
        let Some(group) = self.groups.iter().position(|group| group.class == class) else {
            return Err(self.refuse(class, SubmitError::NoSuchUnit(payload)));
        };
        if self.presence == Presence::Present {
            self.meet_submission(class);
        }
        let ring = self.groups[group].ring;
        match self.presence {
            Presence::Resetting { .. } => {
                return Err(self.refuse(class, SubmitError::Resetting(payload)));
            }
            Presence::Removed { .. } => {
                return Err(self.refuse(class, SubmitError::Removed(payload)));
            }
            Presence::Present if self.is_stuck() || self.credits[ring] == 0 => {
                return Err(self.refuse(class, SubmitError::RingFull(payload)));
            }
            Presence::Present => {}
        }
        self.credits[ring] -= 1;
        let id = EntryId(self.next_id);
        self.next_id += 1;
        let slot = self.entries.insert(Entry {
            id,
            tag: id,
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
        self.record(Event::Submitted { entry: id, class });
        self.rung.push_back((self.now.saturating_add(self.doorbell), slot));
        if self.doorbell.is_zero() {
            self.advance(self.now);
        }
        Ok(id)
    }

    /// Advances the simulated hardware to `now`: all events up to then happen, in order.
    pub fn advance(&mut self, now: Duration) {
        while let Some((at, source)) = self.next_event() {
            if at > now {
                break;
            }
            self.now = self.now.max(at);
            self.handle_event(source);
        }
        self.now = self.now.max(now);
    }

    /// Drains up to `max` responses, oldest first, onto the end of `into`, and returns their number.
    ///
    /// Each frees the ring entry of its request, and makes room for a response that a unit holds.
    /// Software that relies on interrupts must drain until it gets fewer than `max`: no further
    /// interrupt announces the responses it leaves.
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

    /// The time of the next event in [`advance`](Self::advance); `None` if there is none.
    ///
    /// Responses on the ring and an interrupt not taken are no events: they wait for the software.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.next_event().map(|(at, _)| at.max(self.now))
    }

    /// A time before which nothing comes out of the device, neither a response nor an interrupt, and its health does not
    /// change: until then a driver may leave [`advance`](Self::advance) uncalled, and finds everything as if it had called it.
    /// `None` if nothing comes before the next submission. Not before [`next_deadline`](Self::next_deadline), which is also due
    /// when the device begins to work.
    #[must_use]
    pub fn next_output(&self) -> Option<Duration> {
        self.earliest_output().map(|at| at.max(self.now))
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

    /// Whether the instance uses interrupts; otherwise it must be polled.
    #[must_use]
    pub fn interrupts(&self) -> bool {
        self.line.is_used()
    }

    /// Starts or stops the trace. Off by default; records stay in memory until they are drained.
    pub fn set_trace(&mut self, on: bool) {
        self.trace.on = on;
    }

    /// The records since the last call, in order.
    pub fn drain_trace(&mut self) -> std::vec::Drain<'_, TraceRecord> {
        self.trace.records.drain(..)
    }

    /// The number of responses on the ring.
    #[must_use]
    pub fn responses_waiting(&self) -> usize {
        self.responses.len()
    }

    /// The number of ring entries in use over all rings: the payloads that the device holds.
    #[must_use]
    pub fn occupancy(&self) -> usize {
        self.entries.len()
    }

    /// The number of free entries that the ring of `class` reports: 0 while its rings are stuck.
    /// `None` if no ring serves it.
    #[must_use]
    pub fn credits(&self, class: ServiceClass) -> Option<usize> {
        let group = self.groups.iter().find(|group| group.class == class)?;
        Some(if self.is_stuck() { 0 } else { self.credits[group.ring] })
    }

    /// Whether a fault makes its rings report that they are full.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.now < self.stuck_until
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

    /// Counts and records a refusal.
    fn refuse(&mut self, class: ServiceClass, refused: SubmitError<P>) -> SubmitError<P> {
        match refused {
            SubmitError::RingFull(_) => self.stats.refused_full += 1,
            SubmitError::Resetting(_) | SubmitError::Removed(_) => self.stats.refused_away += 1,
            SubmitError::NoSuchUnit(_) => {}
        }
        self.record(Event::Refused { class, reason: refused.reason() });
        refused
    }

    fn take_response(&mut self, response: Response<P>) -> Completion<P> {
        let completion = match response {
            Response::Entry(slot) => {
                let entry = self.release(slot);
                let Stage::Answered(status) = entry.stage else {
                    unreachable!("only answered entries are on the response ring")
                };
                let completion = entry.completion(status);
                Completion { payload: Some(entry.payload), ..completion }
            }
            Response::Duplicate(copy) => {
                self.stats.duplicates += 1;
                *copy
            }
        };
        let payload = completion.payload.is_some();
        self.record(Event::Drained { entry: completion.entry, payload });
        completion
    }

    /// Removes an entry and frees its place on the ring.
    fn release(&mut self, slot: Slot) -> Entry<P> {
        let entry = self.entries.remove(slot);
        self.credits[self.groups[entry.group].ring] += 1;
        entry
    }

    fn record(&mut self, event: Event) {
        tracing::trace!(device = %self.name, at_ns = u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX), %event, "device.event");
        if self.trace.on {
            self.trace.records.push(TraceRecord { at: self.now, event });
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

/// A generator per purpose, so that adding a fault rule changes no service time.
fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

const FAULT_STREAM: u64 = 0;
const FIRST_GROUP_STREAM: u64 = 1;
