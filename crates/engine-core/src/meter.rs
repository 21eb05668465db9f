//! What an engine counts: counters, gauges with their peaks, and three histograms of where time is spent.

use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex};

use wait_ctx::{Gauge, LiveGauge};

use crate::clock::{Clock, Wait};
use crate::complaints::Complaints;
use crate::error::EngineError;
use crate::histogram::{Histogram, HistogramSnapshot};
use crate::sync::lock;
use crate::work::Kind;

/// The live counters of one engine. Shared with its requests, so that one that outlives the engine is still counted.
#[derive(Debug)]
pub(crate) struct Meter {
    clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    /// Requests that exist, cancelled ones that a device still holds included.
    pub(crate) requests: Apart<LiveGauge>,
    /// Requests that wait for a ring entry.
    pub(crate) waiters: LiveGauge,
    pub(crate) queue_wait: Histogram,
    pub(crate) device_time: Histogram,
    pub(crate) resume_delay: Histogram,
    complaints: Complaints,
    /// How many threads wait for `idle`.
    idle_waiters: Mutex<usize>,
    idle: Condvar,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Apart<AtomicU64>,)+ }

        /// What an engine has counted since it was built. The numbers are read one by one: they agree with each other
        /// only while nothing is in flight.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct EngineStats {
            $($(#[$doc])* pub $name: u64,)+
            /// Requests that exist now: until the caller has the result *and* the device has returned from
            /// [`complete`](crate::Request::complete), so it may be above zero for a moment after
            /// [`run`](crate::Engine::run). [`quiesce`](crate::Engine::quiesce) waits for zero.
            pub requests: Gauge,
            /// Requests that wait now for a free ring entry.
            pub waiters: Gauge,
            /// From submission until work on the request began, if the device reports that
            /// ([`Request::begin`](crate::Request::begin)); else until the device took it.
            pub queue_wait: HistogramSnapshot,
            /// From there to its completion, the check included.
            pub device_time: HistogramSnapshot,
            /// From completion to the job collecting the result.
            pub resume_delay: HistogramSnapshot,
        }

        impl EngineStats {
            /// The counters by name.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }

        impl Meter {
            pub(crate) fn stats(&self) -> EngineStats {
                EngineStats {
                    $($name: self.counters.$name.load(Ordering::Relaxed),)+
                    requests: self.requests.read(),
                    waiters: self.waiters.read(),
                    queue_wait: self.queue_wait.snapshot(),
                    device_time: self.device_time.snapshot(),
                    resume_delay: self.resume_delay.snapshot(),
                }
            }
        }
    };
}

counters! {
    /// Requests that the engine accepted.
    submitted,
    /// Times that a device took a request. More than `submitted`, `fallbacks` and `attempts_again` together would mean that
    /// one was submitted twice.
    accepted,
    /// Times that a device was full.
    ring_full,
    /// Requests that had to wait for a ring entry.
    queued,
    /// Work handed back to the caller because its queue was full or the engine closed.
    refused,
    /// Requests that ended with a result.
    completed,
    /// Requests that ended with an error.
    failed,
    /// Requests cancelled by their callers, also by dropping the wait context of their session.
    cancelled,
    /// Answers that came after the request was settled or cancelled: erased and dropped.
    late,
    /// Answers that were there when their callers dropped their halves: erased and dropped.
    uncollected,
    /// Results that were checked.
    checked,
    /// Results that did not pass.
    check_failures,
    /// Wakes delivered for completions: at most one for each request.
    wakes,
    /// Resumes of jobs parked on a request.
    resumes,
    /// Resumes that found the request not settled. Harmless; no loop of the engine makes them.
    spurious_resumes,
    /// Waiting requests submitted in the order of their arrival.
    in_order,
    /// Waiting requests that overtook an older one of their kind. Always zero.
    out_of_order,
    /// Jobs woken because there may be room for their request now ([`OnFull::Notify`](crate::OnFull::Notify)).
    retry_wakes,
    /// Requests that their job submitted again after the ring had been full.
    retries,
    /// Permits to submit that were not used in time, say because the job was leaked: their room went to the next
    /// ([`OnFull::Notify`](crate::OnFull::Notify)).
    permits_expired,
    /// Deadlines that passed.
    deadlines,
    /// Further attempts of operations that the device failed ([`RequestOptions::attempts`](crate::RequestOptions::attempts)).
    attempts_again,
    /// Operations that the standby took over, or got at once because the breaker was open.
    fallbacks,
    /// Operations that the standby got at once because too few others were under way
    /// ([`Offload::Beyond`](crate::Offload::Beyond)).
    not_offloaded,
    /// Times that the breaker has opened.
    trips,
    /// Requests that a shutdown failed.
    shut_down,
    /// Operations that blocked their thread because pausing was refused.
    blocking_waits,
    /// Calls of a device, a check or an erasure that ran on the stack of a job. Always zero.
    on_job_stack,
}

