//! The conformance kit on engines that keep the laws.

use wait_ctx::testing::{ScriptStep, conformance};

use crate::toy::Toy;

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
