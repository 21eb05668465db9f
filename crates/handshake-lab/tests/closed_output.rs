//! A closed output pipe, as in `lab sim --list | head -1`, makes no command panic, and changes neither its files nor its status.

use std::{
    io::{self, PipeWriter},
    path::Path,
    process::{Command, Output, Stdio},
};

/// The writing end of a pipe whose reading end is closed.
fn closed() -> PipeWriter {
    let (_, writer) = io::pipe().expect("a pipe");
    writer
}

fn lab(arguments: &[&str], directory: &Path) -> Command {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(arguments).current_dir(directory).env_remove("RUST_LOG").stdin(Stdio::null());
    lab
}

/// Runs a command to its end with a closed pipe as its standard output.
fn with_closed_stdout(arguments: &[&str], directory: &Path) -> Output {
    let mut lab = lab(arguments, directory);
    let child = lab.stdout(closed()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    child.wait_with_output().expect("it ends")
}

#[track_caller]
fn ends_with(status: i32, output: &Output, arguments: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
}

/// Each file of a run is there and whole.
#[track_caller]
fn files_are_whole(directory: &Path) {
    let text = |name: &str| std::fs::read_to_string(directory.join(name)).expect(name);
    for name in ["results.json", "timeline.json", "trace.json"] {
        let document: Result<serde_json::Value, _> = serde_json::from_str(&text(name));
        assert!(document.is_ok(), "{name}: {document:?}");
    }
    assert!(text("report.html").trim_end().ends_with("</html>"));
}

#[test]
fn text_for_a_closed_pipe_is_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["sim", "--list"],
        &["sim", "--help"],
        &["sim", "--print"],
        &["schema"],
        &["schema", "--page"],
        &["completions", "bash"],
        &["calibrate", "--handshakes", "5"],
        &["sim", "swarm", "--seeds", "3"],
        &["soak", "--handshakes", "20"],
    ] {
        ends_with(0, &with_closed_stdout(arguments, directory.path()), arguments);
    }
}

#[test]
fn status_and_files_of_a_run_do_not_depend_on_a_reader() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = ["sim", "ring-full", "--report", "run"];
    for json in [&[][..], &["--json"]] {
        let run = [&run[..], json].concat();
        ends_with(0, &with_closed_stdout(&run, directory.path()), &run);
        files_are_whole(&directory.path().join("run"));
        let bad = [&run[..], &["--set", "expect.least_ring_full=1000000"]].concat();
        ends_with(1, &with_closed_stdout(&bad, directory.path()), &bad);
    }
    let diff = ["diff", "run", "run"];
    ends_with(0, &with_closed_stdout(&diff, directory.path()), &diff);
}

#[test]
fn a_run_continues_with_a_closed_standard_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = ["sim", "ring-full", "--report", "run"];
    let mut lab = lab(&run, directory.path());
    // So that there are events, which go there too.
    lab.env("RUST_LOG", "trace").stdout(closed()).stderr(closed());
    assert_eq!(lab.status().expect("it ends").code(), Some(0));
    files_are_whole(&directory.path().join("run"));
    let refused = Command::new(env!("CARGO_BIN_EXE_lab")).stderr(closed()).status();
    assert_eq!(refused.expect("it ends").code(), Some(2));
}

#[test]
fn a_closed_pipe_stops_a_swarm_that_prints_a_line_for_each_seed() {
    let directory = tempfile::tempdir().expect("a directory");
    // Longer than any test waits.
    let swarm = ["sim", "swarm", "--json-lines", "--seeds", "100000000"];
    ends_with(130, &with_closed_stdout(&swarm, directory.path()), &swarm);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has one");
    let output = lab(&["sim", "--list"], directory.path())
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "error: standard output: No space left on device (os error 28)\n");
    assert_eq!(output.status.code(), Some(2));
}
