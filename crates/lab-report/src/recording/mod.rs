//! What a run was like while it ran: series over time in bounded memory, and the stories of its first handshakes.
//!
//! ```text
//!   clients          -- each handshake --->  Outcomes  --+
//!                                                        +-- align, divide by the time -->  RowTimeline (plain data)
//!   engine + device  -- now and then ----->  Readings  --+
//!
//!   virtual time only: what happened to whom, of the first handshakes  -->  Story  -->  trace.json
//! ```
//!
//! All of it is pure: it is told the time, and does the same under both clocks. A series has at most [`BINS`] bins; when
//! the time outgrows them, neighbours are merged and every bin is twice as wide. So nobody has to know beforehand how
//! long a run takes, and a run of an hour needs no more memory than one of a second.

mod outcomes;
mod readings;
mod story;
mod timeline;

mod row;

pub use outcomes::{OutcomeBin, Outcomes};
pub use readings::{Reading, ReadingBin, Readings};
pub use row::{Quantile, RowTimeline};
pub use story::{Ending, Entry, Handshake, Story, Strike};
pub use timeline::{BINS, Bin, Timeline};

#[cfg(test)]
mod tests;
