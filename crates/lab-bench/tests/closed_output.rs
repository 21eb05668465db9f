//! A closed output pipe, as in `lab-bench --list | head -1`, makes the program neither panic nor fail.

use std::{io, process::Command};

#[test]
fn text_for_a_closed_pipe_is_dropped() {
    for arguments in [&["--help"][..], &["--list"], &["--child", "corosensei", "4"]] {
        let (_, closed) = io::pipe().expect("a pipe");
        let mut bench = Command::new(env!("CARGO_BIN_EXE_lab-bench"));
        let status = bench.args(arguments).stdout(closed).status().expect("it runs to its end");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}
