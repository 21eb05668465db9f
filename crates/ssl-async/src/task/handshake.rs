//! A handshake as the state machine of a task: the task reads and writes, and processes packets in place or on a shard.
//!
//! ```text
//!   Replaying -- established --> OnTask
//!    +-- needs a fiber: its bytes unread, New --> OnTask
//!
//!                 reply: the connection
//!   OnTask <-------------------------------+
//!    |                                     |
//!    +-- records that may reach a hook -> OnShard -- reply: broken --> SendingAlert -- sent --> Ended
//!    |                                     |
//!    | done and flushed                    +-- drop -------> Cancel -------------------------> Ended
//!    |                                     +-- deadline ---> Cancel, alert ------------------> Ended
//!    v                                     +-- peer closed -> CancelUnlessRunning -- reply --> Ended
//!   TlsStream
//! ```
//!
//! A shard knows nothing about the transport: the task is polled for the peer's close, the deadline and a shutdown.
//! [`read_ahead`](crate::read_ahead) decides what the peer's close means for a packet on a shard. Only the shard knows
//! whether the packet is parked, so it decides whether the packet is cancelled.
//!
//! The file is long because the states of one state machine, their steps and their drop stand together.

use core::any::Any;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::Span;

use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::id::SslId;
use crate::packet::Work;
use crate::parking::ParkingWay;
use crate::read_ahead::{Awaited, Next, PacketAt, ReadAhead};
use crate::records::{INTERNAL_ERROR, UNEXPECTED_MESSAGE};
use crate::rustls23::{
    Established, Hello, KeyExchange, Processed, Replayed, Returned, ServerConfig, Tls,
};
use crate::task::active::ActiveGuard;
use crate::task::deadline::{DEFAULT_DEADLINE, Deadline};
use crate::task::early::EarlyData;
use crate::task::exclusive::Exclusive;
use crate::task::packet_task::Reply;
use crate::task::place::Place;
use crate::task::replaying::Replaying;
use crate::task::shards::{PacketHandle, Shards};
use crate::task::stream::TlsStream;
use crate::task::sync_io::{SyncIo, to_poll};

/// The side of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// Settings of the handshakes of an endpoint.
#[derive(Clone)]
pub(crate) struct HandshakeOptions {
    pub(crate) shards: Shards,
    pub(crate) exchange: KeyExchange,
    pub(crate) deadline: Option<Duration>,
}

impl HandshakeOptions {
    pub(crate) fn new(shards: &Shards) -> Self {
        Self {
            shards: shards.clone(),
            exchange: KeyExchange::default(),
            deadline: Some(DEFAULT_DEADLINE),
        }
    }
}

/// A handshake.
pub(crate) struct Handshake<IO> {
    id: SslId,
    role: Role,
    /// `None` once the stream owns it.
    io: Option<IO>,
    options: HandshakeOptions,
    /// The shard of all packets.
    shard: usize,
    /// Where packets that may reach a hook are processed.
    place: Place,
    phase: Exclusive<Phase>,
    ahead: ReadAhead,
    early: EarlyData,
    deadline: Deadline,
    /// Whether the peer accepts an unencrypted alert while the connection is on a shard.
    in_the_clear: bool,
    /// The maximum of early data in bytes that a server accepts; zero on a client.
    max_early_data: u32,
    /// Whether a `ServerHello` was sent. From then on the client's last flight may arrive.
    sent_server_hello: bool,
    /// Whether the transport may hold bytes that it has not sent.
    unflushed: bool,
    /// Why the shard was asked to cancel the packet.
    cancel_reason: Option<SslError>,
    /// The transport's error when writing. Returned once everything that the peer has sent is processed.
    write_error: Option<SslError>,
    span: Span,
    _active: ActiveGuard,
}

