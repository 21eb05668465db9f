//! Virtual time: the same worker, engine and device code as in real time, stepped by a calendar on one thread.

mod answers;
mod arrivals;
mod clock;
mod cost;
mod recorder;
mod trace;

mod calls;
mod wire;

mod profiled;
mod protocol;
mod real;

mod time;

mod build;
mod heartbeat;
mod plan;
mod worker;
mod worker_job;
mod world;

mod row;
mod seed;

pub use answers::Answers;
pub use build::Fibers;
pub use calls::Calls;
pub use clock::VirtualClock;
pub use cost::{CostProfile, ProfileError, Segments, SignCosts};
pub use plan::{Connection, SeedPlan};
pub use trace::TraceSummary;

pub(crate) use plan::MOST_WORKERS;

pub(crate) use row::{Watch, run as run_row};
pub(crate) use seed::run as run_seed;
