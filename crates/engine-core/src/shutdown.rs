//! The end of an engine: no more intake, a time to finish, then its device's threads and its driver's.

use core::sync::atomic::Ordering;
use core::time::Duration;

use crate::clock::Wait;
use crate::dispatch::Core;
use crate::error::EngineError;
use crate::threads::Shutdown;
use crate::work::Work;

impl<W: Work> Core<W> {
    /// Whether the engine relies on threads, and this is a child made by `fork`, where they are not. Costs a system call
    /// only if it relies on any.
    pub(crate) fn is_elsewhere(&self) -> bool {
        (self.relies_on_threads || self.bell.is_attached()) && !self.bell.home().is_here()
    }

    pub(crate) fn shut_down(&self, deadline: Duration) -> Shutdown {
        if !self.bell.home().is_here() {
            return Shutdown::Drained;
        }
        self.closed.store(true, Ordering::Release);
        let wait = Wait::at_most(deadline);
        let given_up = self.finish(wait);
        let mut cannot_tell = false;
        let mut ended = Shutdown::Drained;
        for lane in self.lanes() {
            match lane.device.end(wait.left()) {
                Some(end) => ended = ended.and(end),
                None => cannot_tell = true,
            }
        }
        if cannot_tell {
            ended = ended.and(Shutdown::of(given_up));
        }
        self.bell.close();
        ended = ended.and(self.bell.join(wait.left()));
        if let Shutdown::Stuck { n } = ended {
            tracing::warn!(device = ?self.device.device, stuck = n, "engine.stuck");
        }
        ended
    }

    /// Lets what is under way finish, at most until then, and gives up the rest. Returns how many those were.
    fn finish(&self, wait: Wait) -> usize {
        loop {
            let next = wait_ctx::contain("Engine::poll", || self.poll())
                .unwrap_or_else(|_| Some(self.retry_at()));
            let roster = self.roster();
            if roster.len() == 0 {
                return 0;
            }
            let left = wait.left();
            if left.is_zero() {
                break;
            }
            let next = next.map_or(left, |next| next.saturating_sub(self.meter.now()).min(left));
            drop(Wait::at_most(next).on(&self.emptied, roster));
        }
        let left = self.under_way();
        let given_up = left.iter().filter(|cell| cell.fail(self, EngineError::Gone)).count();
        self.meter.counters.shut_down.fetch_add(given_up as u64, Ordering::Relaxed);
        given_up
    }

    /// When to poll again after a poll that panicked.
    pub(crate) fn retry_at(&self) -> Duration {
        self.meter.now().saturating_add(AFTER_A_PANIC)
    }
}

/// A device that panics whenever it is polled fills no log.
const AFTER_A_PANIC: Duration = Duration::from_millis(100);
