//! Clients over loopback: a fixed number at once on one thread, each of which comes again when its handshake is done.
//!
//! They are a process of their own, so that neither their descriptors nor their CPU time count for the server's:
//!
//! ```text
//!   turn                          PROGRAM --clients ORDER
//!    | a line for each question -->  answers with a line of JSON
//!    | closes the pipe          -->  ends
//! ```

use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use lab_report::output::print_line;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::client;
use crate::limits::raise_file_limit;
use crate::meter::{Count, Latencies, Meter};

/// What the process is told by its command line.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    server: SocketAddr,
    clients: usize,
    verifying: bool,
}

/// What the process is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Question {
    /// Latencies count from now on. The answer is a [`Count`].
    Begin,
    /// The answer is a [`Count`].
    Count,
    /// The answer is a [`Latencies`].
    Latencies,
}

/// The clients' process, as the turn sees it. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Clients {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Clients {
    /// Starts the process on the processors that the calling thread may use.
    ///
    /// # Errors
    ///
    /// The system's, if it has no process left.
    pub(crate) fn start(
        server: SocketAddr,
        clients: usize,
        verifying: bool,
    ) -> Result<Self, Problem> {
        let order = serde_json::to_string(&Order { server, clients, verifying })?;
        let mut process = Command::new(env::current_exe()?)
            .args(["--clients", &order])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Ok(Self { process, questions, answers })
    }

    /// The clients so far; their latencies count from now on.
    pub(crate) fn begin(&mut self) -> Result<Count, Problem> {
        self.ask(Question::Begin)
    }

    /// The clients so far.
    pub(crate) fn count(&mut self) -> Result<Count, Problem> {
        self.ask(Question::Count)
    }

    /// Their latencies since [`begin`](Self::begin).
    pub(crate) fn latencies(&mut self) -> Result<Latencies, Problem> {
        self.ask(Question::Latencies)
    }

    fn ask<T: DeserializeOwned>(&mut self, question: Question) -> Result<T, Problem> {
        let mut pipe = self.questions.as_ref().expect("it is closed by dropping alone");
        writeln!(pipe, "{}", serde_json::to_string(&question)?)?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err("the clients have ended".into());
        }
        let answer: Result<T, String> = serde_json::from_str(&answer)?;
        Ok(answer?)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        drop(self.questions.take());
        // It is on its way out.
        let _ = self.process.wait();
    }
}

/// The process: clients on one thread, answers on this one, until the turn has closed the pipe.
///
/// # Errors
///
/// An order or a question that cannot be read.
pub(crate) fn serve(order: &str) -> Result<(), Problem> {
    let Order { server, clients, verifying } = serde_json::from_str(order)?;
    raise_file_limit();
    let (config, meter) = (client::config(verifying), Arc::new(Meter::new()));
    let failure = Arc::new(OnceLock::new());
    let (counting, failed) = (Arc::clone(&meter), Arc::clone(&failure));
    thread::Builder::new().name("clients".to_owned()).spawn(move || {
        if let Err(error) = run(server, clients, &config, &counting) {
            failed.get_or_init(|| format!("the clients ended: {error}"));
        }
    })?;
    for question in io::stdin().lines() {
        let question = serde_json::from_str(&question?)?;
        let answer: Result<_, &String> = match (failure.get(), question) {
            (Some(why), _) => Err(why),
            (None, Question::Begin) => {
                meter.begin();
                Ok(serde_json::to_value(meter.count())?)
            }
            (None, Question::Count) => Ok(serde_json::to_value(meter.count())?),
            (None, Question::Latencies) => Ok(serde_json::to_value(meter.latencies())?),
        };
        print_line(serde_json::to_string(&answer)?)?;
    }
    Ok(())
}

fn run(
    server: SocketAddr,
    clients: usize,
    config: &Arc<ClientConfig>,
    meter: &Meter,
) -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    let mut all = Vec::with_capacity(clients);
    for number in 0..clients {
        all.push(Client::connect(server, config, &poll, number)?);
    }
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let number = event.token().0;
            let Some(done) = all[number].step() else { continue };
            meter.gone(all[number].since, done);
            all[number] = Client::connect(server, config, &poll, number)?;
        }
    }
}

struct Client {
    since: Instant,
    socket: TcpStream,
    tls: ClientConnection,
}

impl Client {
    fn connect(
        server: SocketAddr,
        config: &Arc<ClientConfig>,
        poll: &Poll,
        number: usize,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(server)?;
        // Or its second small write waits 40 ms for an acknowledgement.
        socket.set_nodelay(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(number), both)?;
        Ok(Self { since: Instant::now(), socket, tls: client::connection(config) })
    }

    /// Goes on; when the server has closed, whether the handshake was done.
    fn step(&mut self) -> Option<bool> {
        // It is content with a part of the handshake, too, and says that it waits when it can do nothing at all.
        while self.tls.is_handshaking() {
            match self.tls.complete_io(&mut self.socket) {
                Ok(_) => {}
                Err(error) if waits(&error) => return None,
                Err(_) => return Some(false),
            }
        }
        let mut rest = [0; 1024];
        loop {
            match self.socket.read(&mut rest) {
                Ok(0) => return Some(true),
                Ok(_) => {}
                Err(error) if waits(&error) => return None,
                // The server has closed without reading everything, and the handshake was done before.
                Err(_) => return Some(true),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // With a reset, so that no port waits for late packets.
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
