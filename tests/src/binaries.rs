//! The binaries of the workspace, built in the profile of the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::bounded::{Run, run};

/// Builds the lab if needed and says where it is.
///
/// # Panics
///
/// If the lab does not build.
pub fn lab_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("lab"))
}

/// Builds the commands of the repository if needed and says where they are.
///
/// # Panics
///
/// If they do not build.
pub fn xtask_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("xtask"))
}

/// Runs `lab ARGS...` in a directory to its end, without input.
///
/// # Panics
///
/// As [`run`], and if the lab does not build.
pub fn lab(dir: &Path, args: &[&str]) -> Run {
    run(
        Command::new(lab_binary())
            .args(args)
            .current_dir(dir)
            .env_remove("RUST_LOG")
            .env_remove("COLUMNS"),
        b"",
    )
}

fn build(name: &str) -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With a test of the whole workspace, so that what lies below has the features that it has for the tests, and is there.
    cargo.args(["build", "--workspace", "--bin", name, "--test", "layers"]);
    cargo.args(["--message-format", "json"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if ["CI", "LAYBY_LOCKED"].iter().any(|name| env::var_os(name).is_some()) {
        cargo.arg("--locked");
    }
    // Not `run`: a build may take longer than anything else here, and cargo is not ours to bound.
    let output = cargo.output().expect("cargo can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} does not build:\n{stderr}");
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable that it has built")
}