/// The phase of a handshake: where its connection is.
enum Phase {
    /// By replay, up to the server's flight.
    Replaying(Box<Replaying>),
    /// Not created. Creating it reaches no hook.
    New(Arc<ServerConfig>),
    /// Not created. The first packet creates it, and may reach a hook.
    FirstPacket(Work),
    OnTask(Tls),
    OnShard(PacketHandle),
    /// Lost. The records that tell the peer are not all sent.
    SendingAlert(FinalAlert),
    Ended,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Handshake<IO> {
    /// A server's handshake.
    pub(crate) fn server(
        io: IO,
        options: HandshakeOptions,
        config: Arc<ServerConfig>,
        way: ParkingWay,
    ) -> Self {
        let max_early_data = config.max_early_data_size;
        let place = Place::of(&way);
        let phase = match way {
            ParkingWay::Fiber | ParkingWay::Never => Phase::New(config),
            ParkingWay::Replay { config: replayable, only } => {
                let exchange = options.exchange.clone();
                Phase::Replaying(Box::new(Replaying::new(&replayable, only, exchange, config)))
            }
            ParkingWay::Refused(why) => needs_fiber(why),
        };
        Self { max_early_data, place, ..Self::new(Role::Server, io, options, phase) }
    }

    /// A server's handshake that continues after `hello`. `ahead` was read from `io` after it.
    pub(crate) fn after_hello(
        io: IO,
        mut ahead: ReadAhead,
        options: HandshakeOptions,
        config: Arc<ServerConfig>,
        way: ParkingWay,
        hello: Hello,
    ) -> Self {
        if matches!(way, ParkingWay::Replay { .. } | ParkingWay::Refused(_)) {
            ahead.unread(hello.into_bytes());
            return Self { ahead, ..Self::server(io, options, config, way) };
        }
        let max_early_data = config.max_early_data_size;
        let make = Work::create(move || hello.into_processed(config), options.exchange.clone());
        Self {
            max_early_data,
            ahead,
            place: Place::of(&way),
            ..Self::new(Role::Server, io, options, Phase::FirstPacket(make))
        }
    }

    /// A client's handshake. `make` creates the connection and starts the key exchange.
    pub(crate) fn client(io: IO, options: HandshakeOptions, make: Work) -> Self {
        Self::new(Role::Client, io, options, Phase::FirstPacket(make))
    }

    /// As [`Parking::Never`](crate::Parking::Never) says, if this is the way.
    pub(crate) fn parking(self, way: &ParkingWay) -> Self {
        Self { place: Place::of(way), ..self }
    }

    /// A handshake whose connection the caller has made. A server's parks on a fiber.
    pub(crate) fn made(
        role: Role,
        io: IO,
        ahead: ReadAhead,
        options: HandshakeOptions,
        max_early_data: u32,
        made: Processed,
    ) -> Self {
        let mut handshake =
            Self { max_early_data, ahead, ..Self::new(role, io, options, Phase::Ended) };
        *handshake.phase.get_mut() = handshake.after_packet(made);
        handshake
    }

    /// Sends `data` with the hello, or after the handshake if the server does not accept it as early data.
    pub(crate) fn set_early(&mut self, data: Vec<u8>) {
        self.early = EarlyData::new(data);
    }

    fn new(role: Role, io: IO, options: HandshakeOptions, phase: Phase) -> Self {
        let id = SslId::next();
        Self {
            _active: options.shards.begin_handshake(),
            id,
            role,
            io: Some(io),
            shard: options.shards.next_shard(),
            place: Place::Shard,
            options,
            phase: Exclusive::new(phase),
            ahead: ReadAhead::default(),
            early: EarlyData::default(),
            deadline: Deadline::default(),
            in_the_clear: true,
            max_early_data: 0,
            sent_server_hello: false,
            unflushed: false,
            cancel_reason: None,
            write_error: None,
            span: tracing::debug_span!("handshake", ssl = id.as_u64()),
        }
    }

    /// Continues the handshake. Ready with the stream, or with the error that ended it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<TlsStream<IO>, SslError>> {
        let span = self.span.clone();
        let _entered = span.enter();
        let result = match self.advance(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => match self.poll_deadline(cx) {
                Poll::Ready(late) => Err(self.abort(SslError::TimedOut(late), cx)),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(match result {
            Ok(tls) => {
                tracing::debug!(ssl = self.id.as_u64(), "handshake.done");
                let io = self.io.take().expect(HAS_IO);
                Ok(TlsStream::new(self.id, io, tls, core::mem::take(&mut self.ahead)))
            }
            Err(error) => {
                tracing::debug!(ssl = self.id.as_u64(), %error, "ssl.failed");
                // Dropping the handle of a packet cancels it.
                *self.phase.get_mut() = Phase::Ended;
                Err(error)
            }
        })
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        self.deadline.poll(self.options.deadline, cx)
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tls, SslError>> {
        loop {
            match core::mem::replace(self.phase.get_mut(), Phase::Ended) {
                Phase::Replaying(mut replaying) => {
                    let Some(step) = self.replay(&mut replaying, cx)? else {
                        *self.phase.get_mut() = Phase::Replaying(replaying);
                        return Poll::Pending;
                    };
                    *self.phase.get_mut() = self.after_replay(replaying, step);
                }
                Phase::New(config) => {
                    *self.phase.get_mut() =
                        Phase::OnTask(Tls::server(config).map_err(SslError::Tls)?);
                }
                Phase::FirstPacket(work) => *self.phase.get_mut() = self.process(work, cx),
                Phase::OnShard(mut packet) => match Pin::new(&mut packet).poll(cx) {
                    Poll::Ready(reply) => *self.phase.get_mut() = self.after_reply(reply, cx),
                    Poll::Pending => {
                        // The packet may be queued: the rule for that is stricter than for a parked one.
                        let reason = self.watch_peer(PacketAt::Waiting, cx);
                        if self.cancel_reason.is_none() && reason.is_some() {
                            self.cancel_reason = reason;
                            packet.cancel_unless_running();
                        }
                        *self.phase.get_mut() = Phase::OnShard(packet);
                        return Poll::Pending;
                    }
                },
                Phase::OnTask(mut tls) => {
                    let done = !tls.is_handshaking();
                    if done {
                        self.early.send_after_handshake(&mut tls);
                    }
                    let flushed = self.poll_flush(&mut tls, done, cx)?;
                    if done && flushed.is_pending() {
                        *self.phase.get_mut() = Phase::OnTask(tls);
                        return Poll::Pending;
                    }
                    if done && self.early.is_sent() {
                        return Poll::Ready(Ok(tls));
                    }
                    if done {
                        *self.phase.get_mut() = Phase::OnTask(tls);
                        continue;
                    }
                    // Read even if the transport accepts no more bytes now.
                    let Poll::Ready(records) = self.poll_next(cx)? else {
                        *self.phase.get_mut() = Phase::OnTask(tls);
                        return Poll::Pending;
                    };
                    // A client's packet may change the keys, which shows only in its reply.
                    self.in_the_clear = self.role == Role::Server && tls.speaks_in_the_clear();
                    let work = Work::records(tls, records, self.options.exchange.clone());
                    *self.phase.get_mut() = self.process(work, cx);
                }
                Phase::SendingAlert(mut alert) => {
                    if self.send(&mut alert, cx) {
                        return Poll::Ready(Err(alert.error));
                    }
                    *self.phase.get_mut() = Phase::SendingAlert(alert);
                    return Poll::Pending;
                }
                Phase::Ended => panic!("a handshake was polled after it had ended"),
            }
        }
    }

    /// One step of a replay; `None` if it has to wait.
    fn replay(
        &mut self,
        replaying: &mut Replaying,
        cx: &mut Context<'_>,
    ) -> Result<Option<Step>, SslError> {
        self.poll_output(replaying.output(), cx);
        let shards = self.options.shards.clone();
        if !replaying.is_parked() {
            // Read even if the transport accepts no more bytes now.
            let Poll::Ready(records) = self.poll_next(cx)? else { return Ok(None) };
            let heard = self.run_hooks(|_| replaying.hear(&records, &shards), cx);
            return Ok(Some(Step::Replayed(heard)));
        }
        Ok(match self.run_hooks(|cx| replaying.poll(&shards, cx), cx) {
            Poll::Ready(replayed) => Some(Step::Replayed(replayed)),
            Poll::Pending => self.watch_peer(PacketAt::Parked, cx).map(Step::Cancelled),
        })
    }

    fn after_replay(&mut self, replaying: Box<Replaying>, step: Step) -> Phase {
        let replayed = match step {
            Step::Cancelled(error) => return self.after_cancel(error),
            Step::Replayed(replayed) => replayed,
        };
        match replayed {
            Replayed::NeedsPeer | Replayed::Parked => Phase::Replaying(replaying),
            Replayed::Established(Established { tls, unprocessed, waits_later }) => {
                self.ahead.unread(unprocessed);
                self.place = if waits_later { Place::Shard } else { Place::Task };
                Phase::OnTask(tls)
            }
            Replayed::Refused(why) => needs_fiber(why),
            Replayed::NeedsFiber { received } => {
                self.ahead.unread(received);
                Phase::New(replaying.into_config())
            }
            Replayed::Broken(broken) => Phase::SendingAlert(broken.into()),
        }
    }

    /// Runs hooks on the task. If one panics, tells the peer and panics.
    fn run_hooks<T>(
        &mut self,
        hooks: impl FnOnce(&mut Context<'_>) -> T,
        cx: &mut Context<'_>,
    ) -> T {
        match catch_unwind(AssertUnwindSafe(|| hooks(cx))) {
            Ok(done) => done,
            Err(panic) => self.resume_panic(panic, cx),
        }
    }

    /// Law L10: a panic in a hook reaches the caller, here this task.
    fn resume_panic(&mut self, panic: Box<dyn Any + Send>, cx: &mut Context<'_>) -> ! {
        let mut alert = FinalAlert::new(self.alert_in_the_clear(), SslError::Panicked);
        let _ = self.send(&mut alert, cx);
        resume_unwind(panic)
    }

    /// Processes a packet in its place. One that reaches no hook needs no shard.
    fn process(&mut self, work: Work, cx: &mut Context<'_>) -> Phase {
        let processed = match self.place {
            Place::Shard if work.may_pause() => {
                return Phase::OnShard(self.options.shards.process(self.shard, work));
            }
            Place::Shard | Place::Task => self.run_hooks(|_| work.run(), cx),
            Place::TaskAtOnce => self.run_hooks(|_| work.run_at_once(), cx),
        };
        self.after_packet(processed)
    }

    /// The phase after a packet was processed, in place or on a shard.
    fn after_packet(&mut self, processed: Processed) -> Phase {
        match processed {
            Ok(Returned { mut tls, unprocessed, closed }) => {
                self.ahead.unread(unprocessed);
                if closed {
                    self.ahead.close_by_tls();
                }
                self.early.send_with_hello(&mut tls);
                Phase::OnTask(tls)
            }
            Err(broken) => Phase::SendingAlert(broken.into()),
        }
    }

    /// The phase after a shard's reply; `None` when the shard has ended.
    fn after_reply(&mut self, reply: Option<Reply>, cx: &mut Context<'_>) -> Phase {
        let cancel_reason = self.cancel_reason.take();
        match reply {
            Some(Reply::Processed(processed)) => self.after_packet(processed),
            Some(Reply::Panicked(panic)) => self.resume_panic(panic, cx),
            Some(Reply::Cancelled) => {
                self.after_cancel(cancel_reason.expect("a packet is cancelled for a reason"))
            }
            None => {
                let no_reply = || SslError::Failed(self.options.shards.no_reply_error());
                let error = cancel_reason.unwrap_or_else(no_reply);
                Phase::SendingAlert(FinalAlert::new(self.alert_in_the_clear(), error))
            }
        }
    }

    /// The phase after the handshake was cancelled because of the peer.
    fn after_cancel(&self, error: SslError) -> Phase {
        Phase::SendingAlert(match error {
            SslError::Tls(_) if self.role == Role::Server && !self.sent_server_hello => {
                FinalAlert::new(UNEXPECTED_MESSAGE.to_vec(), error)
            }
            _ => FinalAlert::none(error),
        })
    }

    /// Ends the handshake with `error`, cancels its packet, and sends the peer as much of an alert as the transport accepts now.
    fn abort(&mut self, error: SslError, cx: &mut Context<'_>) -> SslError {
        let bytes = match core::mem::replace(self.phase.get_mut(), Phase::Ended) {
            Phase::OnTask(mut tls) => {
                tls.give_up();
                tls.take_output()
            }
            Phase::Replaying(mut replaying) => {
                // A HelloRetryRequest may be sent in part.
                let mut bytes = core::mem::take(replaying.output());
                bytes.extend(self.alert_in_the_clear());
                bytes
            }
            Phase::New(_) | Phase::FirstPacket(_) | Phase::OnShard(_) => self.alert_in_the_clear(),
            Phase::SendingAlert(alert) => return alert.error,
            Phase::Ended => return error,
        };
        let mut alert = FinalAlert::new(bytes, error);
        let _ = self.send(&mut alert, cx);
        alert.error
    }

    fn send(&mut self, alert: &mut FinalAlert, cx: &mut Context<'_>) -> bool {
        let io = self.io.as_mut().expect(HAS_IO);
        alert.send(self.id, &mut SyncIo::new(io, cx), &mut self.ahead)
    }

    /// The alert of a connection that is lost to its packet (law L15: the peer is told of a failure). Empty if the peer
    /// accepts encrypted records only.
    fn alert_in_the_clear(&self) -> Vec<u8> {
        if self.in_the_clear { INTERNAL_ERROR.to_vec() } else { Vec::new() }
    }

    /// Reads ahead while the connection is on a shard or parked by replay. Returns the reason to cancel its packet, if the
    /// peer is gone.
    fn watch_peer(&mut self, packet: PacketAt, cx: &mut Context<'_>) -> Option<SslError> {
        let awaited = match self.role {
            Role::Server if !self.sent_server_hello => {
                Awaited::ClientBeforeServerHello { max_early_data: self.max_early_data }
            }
            Role::Server => Awaited::Client,
            Role::Client => Awaited::Server,
        };
        let io = self.io.as_mut().expect(HAS_IO);
        self.ahead.watch(&mut SyncIo::new(io, cx), awaited);
        self.ahead.reason_to_cancel(awaited, packet)
    }

    /// Sends the output of a replay as far as the transport takes it, and removes it. An error is kept as in
    /// [`poll_flush`](Self::poll_flush).
    fn poll_output(&mut self, output: &mut Vec<u8>, cx: &mut Context<'_>) {
        self.unflushed |= !output.is_empty();
        if !self.unflushed || self.write_error.is_some() {
            return;
        }
        let mut io = self.sync_io(cx);
        let mut send = || {
            while !output.is_empty() {
                let n = io.write(output)?;
                if n == 0 {
                    return Err(std::io::ErrorKind::WriteZero.into());
                }
                output.drain(..n);
            }
            io.flush()
        };
        match to_poll(send()) {
            Ok(flushed) => self.unflushed = flushed.is_pending(),
            Err(error) => self.write_error = Some(error.into()),
        }
    }

    /// Sends everything that the connection has to send.
    ///
    /// A transport that fails to write may still hold bytes from the peer, for instance an alert. So its error is kept until
    /// those are processed or the handshake is `done`.
    fn poll_flush(
        &mut self,
        tls: &mut Tls,
        done: bool,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, SslError> {
        if let Some(error) = self.write_error.take_if(|_| done) {
            return Err(error);
        }
        if tls.wants_write() {
            self.unflushed = true;
            self.sent_server_hello |= !tls.awaits_second_hello();
        }
        if !self.unflushed || self.write_error.is_some() {
            return Ok(Poll::Ready(()));
        }
        let mut io = self.sync_io(cx);
        match to_poll(tls.flush(&mut io).and_then(|()| io.flush())) {
            Ok(flushed) => {
                self.unflushed = flushed.is_pending();
                Ok(flushed)
            }
            Err(error) if done => Err(error.into()),
            Err(error) => {
                self.write_error = Some(error.into());
                Ok(Poll::Ready(()))
            }
        }
    }

    /// The next records.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Result<Poll<Vec<u8>>, SslError> {
        let io = self.io.as_mut().expect(HAS_IO);
        match self.ahead.next(&mut SyncIo::new(io, cx)) {
            Ok(Next::Records(records)) => Ok(Poll::Ready(records)),
            Ok(Next::End(error)) => Err(self.write_error.take().unwrap_or(error)),
            // `next` keeps every other error as the end of the stream.
            Err(_would_block) => self.write_error.take().map_or(Ok(Poll::Pending), Err),
        }
    }

    fn sync_io<'a, 'b>(&'a mut self, cx: &'a mut Context<'b>) -> SyncIo<'a, 'b, IO> {
        SyncIo::new(self.io.as_mut().expect(HAS_IO), cx)
    }
}

impl<IO> Handshake<IO> {
    pub(crate) fn io(&self) -> Option<&IO> {
        self.io.as_ref()
    }

    pub(crate) fn io_mut(&mut self) -> Option<&mut IO> {
        self.io.as_mut()
    }

    /// Ends the handshake and returns the transport.
    pub(crate) fn take_io(&mut self) -> Option<IO> {
        *self.phase.get_mut() = Phase::Ended;
        self.io.take()
    }
}

impl<IO> fmt::Debug for Handshake<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.phase.peek(|phase| match phase {
            Phase::Replaying(_) => "in a replay",
            Phase::New(_) | Phase::FirstPacket(_) => "not begun",
            Phase::OnTask(_) => "on the task",
            Phase::OnShard(_) => "on a shard",
            Phase::SendingAlert(_) => "sending its alert",
            Phase::Ended => "ended",
        });
        f.debug_struct("Handshake")
            .field("ssl", &self.id.as_u64())
            .field("role", &self.role)
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}

/// What a step of a replay came to.
enum Step {
    Replayed(Replayed),
    /// The peer is gone.
    Cancelled(SslError),
}

/// The end of a handshake that needs a fiber where only replay is allowed.
fn needs_fiber(why: Arc<str>) -> Phase {
    Phase::SendingAlert(FinalAlert::new(INTERNAL_ERROR.to_vec(), SslError::NeedsFiber(why)))
}

/// The invariant of [`Handshake::io`].
const HAS_IO: &str = "a handshake has its transport until it has ended";
