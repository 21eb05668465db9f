//! `lab serve` as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::process::{Pid, kill_process};
use serde_json::Value;

pub use rustix::process::Signal;

use crate::bounded::LIMIT;
use crate::{Identity, lab_binary};

/// A running server; killed when dropped, unless it was stopped before.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    stdout: Receiver<String>,
    /// `None` if it is not read.
    stderr: Option<Receiver<String>>,
}

impl Server {
    /// Starts `lab serve` with these arguments on a free port, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If the server does not say `listening on ADDRESS` as its first line.
    pub fn start(identity: &Identity, args: &[&str]) -> Self {
        let mut server = Self::start_unread(identity, args, "warn");
        server.stderr = server.child.stderr.take().map(lines);
        server
    }

    /// As [`start`](Self::start), but its standard error is not read. Events are written to it as `log` says (in the language of `RUST_LOG`).
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_unread(identity: &Identity, args: &[&str], log: &str) -> Self {
        let mut command = Command::new(lab_binary());
        command.env("RUST_LOG", log);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.arg("--cert").arg(identity.cert()).arg("--key").arg(identity.key()).args(args);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the lab can be started");
        let stdout = lines(child.stdout.take().expect("stdout is piped"));
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = Self { child, address, stdout, stderr: None };
        let line = server.stdout.recv_timeout(LIMIT).expect("the server says where it listens");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.parse().ok());
        server.address = address.unwrap_or_else(|| panic!("not an address: {line}"));
        server
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends the server a signal.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server still runs");
    }

    /// Waits until the server has said something with these words on its standard error.
    ///
    /// # Panics
    ///
    /// If it does not within [`LIMIT`].
    pub fn wait_until_it_says(&self, words: &str) {
        let stderr = self.stderr.as_ref().expect("its standard error is read");
        while !stderr.recv_timeout(LIMIT).expect("the server says it").contains(words) {}
    }

    /// Waits for the end of a server that was sent a signal.
    ///
    /// # Panics
    ///
    /// If it does not end within [`LIMIT`].
    pub fn wait(mut self) -> ExitStatus {
        while let Some(line) = next(&self.stdout) {
            drop(line);
        }
        self.child.wait().expect("the server has ended")
    }

    /// Interrupts the server as Ctrl-C does; it drains, ends, and this returns its counters.
    ///
    /// # Panics
    ///
    /// If the server does not end within [`LIMIT`] with status 0 and its counters as last line.
    pub fn stop(self) -> Value {
        self.stop_by(Signal::INT)
    }

    /// As [`stop`](Self::stop), by another signal.
    ///
    /// # Panics
    ///
    /// As [`stop`](Self::stop).
    pub fn stop_by(mut self, signal: Signal) -> Value {
        self.signal(signal);
        let mut last = String::new();
        while let Some(line) = next(&self.stdout) {
            last = line;
        }
        let status = self.child.wait().expect("the server has ended");
        assert!(status.success(), "the server ended with {status}, its last line: {last}");
        serde_json::from_str(&last).unwrap_or_else(|e| panic!("not counters: {last}: {e}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for line in self.stderr.iter().flatten() {
                eprintln!("server: {line}");
            }
        }
    }
}

/// The next line of a server that is about to end; `None` at the end.
fn next(stdout: &Receiver<String>) -> Option<String> {
    match stdout.recv_timeout(LIMIT) {
        Ok(line) => Some(line),
        Err(mpsc::RecvTimeoutError::Disconnected) => None,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server does not end"),
    }
}

/// The lines of a stream as they come, until its end.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
