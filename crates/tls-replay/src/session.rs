//! A server handshake as a state machine over bytes.

use core::any::Any;
use core::{fmt, mem};

use rustls::server::ServerConnection;

use crate::attempt::{Attempt, feed, flush};
use crate::config::ReplayConfig;
use crate::error::ReplayError;
use crate::hello::{HelloScan, HelloStatus};
use crate::pass::{self, Mode};
use crate::plant::is_armed;
use crate::question::{Question, Reply};
use crate::record::{Record, Stop};

/// How many bytes a client may send before the server's flight, for each of its hellos.
pub const MAX_HELLO: usize = 32 * 1024;

/// What a [`Session`] waits for.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
#[non_exhaustive]
pub enum SessionStage {
    /// More of the client's bytes.
    NeedsPeer,
    /// The reply to [`Session::question`].
    Parked,
    /// Nothing: [`Session::connection`] is an ordinary rustls connection from here on.
    Established,
}

/// Settings of the rustls connection of a handshake, made before it processes the hello.
#[derive(Clone, Default)]
pub struct SessionOptions {
    /// As [`set_buffer_limit`](rustls::ConnectionCommon::set_buffer_limit). `None` leaves rustls's default.
    pub buffer_limit: Option<usize>,
    /// As [`ServerConnection::set_resumption_data`], unless empty.
    pub resumption_data: Vec<u8>,
    /// Calls [`ServerConnection::reject_early_data`].
    pub reject_early_data: bool,
    /// Leaves records behind the hello unprocessed, in the second half of [`Session::into_connection`]: for a caller that
    /// gives them to the connection itself, one by one, and reads what each brings before the next one may fail.
    pub stops_at_flight: bool,
}

impl SessionOptions {
    /// Whether the connection itself is as rustls makes it.
    fn are_defaults(&self) -> bool {
        let Self { buffer_limit, resumption_data, reject_early_data, stops_at_flight: _ } = self;
        buffer_limit.is_none() && resumption_data.is_empty() && !reject_early_data
    }
}

impl fmt::Debug for SessionOptions {
    /// Without `resumption_data`, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("buffer_limit", &self.buffer_limit)
            .field("resumption_data", &format_args!("{} bytes", self.resumption_data.len()))
            .field("reject_early_data", &self.reject_early_data)
            .field("stops_at_flight", &self.stops_at_flight)
            .finish()
    }
}

/// One server handshake.
///
/// It reads and writes nothing itself: [`hear`](Self::hear) takes the client's bytes and [`resume`](Self::resume) the
/// reply to its [`question`](Self::question), and both append the bytes to send. It has no clock, so the caller ends a
/// handshake that takes too long by dropping it. A parked session is its client's hello and the recorded answers, some
/// hundred bytes; secrets among them are wiped when it is dropped. It may move between threads at any time.
///
/// # Panics
///
/// A panic in a hook unwinds through `hear` or `resume`; the session then answers [`ReplayError::Closed`].
pub struct Session {
    config: ReplayConfig,
    /// `None` for the defaults, which nearly all handshakes have.
    options: Option<Box<SessionOptions>>,
    stops_at_flight: bool,
    waits_later: bool,
    state: State,
}

enum State {
    Hello {
        received: Vec<u8>,
        scan: HelloScan,
    },
    /// rustls asked the client for another hello.
    Retrying(Box<Retrying>),
    Parked(Handshake),
    Established {
        connection: Box<ServerConnection>,
        unread: Vec<u8>,
    },
    /// The bytes are those of a client that can be served in another way.
    Closed(Vec<u8>),
}

/// What two passes share.
struct Handshake {
    /// Everything the client sent.
    received: Vec<u8>,
    /// The HelloRetryRequest that was sent, if any.
    sent: Vec<u8>,
    record: Box<Record>,
}

impl Handshake {
    /// Adds to what the client sent: two hellos at most, and `max_early_data` bytes of early data if its hello offers to
    /// resume.
    fn keep(
        &mut self,
        bytes: &[u8],
        max_early_data: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), ReplayError> {
        let more_than_hellos = (self.received.len() + bytes.len()).saturating_sub(2 * MAX_HELLO);
        if more_than_hellos > sealed_len(max_early_data)
            || more_than_hellos > 0 && !offers_resumption(&self.received)
        {
            return Err(too_long(out));
        }
        self.received.extend_from_slice(bytes);
        Ok(())
    }
}

