//! A subscriber of the log that panics ends no request unseen, and none outlives it in the engine.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use engine_core::{Engine, Shutdown};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{Answer, Manual, Negate, Outputs, PATIENCE};

/// Panics at the event of this name.
struct Hostile(&'static str);

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
        event.record(&mut PanicsAt(self.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct PanicsAt(&'static str);

impl Visit for PanicsAt {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        assert!(field.name() != "message" || format!("{value:?}") != self.0, "told to");
    }
}

/// Runs `act` under a subscriber that panics at `event`, and expects that panic.
fn panics_at(event: &'static str, act: impl FnOnce()) {
    tracing::subscriber::with_default(Hostile(event), || {
        catch_unwind(AssertUnwindSafe(act)).expect_err(event);
    });
}

/// A request that the engine still had would make it wait.
fn ends_at_once(engine: &Engine<Negate>) {
    let start = Instant::now();
    assert_eq!(engine.shutdown_blocking(PATIENCE), Shutdown::Drained);
    assert!(start.elapsed() < PATIENCE / 2, "it waited for a request that has ended");
    assert_eq!(engine.stats().requests.now, 0);
}

#[test]
fn l12_a_submission_that_panics_in_the_log_leaves_no_request_behind() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    panics_at("request.submit", || drop(engine.submit(Negate::new(1, &outputs))));
    assert_eq!(device.taken(), []);
    ends_at_once(&engine);
}

#[test]
fn l12_a_completion_that_panics_in_the_log_ends_its_request() {
    for (event, answer) in [("request.complete", Answer::Right), ("request.failed", Answer::Fail)] {
        let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
        let engine = Engine::builder(device.clone()).build();
        let pending = engine.submit(Negate::new(1, &outputs)).unwrap();
        panics_at(event, || device.answer_first(answer));
        assert_eq!(pending.wait().is_ok(), answer == Answer::Right);
        ends_at_once(&engine);
    }
}

#[test]
fn l3_a_completion_that_panics_in_the_log_wakes_the_thread_that_waits() {
    let (device, outputs) = (Manual::new(4), Arc::<Outputs>::default());
    let engine = Engine::builder(device.clone()).build();
    let pending = engine.submit(Negate::new(1, &outputs)).unwrap();
    let waiting = std::thread::spawn(move || pending.wait().map(|output| output.value));
    while engine.stats().blocking_waits == 0 {
        std::thread::yield_now();
    }
    panics_at("request.complete", || device.answer_first(Answer::Right));
    let start = Instant::now();
    while !waiting.is_finished() && start.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert!(waiting.is_finished(), "the thread was not woken");
    assert_eq!(waiting.join().unwrap().unwrap(), !1);
}
