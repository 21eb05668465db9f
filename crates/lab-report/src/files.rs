//! Where results are written.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    diff::Comparison,
    page::{Origin, comparison, report},
    past::{Run, TIMELINE_SCHEMA, Timeline},
    results::Results,
    trace::trace,
};

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
