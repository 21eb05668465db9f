//! Recordings of a run: series over time in bounded memory, and a trace of its first handshakes.
//!
//! ```text
//!   clients          -- each handshake --->  Outcomes  --+
//!                                                        +-- align, divide by the time -->  RowTimeline (plain data)
//!   engine + device  -- now and then ----->  Readings  --+
//!
//!   virtual time only: the first handshakes, event by event  -->  HandshakeTrace  -->  trace.json
//! ```
//!
//! Time is an argument everywhere, so the same code records under both clocks. A series has at most [`BINS`] bins; when
//! the time outgrows them, neighbours are merged and every bin becomes twice as wide. So the duration of a run need not be
//! known beforehand, and a run of an hour needs no more memory than one of a second.

mod durations;
mod handshake_trace;
mod outcomes;
mod readings;
mod timeline;

mod row;

pub use durations::DurationHistogram;
pub use handshake_trace::{Entry, Handshake, HandshakeEnd, HandshakeTrace, Strike};
pub use outcomes::{OutcomeBin, Outcomes};
pub use readings::{Reading, ReadingBin, Readings};
pub use row::{Quantile, RowTimeline};
pub use timeline::{BINS, Bin, Timeline};

#[cfg(test)]
mod tests;
