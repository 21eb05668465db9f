//! The soak: very many real handshakes under random faults, and what the process holds before and after.
//!
//! ```text
//!   seed --> a plan for each round: clients, wakes, device, terms, faults
//!               |
//!               v
//!   warm-up rounds   -->  footprint  -->  the rounds that count  -->  footprint
//!                         descriptors, threads, resident memory: the same but for a stated slack of memory
//! ```
//!
//! Every round has threads, sockets and the clock of this machine, and everything of it fresh: server, device, engine.
//! Whatever a handshake, a fault or a round left behind would pile up.

mod footprint;
mod plan;
mod report;
mod run;

pub use footprint::Footprint;
pub use report::{ResourceChange, SoakReport};
pub use run::{SoakError, run};
