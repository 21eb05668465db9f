//! Service units: a group per class with its queue, and the pool they may share.

use core::time::Duration;
use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;

use crate::completion::ServiceClass;
use crate::config::{Batch, UnitConfig};
use crate::entries::Slot;
use crate::service::Sampler;

/// The parallel units of one class, with a first-come-first-served queue.
#[derive(Debug)]
pub(crate) struct UnitGroup {
    pub(crate) class: ServiceClass,
    /// Index of the request ring that feeds the group.
    pub(crate) ring: usize,
    count: u32,
    batch: Batch,
    /// Entries that wait for a unit, with the time at which they arrived.
    queue: VecDeque<(Slot, Duration)>,
    /// The number of requests in each unit that was ever used.
    loads: Vec<u32>,
    /// Units in `loads` that are idle.
    idle: Vec<u32>,
    sampler: Sampler,
    /// A stream of its own: draws of other classes change nothing here.
    rng: ChaCha8Rng,
}

/// A busy unit of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) group: usize,
    pub(crate) unit: u32,
}

/// A unit that starts, with its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) unit: u32,
    /// The number of requests it takes from the queue; take them with [`UnitGroup::seat`].
    pub(crate) requests: u32,
    pub(crate) service: Duration,
}

impl UnitGroup {
    /// `config` must have been validated.
    pub(crate) fn new(config: &UnitConfig, ring: usize, rng: ChaCha8Rng) -> Self {
        Self {
            class: config.class,
            ring,
            count: config.count,
            batch: config.batch.unwrap_or(Batch { size: 1, timeout: Duration::ZERO }),
            queue: VecDeque::new(),
            loads: Vec::new(),
            idle: Vec::new(),
            sampler: Sampler::new(&config.service),
            rng,
        }
    }

    pub(crate) fn enqueue(&mut self, slot: Slot, now: Duration) {
        self.queue.push_back((slot, now));
    }

    /// The first in the queue, if a unit of the group may start it now.
    pub(crate) fn next(&self, now: Duration) -> Option<Slot> {
        let (slot, since) = *self.queue.front().filter(|_| self.has_idle())?;
        (self.has_full_batch() || since.saturating_add(self.batch.timeout) <= now).then_some(slot)
    }

    /// When a unit starts with an incomplete batch, because the first entry has waited for the timeout.
    pub(crate) fn timeout_at(&self) -> Option<Duration> {
        let (_, since) = self.queue.front().filter(|_| self.has_idle())?;
        Some(since.saturating_add(self.batch.timeout))
    }

    /// Whether a unit ever waits although its queue is not empty.
    pub(crate) fn waits_for_more(&self) -> bool {
        self.batch.size > 1 && !self.batch.timeout.is_zero()
    }

    /// Starts an idle unit, if there is one and it need not wait for more requests.
    pub(crate) fn start_next(&mut self, now: Duration) -> Option<Start> {
        self.next(now)?;
        let requests = self.waiting().min(self.batch.size);
        let unit = self.idle.pop().unwrap_or_else(|| {
            self.loads.push(0);
            self.loads.len() as u32 - 1
        });
        self.loads[unit as usize] = requests;
        Some(Start { unit, requests, service: self.sampler.draw(&mut self.rng) })
    }

    /// Moves the first entry from the queue to a unit.
    pub(crate) fn seat(&mut self) -> Slot {
        self.queue.pop_front().expect("a start takes no more than there are").0
    }

    /// Removes a request from a unit. True if the unit is now idle.
    pub(crate) fn release(&mut self, unit: u32) -> bool {
        let load = &mut self.loads[unit as usize];
        *load -= 1;
        if *load > 0 {
            return false;
        }
        self.idle.push(unit);
        true
    }

    /// Resets the group: the queue is empty and all units are idle.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.loads.clear();
        self.idle.clear();
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    fn has_idle(&self) -> bool {
        !self.idle.is_empty() || self.loads.len() < self.count as usize
    }

    fn has_full_batch(&self) -> bool {
        self.waiting() >= self.batch.size
    }

    fn waiting(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }
}

/// Units shared by all groups, in addition to each group's own limit.
#[derive(Debug)]
pub(crate) struct Pool {
    count: u32,
    idle: u32,
}

impl Pool {
    pub(crate) const fn new(count: u32) -> Self {
        Self { count, idle: count }
    }

    pub(crate) const fn has_idle(&self) -> bool {
        self.idle > 0
    }

    pub(crate) fn take(&mut self) {
        self.idle -= 1;
    }

    pub(crate) fn release(&mut self) {
        debug_assert!(self.idle < self.count, "more units released than there are");
        self.idle += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.idle = self.count;
    }
}
