//! What an engine does because time has passed: deadlines, the device's health.

use core::time::Duration;
use std::sync::Arc;

use wait_ctx::RequestPhase;

use crate::accelerator::Health;
use crate::breaker::Tripped;
use crate::cell::Cell;
use crate::dispatch::{Core, lock};
use crate::error::EngineError;
use crate::lane::Pumped;
use crate::plant::{self, Bug};
use crate::work::Work;

impl<W: Work> Core<W> {
    /// Moves everything to the present, and says when to come again.
    pub(crate) fn poll(&self) -> Option<Duration> {
        if self.is_elsewhere() {
            return None;
        }
        loop {
            let now = self.meter.now();
            // The device first: an answer that is due at the deadline is in time.
            let mut devices = self.poll_devices(now);
            let mut moved = self.check_health(now) == Tripped::Yes;
            moved |= self.expire(now);
            let pumped = self.lanes().map(|lane| lane.pump(self)).max();
            if moved || pumped == Some(Pumped::Moved) {
                continue;
            }
            // A device that refuses may have more to do than before: it knows when it will be well again. Asked once:
            // whoever waits is not offered again before that.
            if pumped == Some(Pumped::InVain) {
                devices = self.poll_devices(now);
            }
            return devices.into_iter().chain(self.next_timer()).min();
        }
    }

    fn poll_devices(&self, now: Duration) -> Option<Duration> {
        self.lanes().filter_map(|lane| lane.device.poll(now)).min()
    }

    fn next_timer(&self) -> Option<Duration> {
        let permits = self.lanes().filter_map(|lane| lane.next_expiry()).min();
        let roster = self.roster();
        let health = self.breaker.as_ref().filter(|_| roster.len() > 0);
        let health = health.map(|breaker| lock(breaker).health_due());
        roster.next_deadline().into_iter().chain(health).chain(permits).min()
    }

    /// Ends or moves every request whose deadline has come. True if there was one.
    fn expire(&self, now: Duration) -> bool {
        if plant::armed(Bug::IgnoreDeadline) {
            return false;
        }
        let mut any = false;
        // One at a time, for what becomes of one may give others to the standby, with a new deadline.
        loop {
            let due = {
                let mut roster = self.roster();
                let Some(cell) = roster.take_due(now) else { return any };
                // Under the lock: on which device it has used up its time.
                cell.upgrade().map(|cell| (cell.is_on_standby(), cell))
            };
            any = true;
            if let Some((on_standby, cell)) = due {
                self.expire_one(&cell, on_standby);
            }
        }
    }

    fn expire_one(&self, cell: &Arc<Cell<W>>, on_standby: bool) {
        if cell.is_settled() {
            return;
        }
        self.meter.count(|c| &c.deadlines);
        let device_sat_on_it = cell.in_flight.phase() == RequestPhase::Submitted && !on_standby;
        let rescued = self.rescue(cell, &EngineError::Deadline);
        // Somebody else may have given it to the standby since, where it has its time again.
        if !rescued && cell.is_on_standby() == on_standby {
            cell.fail(self, EngineError::Deadline);
        }
        if device_sat_on_it {
            self.note_outcome(&Err(EngineError::Deadline));
        }
    }

    /// Asks the device how it is, if it is time to.
    pub(crate) fn check_health(&self, now: Duration) -> Tripped {
        let Some(breaker) = &self.breaker else { return Tripped::No };
        if now < lock(breaker).health_due() {
            return Tripped::No;
        }
        // Without the lock: the device is foreign code.
        let alive = self.device.device.health(now) != Health::Dead;
        let tripped = lock(breaker).handle_health(now, alive);
        if tripped == Tripped::Yes {
            self.handle_trip();
        }
        tripped
    }
}
