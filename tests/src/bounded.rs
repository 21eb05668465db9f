//! Programs that end, or are ended.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// How long anything may take before it counts as hanging. It is never the time that a test expects.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How a program ended, and all that it said.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end. Its standard input stays open until then, as some programs take the
/// end of their input for the end of the conversation.
///
/// # Panics
///
/// If the program cannot be started, or does not end within [`LIMIT`]; it is killed then.
pub fn run(command: &mut Command, input: &[u8]) -> Run {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    // A program that has already ended does not read; how it ended says more than this would.
    let _ = stdin.write_all(input);
    let texts = (stdout.recv_timeout(LIMIT), stderr.recv_timeout(LIMIT));
    let (Ok(stdout), Ok(stderr)) = texts else {
        let _ = child.kill();
        panic!("{program} has not ended within {LIMIT:?}");
    };
    drop(stdin);
    let status = child.wait().expect("the program has ended");
    Run { status, stdout, stderr }
}

/// Everything that a stream yields until its end, sent when it has ended.
fn collect(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        // The receiver no longer exists if the test has failed already; the text is not needed then.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
