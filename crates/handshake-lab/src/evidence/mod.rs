//! The counters of a row, kept by parties that share none of them, and the laws that hold them against each other.

mod answers;
mod calls;
mod device;
mod expect;
mod laws;
mod ledger;
mod replays;
mod row;
mod theory;
mod trace_summary;

pub use answers::Answers;
pub use calls::Calls;
pub use device::DeviceReport;
pub(crate) use expect::unmet_expectations;
pub use laws::Laws;
pub(crate) use ledger::engines;
pub use ledger::ledger;
pub use replays::Replays;
pub use row::{Harm, RowEvidence};
pub use trace_summary::TraceSummary;
