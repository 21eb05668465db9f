//! The step `fuzz` of the gate: libFuzzer on the bytes of a session's peer, for as long as the gate has patience.
//!
//! It takes a nightly compiler and cargo-fuzz. Where they are missing the step is skipped, unless `LAYBY_REQUIRE` names
//! `cargo-fuzz`. The property tests of `ssl-async` and `tls-replay` run the same functions with fewer inputs on any
//! compiler.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::tools::missing;
use crate::workspace::Workspace;

/// Each target with its seeds and the seconds of fuzzing.
const TARGETS: [(&str, &str, u32); 2] = [
    ("peer_bytes", "crates/ssl-async/tests/it/peer_bytes/seeds", 240),
    ("hello_bytes", "crates/tls-replay/tests/it/hello_bytes/seeds", 60),
];

/// What was found.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    if !is_installed() {
        let remedy = "rustup toolchain install nightly; cargo install cargo-fuzz";
        return missing("cargo-fuzz", remedy).into_iter().collect();
    }
    TARGETS
        .iter()
        .flat_map(|(target, seeds, seconds)| run(workspace, target, seeds, *seconds))
        .collect()
}

/// What one target found.
fn run(workspace: &Workspace, target: &str, seeds: &str, seconds: u32) -> Vec<String> {
    let out = workspace.target_dir().join("fuzz");
    let (corpus, artifacts) = (out.join("corpus").join(target), out.join("artifacts"));
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
        .arg(target)
        .args([corpus.as_path(), Path::new(seeds)])
        .args(["--", "-timeout=20", "-max_len=4096", "-print_final_stats=1"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .current_dir(&workspace.root);
    if fuzz.status().is_ok_and(|status| status.success()) {
        return Vec::new();
    }
    vec![format!("{target}: a finding; its input is in {}", artifacts.display())]
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
