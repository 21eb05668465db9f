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
// `output` instead: these macros panic when their pipe is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bench_machine;
mod breakdown;
mod diff;
mod doubts;
mod files;
mod laws;
mod machine;
pub mod output;
mod page;
mod previous_run;
mod progress;
pub mod recording;
mod results;
mod table;
mod text_table;
mod trace;
mod verdict;

pub use bench_machine::{BenchMachine, Taken, Ticks};
pub use diff::{Change, Comparison, Difference};
pub use doubts::doubts;
pub use files::ReportDir;
pub use laws::law_title;
pub use machine::Machine;
pub use page::{comparison, html, report};
pub use previous_run::{PreviousRun, TIMELINE_SCHEMA, TimelineFile};
pub use progress::Progress;
pub use results::{
    DeviceRow, KindReport, Knee, LatencyMs, LawReport, Ledger, LedgerLevel, Results, RowReport,
    SCHEMA,
};
pub use table::{laws_line, ledger_line, notes, table};
pub use text_table::text_table;
pub use trace::trace;
pub use verdict::{Origin, Verdict, verdict};

#[cfg(test)]
mod tests;
