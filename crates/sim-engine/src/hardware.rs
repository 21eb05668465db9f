//! The hardware as its driver sees it: the instances of a card, and the bookkeeping of what they hold. Behind one lock,
//! which is never held while computing or completing.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine_core::{DeviceRefused, Request, Work};
use sim_device::{
    Completion, EntryId, Fault, Instance, InstanceStats, ServiceClass, SubmitError, TraceRecord,
};

use crate::config::{SimConfig, SimError};
use crate::polling::{Occasion, Poller, SHORTEST_PAUSE};

/// When the hardware is serviced next without a doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// At once: it has just completed requests, or the doorbell rang.
    Now,
    /// At this time.
    At(Duration),
    /// Not before the doorbell.
    Never,
}

/// What one service took off the rings.
pub(crate) struct Batch<W: Work> {
    pub(crate) completions: Vec<Completion<Inside<W>>>,
    /// Requests that the device has lost.
    pub(crate) lost: Vec<Request<W>>,
}

/// A request inside the device, with a number of its own: the requests of several engines share their ids.
pub(crate) struct Inside<W: Work> {
    number: u64,
    pub(crate) request: Request<W>,
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
    instances: Vec<Instance<Inside<W>>>,
    poller: Poller,
    alarm: Alarm,
    next_number: u64,
    /// What is inside, by number, which the request itself carries: the tag in a response may be another's.
    inside: BTreeMap<u64, (usize, EntryId)>,
    /// When each request counts as overdue, in order.
    overdue: VecDeque<(Duration, u64)>,
    response_timeout: Option<Duration>,
    /// Instances that have refused a request because their rings were stuck.
    stuck: BTreeSet<usize>,
    /// The heartbeats, and when they last changed.
    heartbeats: Vec<Heartbeat>,
    /// Whether any instance interrupts.
    interrupts: bool,
    /// The instances, those with the most room first.
    by_room: Vec<usize>,
    /// The card has been stopped.
    shut: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heartbeat {
    count: u64,
    changed: Duration,
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
        let mut all = Instance::several(configs, config.seed)?;
        all.iter_mut().for_each(|instance| instance.set_trace(config.trace));
        let interrupts = all.iter().any(Instance::interrupts);
        Ok(Self {
            by_room: (0..instances).collect(),
            instances: all,
            poller,
            alarm: Alarm::Now,
            next_number: 0,
            inside: BTreeMap::new(),
            overdue: VecDeque::new(),
            response_timeout: config.response_timeout,
            stuck: BTreeSet::new(),
            heartbeats: vec![Heartbeat::default(); instances],
            interrupts,
            shut: false,
        })
    }

    /// Writes a request to the instance with the most room. Also returns whether to ring the doorbell, as a refusal may, too:
    /// the hardware has to be serviced when a ring that is stuck opens.
    pub(crate) fn submit(
        &mut self,
        now: Duration,
        class: ServiceClass,
        request: Request<W>,
    ) -> (Result<(), DeviceRefused<W>>, bool) {
        let taken = self.write(now, class, request);
        (taken, self.next_service_is_late())
    }

    fn write(
        &mut self,
        now: Duration,
        class: ServiceClass,
        request: Request<W>,
    ) -> Result<(), DeviceRefused<W>> {
        if self.shut {
            return Err(DeviceRefused::Unavailable(request, "the card has been stopped"));
        }
        self.advance(now);
        let number = self.next_number;
        let mut inside = Inside { number, request };
        let mut full = false;
        let mut away = "the card has no instance";
        self.sort_by_room(class);
        for &id in &self.by_room {
            let instance = &mut self.instances[id];
            match instance.submit(now, class, inside) {
                Ok(entry) => {
                    self.next_number += 1;
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
                    inside = back;
                }
                Err(refused @ SubmitError::NoSuchUnit(_)) => {
                    let why = refused.reason();
                    return Err(DeviceRefused::Unsupported(refused.into_payload().request, why));
                }
                Err(refused) => {
                    away = refused.reason();
                    inside = refused.into_payload();
                }
            }
        }
        let request = inside.request;
        Err(if full {
            DeviceRefused::Full(request)
        } else {
            DeviceRefused::Unavailable(request, away)
        })
    }

    /// Sorts the instances by their room for `class`, stably.
    fn sort_by_room(&mut self, class: ServiceClass) {
        if self.by_room.len() > 1 {
            let room = |id: usize| self.instances[id].credits(class);
            self.by_room.sort_by_key(|&id| (core::cmp::Reverse(room(id)), id));
        }
    }

    /// Moves the hardware to `now` and takes what is finished off the response rings, if the polling policy says so.
    pub(crate) fn service(&mut self, now: Duration, active: usize, batch: &mut Batch<W>) -> Alarm {
        self.advance(now);
        let mut interrupt = !self.interrupts;
        for instance in &mut self.instances {
            // Every instance has an interrupt of its own.
            interrupt |= instance.take_interrupt(now);
        }
        if self.poller.is_due(now, self.occasion(interrupt, active)) {
            self.poller.record_poll(now);
            for instance in &mut self.instances {
                instance.poll_responses(usize::MAX, &mut batch.completions);
            }
            for inside in batch.completions.iter().filter_map(|c| c.payload.as_ref()) {
                self.inside.remove(&inside.number);
            }
        }
        self.reclaim(now, batch);
        if batch.is_empty() {
            return self.set_alarm(now, active);
        }
        // Computing takes time: service again after it.
        self.alarm = Alarm::Now;
        self.alarm
    }

