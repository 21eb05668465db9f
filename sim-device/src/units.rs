//! The service units: a group for each class with its queue, and the pool they may share.

use core::time::Duration;
use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;

use crate::completion::ServiceClass;
use crate::config::UnitConfig;
use crate::entries::Slot;
use crate::service::Sampler;

/// Identical units in parallel with one first-come-first-served queue.
#[derive(Debug)]
pub(crate) struct UnitGroup {
    pub(crate) class: ServiceClass,
    /// Index of the request ring that feeds the group.
    pub(crate) ring: usize,
    count: u32,
    idle: u32,
    queue: VecDeque<Slot>,
    sampler: Sampler,
    /// A stream of its own: what another class draws changes nothing here.
    rng: ChaCha8Rng,
}

impl UnitGroup {
    /// `config` must have been validated.
    pub(crate) fn new(config: &UnitConfig, ring: usize, rng: ChaCha8Rng) -> Self {
        Self {
            class: config.class,
            ring,
            count: config.count,
            idle: config.count,
            queue: VecDeque::new(),
            sampler: Sampler::new(&config.service),
            rng,
        }
    }

    pub(crate) fn enqueue(&mut self, slot: Slot) {
        self.queue.push_back(slot);
    }

    /// The first in the queue, if a unit of the group is idle.
    pub(crate) fn next(&self) -> Option<Slot> {
        if self.idle > 0 { self.queue.front().copied() } else { None }
    }

    /// Seats the first in the queue at an idle unit, if there are both; says for how long.
    pub(crate) fn start_next(&mut self) -> Option<(Slot, Duration)> {
        if self.idle == 0 {
            return None;
        }
        let slot = self.queue.pop_front()?;
        self.idle -= 1;
        Some((slot, self.sampler.draw(&mut self.rng)))
    }

    /// A unit is free again.
    pub(crate) fn release(&mut self) {
        debug_assert!(self.idle < self.count, "more units released than there are");
        self.idle += 1;
    }

    /// A reset: empty queue, all units idle.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.idle = self.count;
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }
}

/// Units that all groups draw on, beside their own limits.
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
