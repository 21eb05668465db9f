//! The conformance kit on engines that keep the laws, and on two that do not.

use std::process::Command;
use std::task::Poll;

use wait_ctx::Notifier;
use wait_ctx::testing::{Answer, DeviceEvent, Failed, ScriptStep, Tag, TestedEngine, conformance};

use crate::toy::{Request, Toy};

/// The variable that makes [`a_panicking_engine`] fail.
const PANIC_ON_PURPOSE: &str = "LAYBY_PANIC_ON_PURPOSE";

fn covers_everything(make: fn() -> Toy) {
    let report = conformance(make).unwrap_or_else(|failure| panic!("{failure}"));
    for (kind, &n) in report.steps.iter().enumerate() {
        assert!(n >= 100, "step kind {kind} of {} took effect {n} times", ScriptStep::N_KINDS);
    }
    assert!(report.wakes >= 1_000 && report.results >= 1_000, "{report:?}");
}

#[test]
fn an_engine_that_queues_keeps_the_laws() {
    covers_everything(Toy::default);
}

#[test]
fn an_engine_that_notifies_keeps_the_laws() {
    covers_everything(Toy::that_notifies);
}

/// A toy that wakes before it stores: the result is there when the completion returns, and not before.
struct WakesFirst(Toy);

impl TestedEngine for WakesFirst {
    type Request = Request;

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Request {
        self.0.submit(notifier, tag, answer)
    }

    fn poll(&mut self, request: &mut Request) -> Poll<Result<Tag, Failed>> {
        self.0.poll(request)
    }

    fn cancel(&mut self, request: Request) {
        self.0.cancel(request);
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        match event {
            DeviceEvent::Complete(tag) => self.0.held(tag).map(Request::wake_then_store).is_some(),
            other => self.0.device(other),
        }
    }

    fn taken(&self) -> u64 {
        self.0.taken()
    }
}

#[test]
fn l3_a_wake_before_the_store_is_found() {
    let failure = conformance(|| WakesFirst(Toy::default())).expect_err("the bug is found");
    assert!(failure.broken.starts_with("L3: the result was stored after the wake"), "{failure}");
    assert_eq!(failure.script.len(), 2, "{failure}");
}

/// An engine that panics when it is polled for the second time.
#[derive(Default)]
struct Panics(Toy, u32);

impl TestedEngine for Panics {
    type Request = Request;

    fn submit(&mut self, notifier: &Notifier, tag: Tag, answer: Answer) -> Request {
        self.0.submit(notifier, tag, answer)
    }

    fn poll(&mut self, request: &mut Request) -> Poll<Result<Tag, Failed>> {
        self.1 += 1;
        assert!(self.1 < 2, "polled twice");
        self.0.poll(request)
    }

    fn cancel(&mut self, request: Request) {
        self.0.cancel(request);
    }

    fn device(&mut self, event: DeviceEvent) -> bool {
        self.0.device(event)
    }

    fn taken(&self) -> u64 {
        self.0.taken()
    }
}

/// Fails on purpose, and only in the process that the next test starts.
#[test]
fn a_panicking_engine() {
    if std::env::var_os(PANIC_ON_PURPOSE).is_none() {
        return;
    }
    conformance(Panics::default).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_panicking_engine_prints_its_shortest_script_alone() {
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "kit::a_panicking_engine", "--nocapture"])
        .env(PANIC_ON_PURPOSE, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert_eq!(text.matches("polled twice").count(), 1, "{text}");
    assert!(
        text.contains("the engine panicked: polled twice (crates/wait-ctx/tests/it/kit.rs:"),
        "{text}"
    );
    assert!(text.contains("  1. session 0 submits") && text.lines().count() < 12, "{text}");
}
