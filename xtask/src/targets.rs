//! The step `targets` of the gate: tls-replay compiles for other systems.
//!
//! A target that rustup has not installed is skipped, unless `LAYBY_REQUIRE` names it.

use std::process::Command;

use crate::lab;
use crate::tools::missing;
use crate::workspace::Workspace;

/// Each with the flags for what is there: an engine needs Unix.
const TARGETS: [(&str, &[&str]); 4] = [
    ("x86_64-unknown-linux-musl", &[]),
    ("aarch64-apple-darwin", &[]),
    ("x86_64-pc-windows-gnu", &["--no-default-features"]),
    ("x86_64-pc-windows-msvc", &["--no-default-features"]),
];

/// The targets for which it does not compile.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let installed = installed.map(|output| output.stdout).unwrap_or_default();
    let installed = String::from_utf8_lossy(&installed);
    let compiles = |target: &str, flags: &[&str]| {
        let mut cargo = lab::cargo();
        cargo.args(["check", "--package", "layby-tls-replay", "--target-dir", "target/targets"]);
        cargo.args(["--target", target]).args(flags).current_dir(&workspace.root);
        cargo.status().is_ok_and(|status| status.success())
    };
    let findings = TARGETS.iter().filter_map(|(target, flags)| {
        if !installed.lines().any(|line| line == *target) {
            return missing(target, &format!("rustup target add {target}"));
        }
        (!compiles(target, flags)).then(|| format!("tls-replay does not compile for {target}"))
    });
    findings.collect()
}
