//! The swarm: random load, topology, faults, hang-ups and cancels from a seed, every law checked, every seed run twice.
//!
//! A seed has at least 50 handshakes, two devices and two fault rules. Handshakes are profiled; each hundredth seed runs
//! real TLS. A seed that breaks a law is run again by its number, and shrunk to the part of its plan that matters.

mod in_order;
mod line;
mod report;
mod run;
mod shrink;
mod subset;

pub use crate::stepped::SeedPlan;
pub use line::SeedLine;
pub use report::{Failure, SwarmReport};
pub use run::{Swarm, SwarmError};
pub use shrink::Shrunk;
pub use subset::{SeedFile, SeedFileError, SeedSubset};
