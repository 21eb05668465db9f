//! Property tests for engines: a conformance run beside a reference model.
//!
//! An engine computes a result elsewhere and later, and keeps the session's status and wakes right meanwhile.
//! [`SessionModel`] defines "right"; [`conformance`] runs an engine beside it through random scripts of submissions,
//! polls, cancellations and device events, checks after every step, and shrinks a failure to the shortest script that
//! shows it.
//!
//! The engine implements the small trait [`TestedEngine`]: submit with a notifier, poll, cancel, and one method that makes
//! its device produce an event. No jobs and no fibers are involved. An engine with threads of its own implements
//! [`TestedEngine::settle`], so that every step has taken effect before the kit checks.
//! [docs/test-your-engine.md](https://github.com/layby-rs/layby/blob/main/docs/test-your-engine.md) has a whole example.

mod conformance;
mod model;
mod quiet;
mod run;
mod script;
mod shortest;

pub use proptest;

pub use conformance::{Conformance, NonConformance, conformance};
pub use model::SessionModel;
pub use run::Coverage;
pub use script::{Answer, DeviceEvent, Failed, FullPolicy, Order, ScriptStep, Tag, TestedEngine};