struct Retrying {
    handshake: Handshake,
    attempt: Attempt,
}

impl Session {
    /// A handshake of which nothing has been received.
    pub fn new(config: ReplayConfig, options: SessionOptions) -> Self {
        let state = State::Hello { received: Vec::new(), scan: HelloScan::default() };
        let stops_at_flight = options.stops_at_flight;
        let options = (!options.are_defaults()).then(|| Box::new(options));
        Self { waits_later: config.waits_later(), config, options, stops_at_flight, state }
    }

    /// What the session waits for; `None` after an error that left no connection.
    pub fn stage(&self) -> Option<SessionStage> {
        match self.state {
            State::Hello { .. } | State::Retrying(_) => Some(SessionStage::NeedsPeer),
            State::Parked(_) => Some(SessionStage::Parked),
            State::Established { .. } => Some(SessionStage::Established),
            State::Closed(_) => None,
        }
    }

    /// Whether something may wait in the rest of the handshake, after the server's flight, where it cannot be parked by
    /// replay: [`waits_later`](crate::waits_later) was called, or the key exchange of TLS 1.2 was postponed. Complete when the
    /// session is parked for its signature, or established.
    pub fn waits_later(&self) -> bool {
        self.waits_later
    }

    /// What a parked session waits for.
    pub fn question(&self) -> Option<Question<'_>> {
        match &self.state {
            State::Parked(handshake) => handshake.record.question(),
            _ => None,
        }
    }

    /// What the hook handed to [`postpone`](crate::postpone), or the key's
    /// [context](crate::ReplayKey::with_context), while the session is parked.
    pub fn context(&self) -> Option<&(dyn Any + Send)> {
        match &self.state {
            State::Parked(handshake) => handshake.record.context(),
            _ => None,
        }
    }

    /// As [`context`](Self::context), taken out. A key's context comes as the `Arc` that was given.
    pub fn take_context(&mut self) -> Option<Box<dyn Any + Send>> {
        match &mut self.state {
            State::Parked(handshake) => handshake.record.take_context(),
            _ => None,
        }
    }

    /// The connection, once established. Its handshake may still wait for the client's last flight, which
    /// [`hear`](Self::hear) gives to it.
    pub fn connection(&mut self) -> Option<&mut ServerConnection> {
        match &mut self.state {
            State::Established { connection, .. } => Some(connection),
            _ => None,
        }
    }

    /// The connection, once established, and the bytes that it had no room to take or was
    /// [not to take](SessionOptions::stops_at_flight); give those to
    /// [`read_tls`](rustls::ConnectionCommon::read_tls) before any others.
    pub fn into_connection(self) -> Option<(ServerConnection, Vec<u8>)> {
        match self.state {
            State::Established { connection, unread } => Some((*connection, unread)),
            _ => None,
        }
    }

    /// Everything received from a client to which nothing has been sent, to be served in another way; also after
    /// [`ReplayError::TooLong`] for a hello, if its alert is not sent, and after [`ReplayError::HookInHook`]. `None` after too many
    /// bytes to a parked session: its hooks were asked.
    pub fn into_received(self) -> Option<Vec<u8>> {
        match self.state {
            State::Hello { received, .. } => Some(received),
            State::Retrying(retrying) if retrying.handshake.sent.is_empty() => {
                Some(retrying.handshake.received)
            }
            State::Parked(handshake) if handshake.sent.is_empty() => Some(handshake.received),
            State::Closed(received) if !received.is_empty() => Some(received),
            _ => None,
        }
    }

    /// Takes bytes from the client, and appends to `out` the bytes to send. A parked session keeps the client's bytes.
    ///
    /// # Errors
    ///
    /// Any [`ReplayError`] but [`NotParked`](ReplayError::NotParked) and [`WrongReply`](ReplayError::WrongReply). `out`
    /// may have an alert, which is to be sent.
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<SessionStage, ReplayError> {
        match mem::replace(&mut self.state, State::Closed(Vec::new())) {
            State::Hello { mut received, scan } => {
                received.reserve_exact(bytes.len());
                received.extend_from_slice(bytes);
                self.first_hello(received, scan, out)
            }
            State::Retrying(retrying) => {
                let Retrying { mut handshake, attempt } = *retrying;
                let from = handshake.received.len();
                handshake.keep(bytes, self.max_early_data(), out)?;
                self.advance(attempt, handshake, from, out)
            }
            State::Parked(mut handshake) => {
                handshake.keep(bytes, self.max_early_data(), out)?;
                self.state = State::Parked(handshake);
                Ok(SessionStage::Parked)
            }
            State::Established { mut connection, mut unread } => {
                let done = hear_established(&mut connection, &mut unread, bytes);
                flush(&mut connection, out);
                self.state = State::Established { connection, unread };
                done.map(|()| SessionStage::Established)
            }
            State::Closed(received) => {
                self.state = State::Closed(received);
                Err(ReplayError::Closed)
            }
        }
    }

    /// Resumes with the reply to [`question`](Self::question), and appends to `out` the bytes to send. A signature is
    /// used only if the second pass signs the same message in the same scheme.
    ///
    /// # Errors
    ///
    /// Any [`ReplayError`]. After [`NotParked`](ReplayError::NotParked) and [`WrongReply`](ReplayError::WrongReply) the
    /// session is as before.
    pub fn resume(
        &mut self,
        reply: impl Into<Reply>,
        out: &mut Vec<u8>,
    ) -> Result<SessionStage, ReplayError> {
        let reply = reply.into();
        let State::Parked(handshake) = &mut self.state else {
            reply.wipe();
            return Err(ReplayError::NotParked);
        };
        let signed = matches!(reply, Reply::Signature(_));
        if !handshake.record.reply(reply) {
            return Err(ReplayError::WrongReply);
        }
        let State::Parked(handshake) = mem::replace(&mut self.state, State::Closed(Vec::new()))
        else {
            return Err(ReplayError::NotParked);
        };
        if signed {
            return self.perform(handshake, out);
        }
        let hello = HelloScan::default().scan(&handshake.received);
        self.first_pass(handshake, hello, out)
    }

    /// Ends a parked handshake whose question cannot be answered, and appends the alert `internal_error`. The server's flight has
    /// not left, so the alert goes in the clear.
    pub fn abort(&mut self, out: &mut Vec<u8>) {
        if let State::Parked(_) = self.state {
            self.state = State::Closed(Vec::new());
            out.extend_from_slice(&[21, 3, 3, 0, 2, 2, 80]);
        }
    }

    fn max_early_data(&self) -> u32 {
        self.config.server_config().max_early_data_size
    }

    fn first_hello(
        &mut self,
        received: Vec<u8>,
        mut scan: HelloScan,
        out: &mut Vec<u8>,
    ) -> Result<SessionStage, ReplayError> {
        let status = scan.scan(&received);
        if status == HelloStatus::Partial {
            if received.len() > MAX_HELLO {
                self.state = State::Closed(received);
                return Err(too_long(out));
            }
            self.state = State::Hello { received, scan };
            return Ok(SessionStage::NeedsPeer);
        }
        if matches!(status, HelloStatus::Whole { .. }) && scan.end() > MAX_HELLO {
            self.state = State::Closed(received);
            return Err(too_long(out));
        }
        let handshake = Handshake { received, sent: Vec::new(), record: Box::default() };
        self.first_pass(handshake, status, out)
    }

    /// Runs the handshake up to its next question. Where it may end without one, its connection has to be real.
    fn first_pass(
        &mut self,
        mut handshake: Handshake,
        hello: HelloStatus,
        out: &mut Vec<u8>,
    ) -> Result<SessionStage, ReplayError> {
        let may_end = hello != (HelloStatus::Whole { offers_resumption: false });
        if may_end || handshake.record.key_is_local {
            return self.perform(handshake, out);
        }
        let make = || Attempt::rehearsal(&self.config);
        let (record, attempt) = pass::run(Mode::Rehearsal, handshake.record, make);
        handshake.record = record;
        self.advance(attempt?, handshake, 0, out)
    }

    /// Runs the handshake over everything received, on a connection that may become the real one.
    fn perform(
        &mut self,
        mut handshake: Handshake,
        out: &mut Vec<u8>,
    ) -> Result<SessionStage, ReplayError> {
        // Already here a verifier may say that it waits.
        let make = || self.config.connection();
        let (record, connection) = pass::run(Mode::Real, handshake.record, make);
        handshake.record = record;
        let mut connection = connection?;
        if let Some(options) = self.options.as_deref() {
            if let Some(limit) = options.buffer_limit {
                connection.set_buffer_limit(Some(limit));
            }
            if !options.resumption_data.is_empty() {
                connection.set_resumption_data(&options.resumption_data);
            }
            if options.reject_early_data {
                connection.reject_early_data();
            }
        }
        self.advance(Attempt::Real(connection), handshake, 0, out)
    }

    /// Feeds everything received since `from` to `attempt`, and decides whether its connection is parked, thrown away or
    /// kept.
    fn advance(
        &mut self,
        mut attempt: Attempt,
        mut handshake: Handshake,
        from: usize,
        out: &mut Vec<u8>,
    ) -> Result<SessionStage, ReplayError> {
        if from == 0 {
            handshake.record.rewind();
        }
        let mut flight = Vec::new();
        let mode = attempt.mode();
        let received = &handshake.received[from..];
        let feed = || attempt.feed(received, self.stops_at_flight, &mut flight);
        let (mut record, (taken, error)) = pass::run(mode, handshake.record, feed);
        let key_log = mem::take(&mut record.key_log);
        self.waits_later |= record.waits_later;
        handshake.record = record;
        if let Some(stop) = handshake.record.why_stopped() {
            // Neither the connection nor its flight is used.
            drop(attempt);
            if is_armed!(SendRehearsal) {
                out.extend_from_slice(&flight);
            }
            return match stop {
                Stop::Asked => {
                    self.state = State::Parked(handshake);
                    Ok(SessionStage::Parked)
                }
                Stop::LocalKey => self.perform(handshake, out),
                Stop::HookInHook => {
                    if handshake.sent.is_empty() {
                        self.state = State::Closed(handshake.received);
                    }
                    Err(ReplayError::HookInHook)
                }
                Stop::Differs(why) => Err(ReplayError::Differs(why)),
            };
        }
        // A new connection first repeats the bytes sent before.
        let repeated = if from == 0 { &handshake.sent[..] } else { &[] };
        let Some(news) = flight.strip_prefix(repeated) else {
            return Err(ReplayError::Differs("it answers something else"));
        };
        if error.is_none() && attempt.waits_for_hello(&handshake.record) {
            // Neither secret nor random bytes are in a HelloRetryRequest.
            out.extend_from_slice(news);
            handshake.sent.extend_from_slice(news);
            handshake.record.has_retried = !handshake.sent.is_empty();
            self.state = State::Retrying(Box::new(Retrying { handshake, attempt }));
            return Ok(SessionStage::NeedsPeer);
        }
        match attempt {
            Attempt::Rehearsal(_) => match error {
                Some(error) if is_armed!(BelieveMute) => Err(error.into()),
                // It failed, or ended without a question: a real connection has to say so.
                _ => self.perform(handshake, out),
            },
            Attempt::Real(connection) => {
                for line in &key_log {
                    self.config.key_log().log(&line.label, &line.client_random, &line.secret);
                }
                out.extend_from_slice(news);
                let unread = handshake.received[from + taken..].to_vec();
                self.state = State::Established { connection, unread };
                error.map_or(Ok(SessionStage::Established), |error| Err(error.into()))
            }
        }
    }
}

