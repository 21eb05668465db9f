//! What a run says afterwards: `results.json`, `timeline.json`, `trace.json`, `report.html`, a table, a sentence of verdict and the next
//! command to try.

mod breakdown;
mod devices;
mod diff;
mod files;
mod kinds;
mod knee;
mod latency;
mod machine;
mod page;
mod past;
mod progress;
pub mod recording;
mod results;
mod table;
mod trace;
mod verdict;

pub use devices::DeviceRow;
pub use diff::{Change, Comparison, Difference};
pub use files::ReportDir;
pub use kinds::KindReport;
pub use knee::knee;
pub use latency::LatencyMs;
pub use machine::Machine;
pub use page::{Origin, comparison, report};
pub use past::{Run, TIMELINE_SCHEMA, Timeline};
pub use progress::Progress;
pub use results::{LawReport, Ledger, Level, Results, RowReport, SCHEMA};
pub use table::table;
pub use table::{laws_line, ledger_line};
pub use trace::trace;
pub use verdict::{Verdict, verdict};

#[cfg(test)]
mod tests;
