//! Where results are written.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::results::Results;

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

    /// Writes `results.json` and says where.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn write(&self, results: &Results) -> io::Result<PathBuf> {
        let file = self.0.join("results.json");
        let mut text = serde_json::to_string_pretty(results).map_err(io::Error::other)?;
        text.push('\n');
        std::fs::write(&file, text).map_err(|error| with_path(&file, &error))?;
        Ok(file)
    }
}

fn with_path(path: &Path, error: &io::Error) -> io::Error {
    let text =
        format!("--report {}: {error}; give a directory that can be written", path.display());
    io::Error::new(error.kind(), text)
}
