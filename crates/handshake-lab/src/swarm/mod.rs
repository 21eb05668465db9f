//! The swarm: random load, topology, faults, hang-ups and cancels from a seed, every law checked, every seed run twice.
//!
//! A seed has at least 50 handshakes, two devices and two rules for faults. Handshakes run in outline, each hundredth
//! seed with real TLS. What fails is replayed by its seed.

mod in_order;
mod line;
mod plan;
mod report;
mod run;
mod shrink;

pub use line::SeedLine;
pub use plan::SeedPlan;
pub use report::{Failure, SwarmReport};
pub use run::{Swarm, SwarmError};
pub use shrink::Shrunk;
