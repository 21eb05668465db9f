//! Property-testing an engine: strategies, a reference model, and a conformance run for anybody's engine.
//!
//! An engine computes something elsewhere and later, and keeps the session's status and its wakes right while it does
//! so. What "right" means is in [`SessionModel`]; [`conformance`] runs an engine beside it through random scripts of
//! submissions, polls, cancellations and device events, checks the laws after every step, and shrinks a failure to the
//! shortest script that still shows it.
//!
//! All it needs is the small trait [`TestedEngine`]: submit with a notifier, poll the result, cancel, and one method through
//! which the kit tells the engine's device what to do. No jobs and no fibers are involved. An engine with threads of its
//! own implements [`TestedEngine::settle`], so that every step has taken effect before the kit looks.

mod conformance;
mod model;
mod run;
mod script;
mod shortest;
mod strategy;

pub use proptest;

pub use conformance::{Conformance, NonConformance, conformance};
pub use model::{ModelArm, SessionModel};
pub use run::Coverage;
pub use script::{Answer, DeviceEvent, Failed, FullPolicy, Order, ScriptStep, Tag, TestedEngine};
