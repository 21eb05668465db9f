//! The kit as another project uses it: a crate outside the workspace, with its own cargo run.
#![cfg(all(feature = "proptest", not(loom)))]

use std::path::Path;
use std::process::Command;

#[test]
fn a_crate_outside_the_workspace_tests_its_engine_and_finds_five_planted_bugs() {
    let manifest =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outside/engine-kit/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--locked", "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-kit"))
        .env("INSTA_UPDATE", "no")
        .output()
        .expect("cargo runs");
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(text.contains("6 passed"), "{text}");
}

/// The document quotes the tested engine and a failure, and the engine is short.
#[test]
fn the_document_shows_the_engine_that_passes() {
    let engine = include_str!("../../../tests/outside/engine-kit/src/lib.rs");
    let document = include_str!("../../../docs/test-your-engine.md");
    assert!(document.contains(engine), "docs/test-your-engine.md must quote {engine}");
    let implementation: Vec<_> = engine
        .lines()
        .skip_while(|line| !line.starts_with("impl TestedEngine for"))
        .take_while(|line| *line != "}")
        .collect();
    assert!(implementation.len() <= 60, "{} lines", implementation.len());
    let snapshot = include_str!(
        "../../../tests/outside/engine-kit/tests/snapshots/\
         kit__a_late_completion_that_hits_the_next_request_is_found.snap"
    );
    let failure = snapshot.rsplit("---\n").next().expect("text after the header").trim_end();
    assert!(document.contains(failure), "docs/test-your-engine.md must quote\n{failure}");
}