    /// Stores and returns when to service again.
    pub(crate) fn set_alarm(&mut self, now: Duration, active: usize) -> Alarm {
        let poll = self.poller.next(now, self.occasion(false, active));
        let overdue = self.overdue.front().map(|(due, _)| *due);
        let next = self.next_output().into_iter().chain(poll).chain(overdue).min();
        self.alarm = next.map_or(Alarm::Never, Alarm::At);
        self.alarm
    }

    /// Takes back requests whose response is overdue and that the device has lost.
    fn reclaim(&mut self, now: Duration, batch: &mut Batch<W>) {
        let Some(timeout) = self.response_timeout else { return };
        // Each once: a request that is not lost goes to the end of the queue, perhaps due at once.
        for _ in 0..self.overdue.len() {
            let Some(&(due, number)) = self.overdue.front() else { return };
            let inside = self.inside.get(&number).copied();
            if inside.is_some() && due > now {
                return;
            }
            self.overdue.pop_front();
            let Some((instance, entry)) = inside else { continue };
            match self.instances[instance].reclaim(entry) {
                Some(lost) => {
                    self.inside.remove(&number);
                    batch.lost.push(lost.request);
                }
                // Late, or still being computed.
                None => {
                    let again = now.saturating_add(timeout.max(SHORTEST_PAUSE));
                    self.overdue.push_back((again, number));
                }
            }
        }
    }

    /// Takes everything out, for good.
    pub(crate) fn evict(&mut self, now: Duration) -> Vec<Completion<Inside<W>>> {
        self.shut = true;
        self.inside.clear();
        self.overdue.clear();
        let mut inside = Vec::new();
        for instance in &mut self.instances {
            instance.reset(now, Duration::ZERO);
            instance.poll_responses(usize::MAX, &mut inside);
        }
        inside
    }

    /// Whether a ring that was stuck has opened again, which no completion announces.
    pub(crate) fn take_opened(&mut self) -> bool {
        let before = self.stuck.len();
        self.stuck.retain(|&id| self.instances[id].is_stuck());
        self.stuck.len() < before
    }

    pub(crate) fn credits(&self, class: ServiceClass) -> Option<usize> {
        let credits = self.instances.iter().filter_map(|instance| instance.credits(class));
        credits.reduce(usize::saturating_add)
    }

    /// Whether any instance has a heartbeat. One that has not changed for two periods has stopped.
    pub(crate) fn is_alive(&mut self, now: Duration, period: Duration) -> bool {
        let mut alive = false;
        for (instance, last) in self.instances.iter_mut().zip(&mut self.heartbeats) {
            let count = instance.heartbeat(now);
            if count != last.count {
                *last = Heartbeat { count, changed: now };
            }
            alive |= now.saturating_sub(last.changed) < period.saturating_mul(2);
        }
        alive
    }

    pub(crate) fn stats(&self) -> Vec<InstanceStats> {
        self.instances.iter().map(|instance| instance.stats().clone()).collect()
    }

    pub(crate) fn drain_trace(&mut self, into: &mut Vec<(usize, TraceRecord)>) {
        for (id, instance) in self.instances.iter_mut().enumerate() {
            into.extend(instance.drain_trace().map(|record| (id, record)));
        }
    }

    pub(crate) fn inject(&mut self, now: Duration, fault: Fault) {
        self.instances.iter_mut().for_each(|instance| instance.inject(now, fault));
        self.alarm = Alarm::Now;
    }

    fn occasion(&self, interrupt: bool, active: usize) -> Occasion {
        let ready = self.instances.iter().any(|instance| instance.responses_waiting() > 0);
        Occasion { interrupt, ready, in_flight: self.occupancy(), active }
    }

    fn advance(&mut self, now: Duration) {
        self.instances.iter_mut().for_each(|instance| instance.advance(now));
    }

    fn next_output(&self) -> Option<Duration> {
        self.instances.iter().filter_map(Instance::next_output).min()
    }

    fn occupancy(&self) -> usize {
        self.instances.iter().map(Instance::occupancy).sum()
    }

    /// Whether the next service would be too late. It is due at once then.
    fn next_service_is_late(&mut self) -> bool {
        let late = match (self.alarm, self.next_output()) {
            (Alarm::Now, _) | (_, None) => false,
            (Alarm::At(alarm), Some(wanted)) => alarm > wanted,
            (Alarm::Never, Some(_)) => true,
        };
        if late {
            self.alarm = Alarm::Now;
        }
        late
    }
}

impl<W: Work> core::fmt::Debug for Hardware<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Hardware")
            .field("occupancy", &self.occupancy())
            .field("alarm", &self.alarm)
            .finish_non_exhaustive()
    }
}
