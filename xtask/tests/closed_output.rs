//! A closed output pipe, as in `cargo xtask sim --list | head -1`, makes no command panic, and does not change its status.

use std::{
    io,
    process::{Command, Stdio},
};

#[test]
fn text_for_a_closed_pipe_is_dropped() {
    for line in [
        "--help",
        "sim --list",
        "sim --help",
        "sim swarm --help",
        "serve --help",
        "lab",
        "bench --help",
        "bench --rivals --help",
        "ci --help",
        "ci --list",
    ] {
        let (_, closed) = io::pipe().expect("a pipe");
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .stdout(closed)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs")
            .wait_with_output()
            .expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{line}");
    }
}

#[test]
fn a_closed_standard_error_fails_no_step() {
    let (_, closed) = io::pipe().expect("a pipe");
    let status = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["ci", "tidy"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(closed)
        .status();
    assert_eq!(status.expect("it ends").code(), Some(0));
}
