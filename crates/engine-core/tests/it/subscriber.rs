//! The log: a subscriber that panics harms no request, no thread that waits and no thread of a device, and lines are few.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_core::{
    BreakerPolicy, Engine, EngineError, Fallback, LogLimit, RequestOptions, Shutdown,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{Answer, Bench, FAILED, Manual, Negate, Outputs, PATIENCE, end};

/// Panics at the event of this name.
struct Hostile {
    event: &'static str,
    has_struck: Arc<AtomicBool>,
}

impl Subscriber for Hostile {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut name = Name(String::new());
        event.record(&mut name);
        if name.0 == self.event {
            self.has_struck.store(true, Ordering::Relaxed);
            panic!("told to");
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The name of an event, which is its message.
struct Name(String);

impl Visit for Name {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Runs `act` under a subscriber that panics at `event`, which has to come.
fn hostile_at(event: &'static str, act: impl FnOnce()) {
    let has_struck = Arc::<AtomicBool>::default();
    let hostile = Hostile { event, has_struck: Arc::clone(&has_struck) };
    tracing::subscriber::with_default(hostile, act);
    assert!(has_struck.load(Ordering::Relaxed), "no {event}");
}

/// A request that the engine still had would make it wait.
fn ends_at_once(engine: &Engine<Negate>) {
    let start = Instant::now();
    assert_eq!(engine.shutdown_blocking(PATIENCE), Shutdown::Drained);
    assert!(start.elapsed() < PATIENCE / 2, "it waited for a request that has ended");
    assert_eq!(engine.stats().requests.now, 0);
}

#[test]
fn l12_a_subscriber_that_panics_harms_no_request() {
    for (event, answer) in [
        ("request.submit", Answer::Right),
        ("request.complete", Answer::Right),
        ("request.collect", Answer::Right),
        ("request.failed", Answer::Fail),
        ("engine.failing", Answer::Fail),
    ] {
        let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
        let engine = Engine::builder(device.clone()).build();
        hostile_at(event, || {
            let pending = engine.submit(Negate::new(1, &outputs)).unwrap();
            device.answer_first(answer);
            let result = pending.wait().map(|output| output.value);
            let expected =
                if answer == Answer::Fail { Err(EngineError::Device(FAILED)) } else { Ok(!1) };
            assert_eq!(result, expected, "{event}");
        });
        ends_at_once(&engine);
    }
}

#[test]
fn l5_a_subscriber_that_panics_at_a_cancellation_leaves_nothing_behind() {
    let (device, outputs) = (Manual::new(1), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let held = engine.submit(Negate::new(1, &outputs)).unwrap();
    let queued = engine.submit(Negate::new(2, &outputs)).unwrap();
    hostile_at("request.cancelled", || drop((held, queued)));
    assert_eq!(engine.stats().waiters.now, 0);
    hostile_at("request.late", || device.answer_first(Answer::Right));
    assert_eq!((outputs.made(), outputs.erased()), (1, 1));
    ends_at_once(&engine);
}

#[test]
fn l14_a_subscriber_that_panics_keeps_no_request_from_the_standby() {
    for event in ["request.fall_back", "breaker.open"] {
        let bench = Bench::with_rings(8, 8);
        let options = RequestOptions::new().fallback(Fallback::Standby);
        let breaker = BreakerPolicy::default().failures(1);
        let engine = bench.builder(options).breaker(breaker).build();
        let pending: Vec<_> = (0..3).map(|n| engine.submit(bench.work(n)).unwrap()).collect();
        hostile_at(event, || bench.device.answer_first(Answer::Fail));
        for (pending, n) in pending.into_iter().zip(0..) {
            end(bench.standby.find(n).expect(event), Answer::Right);
            assert_eq!(pending.wait().unwrap().value, !n, "{event}");
        }
        (1..3).for_each(|_| bench.device.answer_first(Answer::Right));
        ends_at_once(&engine);
    }
}

#[test]
fn l3_a_subscriber_that_panics_keeps_no_thread_waiting() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let pending = engine.submit(Negate::new(1, &outputs)).unwrap();
    let waiting = std::thread::spawn(move || pending.wait().map(|output| output.value));
    while engine.stats().blocking_waits == 0 {
        std::thread::yield_now();
    }
    hostile_at("request.complete", || device.answer_first(Answer::Right));
    let start = Instant::now();
    while !waiting.is_finished() && start.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert!(waiting.is_finished(), "the thread was not woken");
    assert_eq!(waiting.join().unwrap().unwrap(), !1);
}

#[test]
fn a_limit_lets_one_line_a_second_through_and_counts_the_others() {
    let limit = LogLimit::new();
    let at = Duration::from_millis;
    assert_eq!(limit.admit(at(0)), Some(0));
    assert_eq!((limit.admit(at(1)), limit.admit(at(999))), (None, None));
    assert_eq!(limit.admit(at(1000)), Some(2));
    assert_eq!(limit.admit(at(1500)), None);
    assert_eq!(limit.admit(Duration::MAX), Some(1));
}
