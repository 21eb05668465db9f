//! Virtual time: the same worker, engine and device code as in real time, stepped by a calendar on one thread.

mod arrivals;
mod calls;
mod clock;
mod cost;
mod recorder;
mod trace;

mod wire;

mod profiled;
mod protocol;
mod real;

mod time;
mod trials;

mod build;
mod heartbeat;
mod plan;
mod worker;
mod worker_job;
mod world;

mod row;
mod seed;

pub use build::Fibers;
pub use clock::VirtualClock;
pub use cost::{CostProfile, ParkedBytes, ProfileError, Segments, SignCosts};
pub use plan::{ConnectionPlan, SeedPlan};
pub use trials::Trials;

pub(crate) use plan::MOST_WORKERS;

pub(crate) use row::{Recording, run as run_row};
pub(crate) use seed::run as run_seed;
