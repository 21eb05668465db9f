//! Records the commit that the laboratory is built from, for its reports.
//!
//! It runs again with every change of a source that the laboratory is built from, so that the word `dirty` is as new as the
//! program; and of an optimised program, whose results are kept, with every commit.

use std::{env, fs, path::PathBuf, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../sim-device/src");
    let crates = fs::read_dir("..").into_iter().flatten().flatten().map(|entry| entry.path());
    // The benches are built on the laboratory.
    for sources in crates.filter(|dir| !dir.ends_with("lab-bench")).map(|dir| dir.join("src")) {
        println!("cargo:rerun-if-changed={}", sources.display());
    }
    let log =
        git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| PathBuf::from(log).exists());
    if let (Some(log), Ok("release")) = (log, env::var("PROFILE").as_deref()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = git(&["describe", "--always", "--dirty", "--abbrev=12"]);
    if let Some(commit) = &commit {
        println!("cargo:rustc-env=LAYBY_COMMIT={commit}");
    }
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo:rustc-env=LAYBY_VERSION={}{commit}", env!("CARGO_PKG_VERSION"));
}

/// What git prints; nothing without git or outside a checkout.
fn git(args: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(args).current_dir(env::var_os("CARGO_MANIFEST_DIR")?).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
