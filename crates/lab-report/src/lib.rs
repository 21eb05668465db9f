//! Reports of the laboratory: `results.json`, `timeline.json`, `trace.json`, `report.html`, the table of a run, its verdict,
//! and the comparison of two runs.
//!
//! ```text
//!   while a row runs     recording::{Outcomes, Readings, HandshakeTrace}      series in bounded memory
//!   when it has ended    RowReport, RowTimeline                      plain data
//!   of all rows          Results --> table, page, trace, verdict     ReportDir writes the files
//!   of two runs          Comparison --> text, diff.html
//! ```
//!
//! The crate knows nothing of the laboratory that it reports on: the caller fills in the plain data.

#![forbid(unsafe_code)]

mod breakdown;
mod devices;
mod diff;
mod doubts;
mod files;
mod kinds;
mod knee;
mod latency;
mod laws;
mod machine;
mod origin;
mod page;
mod previous_run;
mod progress;
pub mod recording;
mod results;
mod table;
mod trace;
mod verdict;

pub use devices::DeviceRow;
pub use diff::{Change, Comparison, Difference};
pub use doubts::doubts;
pub use files::ReportDir;
pub use kinds::KindReport;
pub use latency::LatencyMs;
pub use laws::law_title;
pub use machine::Machine;
pub use origin::Origin;
pub use page::{comparison, report};
pub use previous_run::{PreviousRun, TIMELINE_SCHEMA, TimelineFile};
pub use progress::Progress;
pub use results::{Knee, LawReport, Ledger, LedgerLevel, Results, RowReport, SCHEMA};
pub use table::{laws_line, ledger_line, notes, table};
pub use trace::trace;
pub use verdict::{Verdict, verdict};

#[cfg(test)]
mod tests;
