//! Bad input is answered with one line that names the field, the value and the remedy, and status 2.

use std::path::Path;
use std::process::Command;

use layby_tests::{Identity, KeyType, Run, lab, run};

/// What the lab says to each command line, after `error: `.
///
/// `P256` and `RSA` stand for a directory with an identity, `MISSING` for one that does not exist.
const LAB: &[(&str, &str)] =
    &[("sim offlod-modes", r#"unknown scenario "offlod-modes"; did you mean "offload-modes"?"#)];

/// What xtask says, without building the lab.
const XTASK: &[(&str, &str)] = &[
    (
        "sim offlod-modes",
        r#"unknown scenario "offlod-modes"; did you mean "offload-modes"? (cargo xtask sim --list shows all)"#,
    ),
    ("sim zzz", r#"unknown scenario "zzz" (cargo xtask sim --list shows all)"#),
    (
        "sim nowhere.toml",
        "scenario file nowhere.toml: No such file or directory (os error 2); give a readable TOML file",
    ),
    (
        "sim --sed 1",
        "unexpected argument '--sed' found; tip: a similar argument exists: '--seed' (see --help)",
    ),
    (
        "simulate",
        "unrecognized subcommand 'simulate'; tip: a similar subcommand exists: 'sim' (see --help)",
    ),
    ("ci clipy", r#"unknown step "clipy" (cargo xtask ci --list shows all)"#),
];

/// Why an answer is not what the table promises.
fn complaint(line: &str, expected: &str, answer: &Run) -> Option<String> {
    let promised = format!("error: {expected}\n");
    let kept =
        answer.status.code() == Some(2) && answer.stdout.is_empty() && answer.stderr == promised;
    (!kept).then(|| {
        let Run { status, stdout, stderr } = answer;
        format!("{line}\n  expected  {promised}  found     {stderr}  {status}, stdout {stdout:?}")
    })
}

#[test]
fn the_lab_answers_bad_input_in_one_line_with_status_2() {
    let complaints: Vec<String> = LAB
        .iter()
        .filter_map(|(line, expected)| {
            let args: Vec<&str> = line.split_whitespace().collect();
            complaint(line, expected, &lab(&args))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn xtask_answers_bad_input_in_one_line_with_status_2() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let complaints: Vec<String> = XTASK
        .iter()
        .filter_map(|(line, expected)| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["xtask"]).args(line.split_whitespace()).current_dir(root);
            complaint(line, expected, &run(&mut cargo, b""))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
