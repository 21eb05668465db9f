//! A peer that sends any mixture of a handshake's records, data, alerts, `close_notify` and bytes that are no TLS, in pieces
//! of any size, and then closes or resets its side. Sessions must end as plain rustls does, except that a packet parked on
//! an operation whose result can reach no peer is cancelled.

use core::fmt;
use core::task::Waker;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::{fs, iter};

use proptest::prelude::*;
use proptest::sample::Index;
use rustls::{ClientConnection, Connection, ServerConnection};
use ssl_async::{Parking, SslError};

use super::clear::{self, TAG};
use super::program::{Op, Program, Setup};
use super::world::World;
use crate::support::localhost;

/// The peer's bytes, and how they arrive.
#[derive(Clone)]
pub(crate) struct Script {
    /// The recorded handshake: its name and setup.
    pub(crate) name: String,
    pub(crate) setup: Setup,
    /// The pieces that arrive, in order.
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) end: End,
    /// The transport takes at most this many bytes at a time, and would block every other time.
    pub(crate) narrow: Option<usize>,
    /// How many operations are answered after each piece.
    pub(crate) answers: Vec<usize>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("name", &self.name)
            .field("pieces", &self.pieces.iter().map(Vec::len).collect::<Vec<_>>())
            .field("records", &outline(&self.pieces.concat()))
            .field("end", &self.end)
            .field("narrow", &self.narrow)
            .field("answers", &self.answers)
            .finish()
    }
}

/// Types, lengths and, if they are short, contents of the records in `bytes`.
fn outline(bytes: &[u8]) -> Vec<String> {
    let outline = records(bytes).into_iter().map(|record| match &*record {
        [typ, _, _, _, _, short @ ..] if short.len() < 20 => format!("{typ} {short:02x?}"),
        [typ, ..] => format!("{typ} ({} bytes)", record.len()),
        [] => String::new(),
    });
    outline.collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The stream stays open.
    Open,
    /// The peer closes its side, and still reads.
    Fin,
    /// Both sides are closed.
    Rst,
}

/// An extra among the records of a handshake.
#[derive(Clone, Copy, Debug)]
enum Extra {
    Data,
    Alert,
    CloseNotify,
    /// A record that does not decrypt.
    Corrupt,
    /// Bytes of another protocol.
    Foreign,
}

impl Extra {
    /// As a record: protected as TLS 1.3 does it, as TLS 1.2 does, or in the clear.
    fn record(self, protection: u8) -> Vec<u8> {
        let (typ, mut payload): (u8, Vec<u8>) = match self {
            Self::Data | Self::Corrupt => (23, b"data".to_vec()),
            Self::Alert => (21, vec![2, 40]),
            Self::CloseNotify => (21, vec![1, 0]),
            Self::Foreign => return b"220 banner of another protocol\r\n".to_vec(),
        };
        let outer = if protection == 0 { 23 } else { typ };
        if protection == 0 {
            payload.push(typ);
        }
        if protection < 2 {
            payload.push(if matches!(self, Self::Corrupt) { !TAG } else { TAG });
        }
        [&[outer, 3, 3, 0, payload.len() as u8][..], &payload].concat()
    }
}

/// Scripts over the committed recordings; `ends` are the ends to choose from.
pub(crate) fn any_script(ends: &'static [End]) -> impl Strategy<Value = Script> {
    let extra = prop::sample::select(vec![
        Extra::Data,
        Extra::Data,
        Extra::Alert,
        Extra::CloseNotify,
        Extra::Corrupt,
        Extra::Foreign,
    ]);
    let extras = prop::collection::vec((any::<Index>(), extra, 0..3_u8), 0..4);
    let how_many = prop_oneof![2 => Just(usize::MAX), 1 => 0..40_usize];
    let splits = prop::collection::vec(any::<Index>(), 0..6);
    let answers = prop::collection::vec(0..3_usize, 0..10);
    let narrow = prop::option::weighted(0.3, 1..20_usize);
    let end = prop::sample::select(ends);
    (any::<Index>(), how_many, extras, splits, end, narrow, answers).prop_map(
        |(seed, how_many, extras, splits, end, narrow, answers)| {
            let (name, program) = seed.get(&seeds()).clone();
            let mut records: Vec<Vec<u8>> = flights(&program).concat().into_iter().collect();
            records.truncate(how_many);
            for (at, extra, protection) in extras {
                // Mostly near the end, where it may follow a complete handshake.
                let at = records.len() - at.index(records.len().min(4) + 1);
                records.insert(at, extra.record(protection));
            }
            let bytes = records.concat();
            let mut cuts: Vec<_> = splits.iter().map(|at| at.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let starts = iter::once(0).chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let pieces = starts.zip(ends).map(|(from, to)| bytes[from..to].to_vec()).collect();
            Script { name, setup: program.setup, pieces, end, narrow, answers }
        },
    )
}

/// The ways in which a server's handshakes are parked.
pub(crate) fn any_parking() -> impl Strategy<Value = Parking> {
    prop::sample::select(vec![Parking::Fiber, Parking::Auto, Parking::Replay])
}

/// The committed recordings that begin with the session itself, by name.
fn seeds() -> Vec<(String, Program)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/peer_bytes/seeds");
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .expect("the seeds are beside this file")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let program = Program::parse(&fs::read(entry.path()).expect("a file"));
            (entry.file_name().into_string().expect("a name"), program)
        })
        // Bounded pools and acceptors do not matter for closes.
        .filter(|(_, program)| !program.setup.has(Setup::ACCEPTOR))
        .collect();
    seeds.sort_by(|a, b| a.0.cmp(&b.0));
    seeds
}

