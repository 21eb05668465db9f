//! `lab serve` as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bounded::LIMIT;
use crate::{Identity, lab_binary};

/// A running server; killed when dropped, unless it was stopped before.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Server {
    /// Starts `lab serve` with these arguments on a free port, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If the server does not say `listening on ADDRESS` as its first line.
    pub fn start(identity: &Identity, args: &[&str]) -> Self {
        let mut command = Command::new(lab_binary());
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.arg("--cert").arg(identity.cert()).arg("--key").arg(identity.key()).args(args);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the lab can be started");
        let stdout = lines(child.stdout.take().expect("stdout is piped"));
        let stderr = lines(child.stderr.take().expect("stderr is piped"));
        let mut server = Self { child, address: ([127, 0, 0, 1], 0).into(), stdout, stderr };
        let line = server.stdout.recv_timeout(LIMIT).expect("the server says where it listens");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.parse().ok());
        server.address = address.unwrap_or_else(|| panic!("not an address: {line}"));
        server
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Interrupts the server as Ctrl-C does; it drains, ends, and this returns its counters.
    ///
    /// # Panics
    ///
    /// If the server does not end within [`LIMIT`] with status 0 and its counters as last line.
    pub fn stop(mut self) -> Value {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("the server still runs");
        let mut last = String::new();
        loop {
            match self.stdout.recv_timeout(LIMIT) {
                Ok(line) => last = line,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server does not drain"),
            }
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
            self.stderr.iter().for_each(|line| eprintln!("server: {line}"));
        }
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