fn offers_resumption(received: &[u8]) -> bool {
    HelloScan::default().scan(received) == HelloStatus::Whole { offers_resumption: true }
}

/// How many bytes of records carry `plain` bytes of early data, if the client does not split it into tiny ones.
fn sealed_len(plain: u32) -> usize {
    let plain = plain as usize;
    plain.saturating_add(plain / 16)
}

/// Gives `unread` and `bytes` to `connection`, and leaves in `unread` what it has no room for.
fn hear_established(
    connection: &mut ServerConnection,
    unread: &mut Vec<u8>,
    bytes: &[u8],
) -> Result<(), ReplayError> {
    let mut give = |unread: &mut Vec<u8>| {
        let (taken, error) = feed(connection, unread);
        unread.drain(..taken);
        error.map_or(Ok(()), |error| {
            // A connection that failed takes nothing more.
            *unread = Vec::new();
            Err(error)
        })
    };
    give(unread)?;
    if unread.len() > MAX_HELLO {
        return Err(ReplayError::PlaintextUnread);
    }
    unread.extend_from_slice(bytes);
    Ok(give(unread)?)
}

/// Appends the alert `decode_error`: rustls has not seen the hello and cannot say it.
fn too_long(out: &mut Vec<u8>) -> ReplayError {
    out.extend_from_slice(&[21, 3, 3, 0, 2, 2, 50]);
    ReplayError::TooLong
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("stage", &self.stage()).finish_non_exhaustive()
    }
}
