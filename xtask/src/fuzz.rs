//! The step `fuzz` of the gate: libFuzzer on the bytes of a session's peer, for as long as the gate has patience.
//!
//! It takes a nightly compiler and cargo-fuzz. Where they are missing the step is skipped, unless `LAYBY_REQUIRE` names
//! `cargo-fuzz`. The property tests of `ssl-async` run the same function with fewer inputs on any compiler.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::tools::missing;
use crate::workspace::Workspace;

const TARGET: &str = "peer_bytes";
const SEEDS: &str = "crates/ssl-async/tests/it/peer_bytes/seeds";

/// Seconds of fuzzing.
const PATIENCE: u32 = 300;

/// What was found.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    if !is_installed() {
        let remedy = "rustup toolchain install nightly; cargo install cargo-fuzz";
        return missing("cargo-fuzz", remedy).into_iter().collect();
    }
    let out = workspace.target_dir().join("fuzz");
    let (corpus, artifacts) = (out.join("corpus"), out.join("artifacts"));
    for directory in [&corpus, &artifacts] {
        if let Err(e) = fs::create_dir_all(directory) {
            return vec![format!("cannot create {}: {e}", directory.display())];
        }
    }
    let mut fuzz = cargo_fuzz();
    // Without sanitizers: they do not know that a fiber has a stack of its own.
    fuzz.args(["run", "--release", "--sanitizer", "none", "--fuzz-dir", "tests/fuzz"])
        .arg("--target-dir")
        .arg(&out)
        .arg(TARGET)
        .args([corpus.as_path(), Path::new(SEEDS)])
        .args(["--", "-timeout=20", "-max_len=4096", "-print_final_stats=1"])
        .arg(format!("-max_total_time={PATIENCE}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .current_dir(&workspace.root);
    if fuzz.status().is_ok_and(|status| status.success()) {
        return Vec::new();
    }
    vec![format!("{TARGET}: a finding; its input is in {}", artifacts.display())]
}

fn is_installed() -> bool {
    let mut version = cargo_fuzz();
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// Of the nightly compiler, whichever compiler runs this.
fn cargo_fuzz() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).env_remove("CARGO");
    command
}
