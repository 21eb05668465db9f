//! The hardware as its driver sees it: the instances of a card, and the bookkeeping of what they hold. Behind one lock,
//! held for bookkeeping only.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine_core::{DeviceRefused, Request, RequestId, Work};
use sim_device::{Completion, EntryId, InstanceId, InstanceStats, ServiceClass, SubmitError};

use crate::config::SimConfig;
use crate::error::SimError;
use crate::polling::{Occasion, Poller, SHORTEST_PAUSE};

/// When the hardware looks again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// At once: it has just worked, or been rung.
    Now,
    /// At this time.
    At(Duration),
    /// Not before the doorbell.
    Never,
}

/// Whether the hardware has to be told of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doorbell {
    /// It looks soon enough by itself.
    Silent,
    /// It sleeps too long.
    Ring,
}

/// What came off the rings at one look.
#[derive(Debug)]
pub(crate) struct Batch<W: Work> {
    pub(crate) completions: Vec<Completion<Request<W>>>,
    /// Requests of which the device will not speak again.
    pub(crate) lost: Vec<Request<W>>,
}

impl<W: Work> Default for Batch<W> {
    fn default() -> Self {
        Self { completions: Vec::new(), lost: Vec::new() }
    }
}

impl<W: Work> Batch<W> {
    pub(crate) fn is_empty(&self) -> bool {
        self.completions.is_empty() && self.lost.is_empty()
    }
}

pub(crate) struct Hardware<W: Work> {
    /// The device owns the requests inside it (law L1).
    card: sim_device::InstanceSet<Request<W>>,
    poller: Poller,
    alarm: Alarm,
    /// What is inside, by the number of the request: the tag in a response may be another's.
    inside: BTreeMap<RequestId, (InstanceId, EntryId)>,
    /// When to ask what became of a request, in order.
    overdue: VecDeque<(Duration, RequestId)>,
    response_timeout: Option<Duration>,
    /// Instances that have turned a request away because their rings were stuck.
    stuck: BTreeSet<InstanceId>,
    /// The heartbeats, and when they were last seen to have moved.
    pulses: Vec<Pulse>,
    /// Whether any device interrupts at all.
    interrupts: bool,
    /// The instances in the order in which they are asked.
    by_room: Vec<InstanceId>,
    /// The card has been stopped.
    shut: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    beats: u64,
    seen: Duration,
}

impl<W: Work> Hardware<W> {
    pub(crate) fn new(config: &SimConfig, poller: Poller) -> Result<Self, SimError> {
        let instances = config.instances.clamp(1, SimConfig::MOST_INSTANCES);
        let configs = (0..instances).map(|n| {
            let mut instance = config.instance.clone();
            if instances > 1 {
                instance.name = format!("{}.{n}", instance.name);
            }
            instance
        });
        let mut card = sim_device::InstanceSet::new(configs.collect(), config.seed)?;
        for (_, instance) in card.iter_mut() {
            instance.set_trace(config.trace);
        }
        let interrupts = card.iter().any(|(_, instance)| instance.interrupts());
        Ok(Self {
            by_room: card.ids().collect(),
            card,
            poller,
            alarm: Alarm::Now,
            inside: BTreeMap::new(),
            overdue: VecDeque::new(),
            response_timeout: config.response_timeout,
            stuck: BTreeSet::new(),
            pulses: vec![Pulse::default(); instances],
            interrupts,
            shut: false,
        })
    }

    /// Writes a request to the instance with the most room. The doorbell also tells of a refusal: the hardware has to
    /// look again when a ring that is stuck opens.
    pub(crate) fn submit(
        &mut self,
        now: Duration,
        class: ServiceClass,
        request: Request<W>,
    ) -> (Result<(), DeviceRefused<W>>, Doorbell) {
        let taken = self.offer(now, class, request);
        (taken, self.doorbell())
    }

    fn offer(
        &mut self,
        now: Duration,
        class: ServiceClass,
        request: Request<W>,
    ) -> Result<(), DeviceRefused<W>> {
        if self.shut {
            return Err(DeviceRefused::Unavailable(request, "the card has been stopped"));
        }
        self.card.advance(now);
        let mut request = request;
        let mut full = false;
        let mut away = "the card has no instance";
        self.sort_by_room(class);
        for &id in &self.by_room {
            let number = request.id();
            let instance = self.card.instance_mut(id);
            match instance.submit(now, class, request) {
                Ok(entry) => {
                    self.inside.insert(number, (id, entry));
                    if let Some(timeout) = self.response_timeout {
                        self.overdue.push_back((now.saturating_add(timeout), number));
                    }
                    return Ok(());
                }
                Err(SubmitError::RingFull(back)) => {
                    if instance.is_stuck() {
                        self.stuck.insert(id);
                    }
                    full = true;
                    request = back;
                }
                Err(refused @ SubmitError::NoSuchUnit(_)) => {
                    let why = refused.reason();
                    return Err(DeviceRefused::Unsupported(refused.into_payload(), why));
                }
                Err(refused) => {
                    away = refused.reason();
                    request = refused.into_payload();
                }
            }
        }
        Err(if full {
            DeviceRefused::Full(request)
        } else {
            DeviceRefused::Unavailable(request, away)
        })
    }

    /// Those with the most room for `class` first; of equal ones, the first.
    fn sort_by_room(&mut self, class: ServiceClass) {
        if self.by_room.len() > 1 {
            let room = |id: InstanceId| self.card.instance(id).credits(class);
            self.by_room.sort_by_key(|&id| (core::cmp::Reverse(room(id)), id));
        }
    }