impl Meter {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            counters: Counters::default(),
            requests: Apart::default(),
            waiters: LiveGauge::new(),
            queue_wait: Histogram::new(),
            device_time: Histogram::new(),
            resume_delay: Histogram::new(),
            complaints: Complaints::default(),
            idle_waiters: Mutex::new(0),
            idle: Condvar::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Warns that the device has failed an operation, at most once a second for each cause.
    pub(crate) fn complain(&self, kind: Kind, error: &EngineError) {
        self.complaints.complain(self.now(), kind, error);
    }

    /// The time `duration` from now, by the engine's clock; saturates, which means never.
    pub(crate) fn after(&self, duration: Duration) -> Duration {
        self.now().saturating_add(duration)
    }

    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) {
        counter(&self.counters).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_gone(&self) {
        if self.requests.sub(1) == 0 {
            // The lock orders this after a waiter's read of the gauge. Without a waiter there is no system call.
            if *lock(&self.idle_waiters) > 0 {
                self.idle.notify_all();
            }
        }
    }

    /// Waits until no request exists, at most `timeout`. True if none does.
    pub(crate) fn wait_idle(&self, timeout: Duration) -> bool {
        let wait = Wait::at_most(timeout);
        let mut waiters = lock(&self.idle_waiters);
        *waiters += 1;
        let mut late = false;
        while self.requests.read().now > 0 && !late {
            (waiters, late) = wait.on(&self.idle, waiters);
        }
        *waiters -= 1;
        self.requests.read().now == 0
    }
}

/// A value that shares no cache line with others. Callers and devices count on different processors; two counters in one
/// line would have it move between them at each count.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Quantiles that alerts are usually set on.
#[cfg(feature = "metrics")]
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.99, "0.99"), (0.999, "0.999")];

#[cfg(feature = "metrics")]
impl EngineStats {
    /// Passes these counters to the installed recorder, with the label `engine`. Call it before each scrape. The names are
    /// [listed](https://github.com/layby-rs/layby/blob/main/docs/events.md#metrics), and are interface. The quantiles are of all the time since the engine was built.
    pub fn publish(&self, engine: impl Into<metrics::SharedString>) {
        use metrics::{counter, gauge};

        let engine = engine.into();
        for (name, value) in self.counters() {
            counter!(format!("layby_{name}_total"), "engine" => engine.clone()).absolute(value);
        }
        let level =
            |name: &'static str, now: f64| gauge!(name, "engine" => engine.clone()).set(now);
        level("layby_requests", self.requests.now as f64);
        level("layby_waiters", self.waiters.now as f64);
        let quantiles = |name: &'static str, histogram: &HistogramSnapshot| {
            for (quantile, label) in QUANTILES {
                let seconds = histogram.quantile_bound(quantile).as_secs_f64();
                gauge!(name, "engine" => engine.clone(), "quantile" => label).set(seconds);
            }
        };
        quantiles("layby_queue_wait_seconds", &self.queue_wait);
        quantiles("layby_device_time_seconds", &self.device_time);
        quantiles("layby_resume_delay_seconds", &self.resume_delay);
    }
}
