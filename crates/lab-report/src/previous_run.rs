//! Reads the files of an earlier run.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use super::results::{Results, SCHEMA};
use crate::recording::RowTimeline;

/// An earlier run, read from its files.
#[derive(Debug)]
pub struct PreviousRun {
    /// Where it was read from.
    pub path: String,
    pub results: Results,
    /// The rows of `timeline.json`, if that is there.
    pub timelines: Vec<RowTimeline>,
}

impl PreviousRun {
    /// Reads a run from its directory, or from its `results.json`.
    ///
    /// # Errors
    /// What the file system or the parser says, with the path and the remedy in the text.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = if path.is_dir() { path.join("results.json") } else { path.to_path_buf() };
        let bad = |reason: &dyn std::fmt::Display| {
            let text = format!(
                "{}: {reason}; give the directory that a run has written (sim --report DIR)",
                file.display()
            );
            io::Error::other(text)
        };
        let text = std::fs::read_to_string(&file).map_err(|error| bad(&error))?;
        let results: Results = serde_json::from_str(&text).map_err(|error| bad(&error))?;
        if results.schema != SCHEMA {
            return Err(bad(&format!("the schema is {:?}, not {SCHEMA:?}", results.schema)));
        }
        // Without the series there are no plots, and the numbers still compare.
        let timeline = std::fs::read_to_string(file.with_file_name("timeline.json")).ok();
        let timeline = timeline.and_then(|text| serde_json::from_str::<TimelineFile>(&text).ok());
        let timelines = timeline.map_or_else(Vec::new, |timeline| timeline.rows);
        Ok(Self { path: path.display().to_string(), results, timelines })
    }
}

/// The document `timeline.json`: the series of each row over time. Its shape is a promise like that of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineFile {
    pub schema: String,
    /// One entry a row, in order.
    pub rows: Vec<RowTimeline>,
}

/// Names the shape of `timeline.json`.
pub const TIMELINE_SCHEMA: &str = "layby.timeline/1";
