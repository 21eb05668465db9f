//! The threads that sign, as a device: a pool that says when none of its calls returns.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine_core::{
    Accelerator, Capabilities, DeviceError, DeviceRefused, Health, Kind, Request, RoomNotice,
    Shutdown, ThreadPool, ThreadPoolBuilder,
};
use ssl_async::offload::SigningWork;

use crate::service::Service;

/// A pool of threads that sign with a token. It counts as dead when all threads are in calls that take too long: then the
/// breaker opens, and handshakes fail at once instead of at their deadline. A token that answers with errors is alive: it rests
/// by itself, and handshakes may wait for its return.
pub(crate) struct SigningThreads {
    pool: ThreadPool<SigningWork>,
    calls: Arc<Mutex<CallTimes>>,
    began: Instant,
}

fn lock(calls: &Mutex<CallTimes>) -> MutexGuard<'_, CallTimes> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SigningThreads {
    /// The pool is `threads` of these.
    pub(crate) fn new(
        service: Arc<Service>,
        pool: ThreadPoolBuilder,
        threads: usize,
        deadline: Duration,
    ) -> Self {
        let calls = Arc::new(Mutex::new(CallTimes::new(threads, deadline)));
        let (times, began) = (Arc::clone(&calls), Instant::now());
        let pool = pool.build(move |work: &SigningWork| {
            let id = lock(&times).begin(began.elapsed());
            let _returns = Returns { calls: &times, id };
            service.sign(work).map_err(DeviceError::from)
        });
        Self { pool, calls, began }
    }
}

/// Notes the return of a call, also by a panic.
struct Returns<'a> {
    calls: &'a Mutex<CallTimes>,
    id: u64,
}

impl Drop for Returns<'_> {
    fn drop(&mut self) {
        lock(self.calls).end(self.id);
    }
}

impl Accelerator<SigningWork> for SigningThreads {
    fn submit(&self, request: Request<SigningWork>) -> Result<(), DeviceRefused<SigningWork>> {
        self.pool.submit(request)
    }

    fn poll(&self, now: Duration) -> Option<Duration> {
        self.pool.poll(now)
    }

    fn credits(&self, kind: Kind) -> Option<usize> {
        self.pool.credits(kind)
    }

    fn health(&self, _: Duration) -> Health {
        match lock(&self.calls).is_stalled(self.began.elapsed()) {
            true => Health::Dead,
            false => Health::Alive,
        }
    }

    fn attach(&self, room: RoomNotice) {
        self.pool.attach(room);
    }

    fn capabilities(&self) -> Capabilities {
        self.pool.capabilities()
    }

    fn end(&self, deadline: Duration) -> Option<Shutdown> {
        self.pool.end(deadline)
    }
}

impl fmt::Debug for SigningThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningThreads").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// When the calls that have not returned began.
struct CallTimes {
    threads: usize,
    deadline: Duration,
    running: BTreeMap<u64, Duration>,
    next: u64,
    newest: Duration,
}

impl CallTimes {
    fn new(threads: usize, deadline: Duration) -> Self {
        let (running, next, newest) = (BTreeMap::new(), 0, Duration::ZERO);
        Self { threads, deadline, running, next, newest }
    }

    fn begin(&mut self, now: Duration) -> u64 {
        self.next += 1;
        self.newest = now;
        self.running.insert(self.next, now);
        self.next
    }

    fn end(&mut self, id: u64) {
        self.running.remove(&id);
    }

    /// Whether all threads are in calls that take longer than the deadline. After twice the deadline without a new call it is
    /// no longer said: a thread may have been started in place of a stuck one, and only a request shows it.
    fn is_stalled(&self, now: Duration) -> bool {
        let takes_too_long = |began: &Duration| now.saturating_sub(*began) > self.deadline;
        self.running.len() >= self.threads
            && self.running.values().all(takes_too_long)
            && now.saturating_sub(self.newest) <= self.deadline.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_stalled_when_all_are_in_calls_that_take_too_long_and_a_probe_is_let_through() {
        let at = Duration::from_secs;
        let mut calls = CallTimes::new(2, at(5));
        let first = calls.begin(at(0));
        assert!(!calls.is_stalled(at(9)), "the other thread is free");
        let second = calls.begin(at(10));
        assert!(!calls.is_stalled(at(15)), "the newer call may still return in time");
        assert!(calls.is_stalled(at(16)));
        assert!(
            !calls.is_stalled(at(21)),
            "a probe shows whether a thread took a stuck one's place"
        );
        // It did.
        let probe = calls.begin(at(21));
        assert!(!calls.is_stalled(at(22)));
        calls.end(probe);
        calls.end(first);
        assert!(!calls.is_stalled(at(28)));
        calls.end(second);
        assert!(!calls.is_stalled(at(28)));
    }
}
