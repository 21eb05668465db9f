//! Where results are written.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    diff::Comparison,
    page::{Origin, comparison, report},
    results::{Results, SCHEMA},
    trace::trace,
};
use crate::recording::RowTimeline;

/// Where the files of a run go.
#[derive(Debug)]
pub struct ReportDir(PathBuf);

impl ReportDir {
    /// Makes the directory given, or `target/layby/SCENARIO/` when none is. Done before a run, so that nobody waits for
    /// results that cannot be written.
    ///
    /// # Errors
    /// What the file system says, with the path and the remedy in the text.
    pub fn create(given: Option<&Path>, scenario: &str) -> io::Result<Self> {
        let directory = given
            .map_or_else(|| Path::new("target").join("layby").join(scenario), Path::to_path_buf);
        std::fs::create_dir_all(&directory).map_err(|error| with_path(&directory, &error))?;
        Ok(Self(directory))
    }

    /// Writes every file of a run, and says where the page is.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn write(&self, results: &Results, origin: &Origin<'_>) -> io::Result<PathBuf> {
        let timeline =
            Timeline { schema: TIMELINE_SCHEMA.to_owned(), rows: results.timelines.clone() };
        self.put("results.json", &json(results)?)?;
        self.put("timeline.json", &json(&timeline)?)?;
        self.put("trace.json", &format!("{}\n", trace(results)))?;
        self.put("report.html", &report(results, origin))
    }

    /// Writes `diff.html` and says where.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn write_diff(&self, diff: &Comparison, before: &Run, after: &Run) -> io::Result<PathBuf> {
        self.put("diff.html", &comparison(diff, before, after))
    }

    /// Writes a file of this name and says where.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn put(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let file = self.0.join(name);
        std::fs::write(&file, text).map_err(|error| with_path(&file, &error))?;
        Ok(file)
    }
}

/// A run as its files tell of it.
#[derive(Debug)]
pub struct Run {
    /// Where it was read from.
    pub path: String,
    /// `results.json`.
    pub results: Results,
    /// The rows of `timeline.json`, if that is there.
    pub timelines: Vec<RowTimeline>,
}

impl Run {
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
        // Pictures only: without them the numbers still compare.
        let timeline = std::fs::read_to_string(file.with_file_name("timeline.json")).ok();
        let timeline = timeline.and_then(|text| serde_json::from_str::<Timeline>(&text).ok());
        let timelines = timeline.map_or_else(Vec::new, |timeline| timeline.rows);
        Ok(Self { path: path.display().to_string(), results, timelines })
    }
}

/// The document `timeline.json`: what each row was like over time. Its shape is a promise like that of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// [`TIMELINE_SCHEMA`].
    pub schema: String,
    /// One entry a row, in order.
    pub rows: Vec<RowTimeline>,
}

/// Names the shape of `timeline.json`.
pub const TIMELINE_SCHEMA: &str = "layby.timeline/1";

fn json(document: &impl Serialize) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(document).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    let text =
        format!("--report {}: {error}; give a directory that can be written", path.display());
    io::Error::new(error.kind(), text)
}
