//! The end of an engine: it closes, waits for its requests, then ends the threads of its devices and its driver.

use core::sync::atomic::Ordering;
use core::time::Duration;

use crate::clock::Wait;
use crate::device_queue::DeviceQueue;
use crate::error::EngineError;
use crate::event::event;
use crate::inner::EngineInner;
use crate::threads::Shutdown;
use crate::work::Work;

impl<W: Work> EngineInner<W> {
    pub(crate) fn shut_down(&self, deadline: Duration) -> Shutdown {
        if !self.waker.home().is_here() {
            return Shutdown::Drained;
        }
        self.closed.store(true, Ordering::Release);
        let wait = Wait::at_most(deadline);
        let given_up = self.finish(wait);
        let mut cannot_tell = false;
        let mut ended = Shutdown::Drained;
        for queue in self.queues() {
            match queue.device.end(wait.left()) {
                Some(end) => ended = ended.and(end),
                None => cannot_tell = true,
            }
        }
        if cannot_tell {
            ended = ended.and(Shutdown::of(given_up));
        }
        self.waker.dismiss(None);
        ended = ended.and(self.waker.join(wait.left()));
        if let Shutdown::Stuck { n } = ended {
            event!(WARN, device = ?self.device.device, stuck = n, "engine.stuck");
        }
        ended
    }

    /// Waits until no request is under way, and fails those that are left at the end of `wait`. Returns how many.
    fn finish(&self, wait: Wait) -> usize {
        loop {
            let next = self.poll_contained();
            let registry = self.registry();
            if registry.len() == 0 {
                drop(registry);
                // The thread that ends a request deregisters it first, and then withdraws it.
                self.queues().for_each(DeviceQueue::drop_postponed);
                return 0;
            }
            let left = wait.left();
            if left.is_zero() {
                break;
            }
            let next = next.map_or(left, |next| next.saturating_sub(self.meter.now()).min(left));
            drop(Wait::at_most(next).on(&self.emptied, registry));
        }
        let left = self.under_way();
        let given_up = left.iter().filter(|state| self.fail(state, EngineError::Gone)).count();
        // All have ended: one that is kept for its next attempt from now on is found to have ended, and withdrawn.
        self.queues().for_each(DeviceQueue::drop_postponed);
        self.meter.counters.shut_down.fetch_add(given_up as u64, Ordering::Relaxed);
        given_up
    }
}
