//! Where results are written.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use time::OffsetDateTime;

use super::{
    diff::Comparison,
    page::{comparison, report},
    previous_run::{PreviousRun, TIMELINE_SCHEMA, TimelineFile},
    results::Results,
    trace::trace,
    verdict::{Origin, Verdict},
};

/// Where the files of a run go.
#[derive(Debug)]
pub struct ReportDir(PathBuf);

impl ReportDir {
    /// Makes the directory given, or `target/layby/NAME/` without one.
    ///
    /// # Errors
    /// What the file system says, with the path and the remedy in the text.
    pub fn create(given: Option<&Path>, name: &str) -> io::Result<Self> {
        Self::create_exactly(given.map_or_else(|| default_parent(name), Path::to_path_buf))
    }

    /// Makes the directory given, or `target/layby/SCENARIO/TIME/` without one, which `latest` beside it then links to.
    /// Called before the run, so that a directory that cannot be written fails at once.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn for_run(given: Option<&Path>, scenario: &str) -> io::Result<Self> {
        match given {
            Some(directory) => Self::create_exactly(directory.to_path_buf()),
            None => Self::by_time(&default_parent(scenario), OffsetDateTime::now_utc()),
        }
    }

    fn create_exactly(directory: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&directory).map_err(|error| with_path(&directory, &error))?;
        Ok(Self(directory))
    }

    /// Makes a directory named after `now` below `parent`, with a number behind it if that is taken.
    fn by_time(parent: &Path, now: OffsetDateTime) -> io::Result<Self> {
        std::fs::create_dir_all(parent).map_err(|error| with_path(parent, &error))?;
        let (date, (hour, minute, second)) = (now.date(), now.to_hms());
        let time = format!("{date}T{hour:02}-{minute:02}-{second:02}Z");
        let names = std::iter::once(time.clone()).chain((2..).map(|n| format!("{time}-{n}")));
        for name in names {
            let directory = parent.join(&name);
            match std::fs::create_dir(&directory) {
                Ok(()) => {
                    let latest = parent.join("latest");
                    // The link is a convenience: a run need not fail for want of it.
                    let _ = std::fs::remove_file(&latest);
                    let _ = std::os::unix::fs::symlink(&name, latest);
                    return Ok(Self(directory));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(with_path(&directory, &error)),
            }
        }
        unreachable!("the numbers do not end")
    }

    /// Writes every file of a run, and says where the page is.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn write(
        &self,
        results: &Results,
        verdict: &Verdict,
        origin: &Origin<'_>,
    ) -> io::Result<PathBuf> {
        let timeline =
            TimelineFile { schema: TIMELINE_SCHEMA.to_owned(), rows: results.timelines.clone() };
        self.put("results.json", &json(results)?)?;
        self.put("timeline.json", &json(&timeline)?)?;
        self.put("trace.json", &format!("{}\n", trace(results)))?;
        self.put("report.html", &report(results, verdict, origin))
    }

    /// Writes `diff.html` and says where.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn write_diff(
        &self,
        diff: &Comparison,
        before: &PreviousRun,
        after: &PreviousRun,
    ) -> io::Result<PathBuf> {
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

fn default_parent(name: &str) -> PathBuf {
    Path::new("target").join("layby").join(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_kept_by_time_and_the_newest_is_linked() {
        let parent = tempfile::tempdir().expect("a directory");
        let now = OffsetDateTime::from_unix_timestamp(1_795_992_826).expect("in range");
        let first = ReportDir::by_time(parent.path(), now).expect("made");
        let second = ReportDir::by_time(parent.path(), now).expect("made");
        assert_eq!(first.0, parent.path().join("2026-11-29T22-53-46Z"));
        assert_eq!(second.0, parent.path().join("2026-11-29T22-53-46Z-2"));
        let latest = std::fs::read_link(parent.path().join("latest")).expect("a link");
        assert_eq!(parent.path().join(latest), second.0);
    }
}
