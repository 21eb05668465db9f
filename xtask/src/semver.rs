//! The step `semver` of the gate: what is public does not break users of the last release.

use std::process::Command;

use crate::lab;
use crate::output::eprint_line;
use crate::tools::{has_subcommand, missing};
use crate::workspace::Workspace;

const TOOL: &str = "cargo-semver-checks";

/// The published packages that break what the last tag of a release promised.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let Some(tag) = last_release(workspace) else {
        eprint_line("skipped: there is no tag v* to compare with");
        return Vec::new();
    };
    if !has_subcommand("semver-checks") {
        let remedy = format!("cargo install --locked {TOOL}");
        return missing(TOOL, &remedy).into_iter().collect();
    }
    let breaks = |package: &str| {
        let mut cargo = lab::cargo();
        cargo.args(["semver-checks", "--package", package, "--baseline-rev", &tag]);
        !cargo.current_dir(&workspace.root).status().is_ok_and(|status| status.success())
    };
    let broken = workspace.publishable().filter(|member| breaks(&member.name));
    broken.map(|member| format!("{} is not compatible with {tag}", member.name)).collect()
}

/// The newest tag `v*` that the checkout descends from.
fn last_release(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--tags", "--abbrev=0", "--match", "v*"]).current_dir(&workspace.root);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