/// The peer's flights, as records.
fn flights(program: &Program) -> Vec<Vec<Vec<u8>>> {
    let flights = program.ops.iter().filter_map(|op| match op {
        Op::Peer(bytes) => Some(records(bytes)),
        Op::Event(_) => None,
    });
    flights.collect()
}

/// The records in `bytes`; bytes that are no record come last.
pub(crate) fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let [20..=23, 3, _, high, low, ..] = *bytes {
        let end = 5 + usize::from(u16::from_be_bytes([high, low]));
        let (record, rest) = bytes.split_at(end.min(bytes.len()));
        records.push(record.to_vec());
        bytes = rest;
    }
    if !bytes.is_empty() {
        records.push(bytes.to_vec());
    }
    records
}

/// Our end of the transport, for sessions and for tasks.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Mutex<State>>);

struct State {
    incoming: VecDeque<u8>,
    end: End,
    outgoing: Vec<u8>,
    narrow: Option<usize>,
    blocks: bool,
    reader: Option<Waker>,
}

impl Wire {
    pub(crate) fn new(script: &Script) -> Self {
        Self(Arc::new(Mutex::new(State {
            incoming: VecDeque::new(),
            end: End::Open,
            outgoing: Vec::new(),
            narrow: script.narrow,
            blocks: false,
            reader: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Adds received bytes, and perhaps the end of the stream.
    pub(crate) fn arrive(&self, bytes: &[u8], end: Option<End>) {
        let mut state = self.lock();
        state.incoming.extend(bytes);
        state.end = end.unwrap_or(state.end);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn wake_when_readable(&self, waker: &Waker) {
        self.lock().reader = Some(waker.clone());
    }

    /// The bytes sent so far.
    pub(crate) fn sent(&self) -> Vec<u8> {
        self.lock().outgoing.clone()
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock();
        match state.end {
            _ if !state.incoming.is_empty() => state.incoming.read(into),
            End::Open => Err(io::ErrorKind::WouldBlock.into()),
            End::Fin => Ok(0),
            End::Rst => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.end == End::Rst {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut most = data.len();
        if let Some(narrow) = state.narrow {
            state.blocks = !state.blocks;
            if state.blocks {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            most = most.min(narrow);
        }
        state.outgoing.extend(&data[..most]);
        Ok(most)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The state of a connection after the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The handshake waits for more.
    Handshaking,
    /// The handshake is done, and the stream is open.
    Open,
    /// `close_notify` was received.
    Closed,
    /// The data ended without `close_notify`.
    Truncated,
    /// The peer closed during the handshake.
    ClosedInHandshake,
    Tls(String),
    Io,
}

impl From<&SslError> for Outcome {
    fn from(error: &SslError) -> Self {
        match error {
            SslError::Tls(error) => Self::Tls(error.to_string()),
            SslError::PeerClosed(ssl_async::ClosedDuring::Handshake) => Self::ClosedInHandshake,
            SslError::PeerClosed(ssl_async::ClosedDuring::Data) => Self::Truncated,
            SslError::Io(_) => Self::Io,
            other => panic!("nothing in a script explains: {other}"),
        }
    }
}

/// The observed behaviour of a connection.
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) established: bool,
    /// The plaintext read.
    pub(crate) read: Vec<u8>,
    pub(crate) sent: Vec<u8>,
    /// A parked operation was cancelled.
    pub(crate) cancelled: bool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen")
            .field("outcome", &self.outcome)
            .field("established", &self.established)
            .field("read", &String::from_utf8_lossy(&self.read))
            .field("sent", &outline(&self.sent))
            .field("cancelled", &self.cancelled)
            .finish()
    }
}

/// Written at the end, if the connection still works.
pub(crate) const ANSWER: &[u8] = b"answer";

/// Runs the script against plain rustls.
pub(crate) fn plain(script: &Script) -> Seen {
    clear::begin_again();
    let world = World::new(script.setup, Parking::Fiber);
    world.device.set_answers_at_once(true);
    world.gates.set_open(true);
    let mut tls: Connection = if script.setup.has(Setup::CLIENT) {
        let config = Arc::clone(world.client.config());
        ClientConnection::new(config, localhost()).expect("a name").into()
    } else {
        ServerConnection::new(Arc::clone(world.server.config())).expect("a configuration").into()
    };
    let wire = Wire::new(script);
    let mut plain = Plain { io: wire.clone(), read: Vec::new(), unsendable: false };
    let mut outcome = plain.go_on(&mut tls);
    for (n, piece) in script.pieces.iter().enumerate() {
        let last = n + 1 == script.pieces.len();
        wire.arrive(piece, last.then_some(script.end));
        if matches!(outcome, Outcome::Handshaking | Outcome::Open) {
            outcome = plain.go_on(&mut tls);
        }
    }
    if matches!(outcome, Outcome::Open | Outcome::Closed) {
        tls.writer().write_all(ANSWER).expect("the buffer has room");
        plain.flush(&mut tls);
    }
    let established = matches!(outcome, Outcome::Open | Outcome::Closed | Outcome::Truncated)
        || !plain.read.is_empty();
    Seen { outcome, established, read: plain.read, sent: wire.sent(), cancelled: false }
}

struct Plain {
    io: Wire,
    read: Vec<u8>,
    /// Writing has failed.
    unsendable: bool,
}

impl Plain {
    fn flush(&mut self, tls: &mut Connection) {
        while tls.wants_write() && !self.unsendable {
            let written = tls.write_tls(&mut self.io);
            self.unsendable = written.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock);
        }
    }

    fn go_on(&mut self, tls: &mut Connection) -> Outcome {
        loop {
            self.flush(tls);
            let _until_there_is_no_more = tls.reader().read_to_end(&mut self.read);
            let handshaking = tls.is_handshaking();
            match tls.read_tls(&mut self.io) {
                Ok(0) if handshaking => return Outcome::ClosedInHandshake,
                Ok(n) => {
                    let processed = tls.process_new_packets();
                    self.flush(tls);
                    let _until_there_is_no_more = tls.reader().read_to_end(&mut self.read);
                    match processed {
                        Err(error) => return Outcome::Tls(error.to_string()),
                        Ok(state) if n == 0 && state.peer_has_closed() => return Outcome::Closed,
                        Ok(_) if n == 0 => return Outcome::Truncated,
                        Ok(_) => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if handshaking { Outcome::Handshaking } else { Outcome::Open };
                }
                Err(_reset) => return Outcome::Io,
            }
        }
    }
}

/// Checks that ours behaved as plain rustls, or was cancelled where the handshake cannot complete.
pub(crate) fn assert_agrees(script: &Script, ours: &Seen, plain: &Seen) {
    let context = || format!("{script:?}\nours: {ours:?}\nplain: {plain:?}");
    if ours.cancelled {
        match script.end {
            End::Rst => assert_eq!(ours.outcome, Outcome::Io, "{}", context()),
            _ => assert_eq!(ours.outcome, Outcome::ClosedInHandshake, "{}", context()),
        }
        // A recording may answer a `ServerHello` that has not left; no real peer can.
        let foresees = !script.setup.has(Setup::CLIENT) && !has_server_hello(&ours.sent);
        let lost = plain.established && script.end != End::Rst && !foresees;
        assert!(!lost, "{}", context());
        let (mut ours, plain) = (records(&ours.sent), records(&plain.sent));
        if script.narrow.is_some() {
            // Perhaps the first half of a HelloRetryRequest.
            let _cut_off = ours.pop();
        }
        assert!(ours.len() <= plain.len() && alike(&ours, &plain[..ours.len()]), "{}", context());
        return;
    }
    assert_eq!(ours.outcome, plain.outcome, "{}", context());
    assert_eq!(ours.read, plain.read, "{}", context());
    let (sent, mut expected) = (records(&ours.sent), records(&plain.sent));
    // The rest of a flight is not compared when the handshake is over.
    if ours.outcome == Outcome::ClosedInHandshake && script.narrow.is_some() {
        expected.truncate(sent.len().saturating_sub(1));
        return assert!(alike(&sent[..expected.len()], &expected), "{}", context());
    }
    assert!(alike(&sent, &expected), "{}", context());
}

/// Whether there is a `ServerHello` among the records, other than a HelloRetryRequest.
fn has_server_hello(sent: &[u8]) -> bool {
    /// The random value of a HelloRetryRequest.
    const RETRY: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];
    records(sent).iter().any(|record| record[0] == 22 && record.get(11..15) != Some(&RETRY))
}

/// Whether both sent the same records. Long records hold key shares and signatures, whose lengths vary.
fn alike(ours: &[Vec<u8>], plain: &[Vec<u8>]) -> bool {
    ours.len() == plain.len()
        && ours.iter().zip(plain).all(|(ours, plain)| {
            let near = ours.len().abs_diff(plain.len()) <= 8;
            if plain.len() > 30 { ours[0] == plain[0] && near } else { ours == plain }
        })
}