    /// Moves the hardware to `now` and takes what is finished off the response rings, if it is time to look.
    pub(crate) fn look(&mut self, now: Duration, active: usize, batch: &mut Batch<W>) -> Alarm {
        self.card.advance(now);
        let mut interrupt = !self.interrupts;
        for (_, instance) in self.card.iter_mut() {
            // Every instance has a line of its own.
            interrupt |= instance.take_interrupt(now);
        }
        if self.poller.is_due(now, self.occasion(interrupt, active)) {
            self.poller.handle_look(now);
            for (_, instance) in self.card.iter_mut() {
                instance.poll_responses(usize::MAX, &mut batch.completions);
            }
            for request in batch.completions.iter().filter_map(|c| c.payload.as_ref()) {
                self.inside.remove(&request.id());
            }
        }
        self.reclaim(now, batch);
        if batch.is_empty() {
            return self.set_alarm(now, active);
        }
        // Computing takes time: look again after it.
        self.alarm = Alarm::Now;
        self.alarm
    }

    /// Says, and notes, when to look again.
    pub(crate) fn set_alarm(&mut self, now: Duration, active: usize) -> Alarm {
        let poll = self.poller.next(now, self.occasion(false, active));
        let overdue = self.overdue.front().map(|(due, _)| *due);
        let next = self.card.next_deadline().into_iter().chain(poll).chain(overdue).min();
        self.alarm = next.map_or(Alarm::Never, Alarm::At);
        self.alarm
    }

    /// Asks after requests whose response is overdue; those that the device has lost end here.
    fn reclaim(&mut self, now: Duration, batch: &mut Batch<W>) {
        let Some(timeout) = self.response_timeout else { return };
        // Each is asked after once: what is not lost comes back to the end of the queue, perhaps due at once.
        for _ in 0..self.overdue.len() {
            let Some(&(due, id)) = self.overdue.front() else { return };
            let inside = self.inside.get(&id).copied();
            if inside.is_some() && due > now {
                return;
            }
            self.overdue.pop_front();
            let Some((instance, entry)) = inside else { continue };
            match self.card.instance_mut(instance).reclaim(entry) {
                Some(request) => {
                    self.inside.remove(&id);
                    batch.lost.push(request);
                }
                // Late, or still at work.
                None => {
                    let again = now.saturating_add(timeout.max(SHORTEST_PAUSE));
                    self.overdue.push_back((again, id));
                }
            }
        }
    }

    /// Takes everything out, for good.
    pub(crate) fn evict(&mut self, now: Duration) -> Vec<Completion<Request<W>>> {
        self.shut = true;
        self.inside.clear();
        self.overdue.clear();
        let mut inside = Vec::new();
        for (_, instance) in self.card.iter_mut() {
            instance.reset(now, Duration::ZERO);
            instance.poll_responses(usize::MAX, &mut inside);
        }
        inside
    }

    /// Whether a ring that was stuck has opened again, without a completion to tell of it.
    pub(crate) fn take_opened(&mut self) -> bool {
        let before = self.stuck.len();
        self.stuck.retain(|&id| self.card.instance(id).is_stuck());
        self.stuck.len() < before
    }

    pub(crate) fn credits(&self, class: ServiceClass) -> Option<usize> {
        self.card
            .iter()
            .filter_map(|(_, instance)| instance.credits(class))
            .reduce(usize::saturating_add)
    }

    /// Whether the heart of any instance beats. One that has not moved for two periods has stopped.
    pub(crate) fn is_alive(&mut self, now: Duration, period: Duration) -> bool {
        let mut alive = false;
        for ((_, instance), pulse) in self.card.iter_mut().zip(&mut self.pulses) {
            let beats = instance.heartbeat(now);
            if beats != pulse.beats {
                *pulse = Pulse { beats, seen: now };
            }
            alive |= now.saturating_sub(pulse.seen) < period.saturating_mul(2);
        }
        alive
    }

    pub(crate) fn stats(&self) -> Vec<InstanceStats> {
        self.card.iter().map(|(_, instance)| instance.stats().clone()).collect()
    }

    pub(crate) fn drain_trace(&mut self, into: &mut Vec<(InstanceId, sim_device::TraceRecord)>) {
        for (id, instance) in self.card.iter_mut() {
            into.extend(instance.drain_trace().map(|record| (id, record)));
        }
    }

    pub(crate) fn inject(&mut self, now: Duration, fault: sim_device::Fault) {
        self.card.inject_everywhere(now, fault);
        self.alarm = Alarm::Now;
    }

    fn occasion(&self, interrupt: bool, active: usize) -> Occasion {
        let ready = self.card.iter().any(|(_, instance)| instance.responses_waiting() > 0);
        Occasion { interrupt, ready, in_flight: self.card.occupancy(), active }
    }

    fn doorbell(&mut self) -> Doorbell {
        let wanted = self.card.next_deadline();
        let soon_enough = match (self.alarm, wanted) {
            (Alarm::Now, _) | (_, None) => true,
            (Alarm::At(alarm), Some(wanted)) => alarm <= wanted,
            (Alarm::Never, Some(_)) => false,
        };
        if soon_enough {
            return Doorbell::Silent;
        }
        self.alarm = Alarm::Now;
        Doorbell::Ring
    }
}

impl<W: Work> core::fmt::Debug for Hardware<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Hardware")
            .field("occupancy", &self.card.occupancy())
            .field("alarm", &self.alarm)
            .finish_non_exhaustive()
    }
}
