//! Where results are written.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::results::Results;

/// Writes `results.json` into `directory`, or into `target/layby/SCENARIO/` when none is given, and says where.
///
/// # Errors
/// What the file system says, with the path in the text.
pub fn write_results(results: &Results, directory: Option<&Path>) -> io::Result<PathBuf> {
    let directory = directory.map_or_else(
        || Path::new("target").join("layby").join(&results.scenario),
        Path::to_path_buf,
    );
    let with_path = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("--report {path}: {error}; give a directory that can be written"),
            )
        }
    };
    std::fs::create_dir_all(&directory).map_err(with_path(&directory))?;
    let file = directory.join("results.json");
    let mut text = serde_json::to_string_pretty(results).map_err(io::Error::other)?;
    text.push('\n');
    std::fs::write(&file, text).map_err(with_path(&file))?;
    Ok(file)
}
