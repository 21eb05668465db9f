//! A handshake as a state machine of its task: all reads and writes are here, packets are at a shard.
//!
//! ```text
//!            flush, read                  answer: the connection
//!   Here <----------------+    +-----------------------------------+
//!    |                    |    v                                   |
//!    +-- read something --+-> Away -- answer: broken --> alert --> over
//!    |                         |
//!    | done, and flushed       +-- deadline --> alert --+
//!    |                         +-- peer closed, drop ---+--> Cancel to the shard --> over
//!    v
//!   TlsStream
//! ```
//!
//! Nothing about the transport is known at the shard, so the peer's close, a deadline and a shutdown are what they are
//! for any task: something that it is polled for.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::future::Future;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::Arc;

use engine_core::EngineError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use tracing::Span;

use crate::error::{ClosedDuring, SslError};
use crate::packet::{self, Work};
use crate::read_ahead::{Peer, ReadAhead};
use crate::rustls23::{Due, INTERNAL_ERROR, KeyExchange, ServerConfig, Tls};
use crate::session::SslId;
use crate::tokio::early::EarlyData;
use crate::tokio::shards::Shards;
use crate::tokio::stream::TlsStream;
use crate::tokio::sync_io::SyncIo;
use crate::tokio::visit::{Reply, Visit};

/// Which side of the handshake this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// What handshakes have in common.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) shards: Shards,
    pub(crate) exchange: KeyExchange,
    pub(crate) deadline: Option<Duration>,
}

/// How long a handshake may take unless the program says otherwise. A client on a bad line with a lost packet or two is done in
/// ten seconds; a minute is what servers have given for long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

impl Terms {
    pub(crate) fn new(shards: &Shards) -> Self {
        Self { shards: shards.clone(), exchange: KeyExchange::none(), deadline: Some(DEADLINE) }
    }
}

/// A handshake under way.
pub(crate) struct Handshake<IO> {
    id: SslId,
    role: Role,
    /// Absent once the stream has it.
    io: Option<IO>,
    terms: Terms,
    place: Place,
    ahead: ReadAhead,
    early: EarlyData,
    deadline: Deadline,
    /// Whether the peer takes an alert in the clear while the connection is not here.
    in_the_clear: bool,
    /// Whether the peer was sent something: from then on it may finish the handshake from its side, and half-close.
    answered: bool,
    /// Whether the transport holds something that it may not have sent.
    unflushed: bool,
    /// What the peer did while a packet was away; acted on when it is back, for its data may come first.
    peer_closed: bool,
    span: Span,
}

/// Where the connection is.
enum Place {
    /// Not made yet; making it reaches no hook.
    Plain(Arc<ServerConfig>),
    /// Not made yet; the first packet makes it.
    Unmade(Work),
    Here(Tls),
    Away(Visit),
    /// Nowhere any more.
    Over,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Handshake<IO> {
    /// A server's, on an accepted transport.
    pub(crate) fn server(io: IO, terms: Terms, config: Arc<ServerConfig>) -> Self {
        Self::new(Role::Server, io, terms, Place::Plain(config))
    }

    /// A server's that goes on from a hello: `make` makes the connection, at a shard.
    pub(crate) fn accepted(io: IO, terms: Terms, make: Work) -> Self {
        Self::new(Role::Server, io, terms, Place::Unmade(make))
    }

    /// A client's: `make` makes the connection, at a shard.
    pub(crate) fn client(io: IO, terms: Terms, make: Work) -> Self {
        Self::new(Role::Client, io, terms, Place::Unmade(make))
    }

    /// Sends this with the hello, or behind the handshake if the server does not take it there.
    pub(crate) fn set_early(&mut self, data: Vec<u8>) {
        self.early = EarlyData::new(data);
    }

    fn new(role: Role, io: IO, terms: Terms, place: Place) -> Self {
        let id = SslId::next();
        Self {
            id,
            role,
            io: Some(io),
            terms,
            place,
            ahead: ReadAhead::default(),
            early: EarlyData::default(),
            deadline: Deadline::default(),
            in_the_clear: true,
            answered: false,
            unflushed: false,
            peer_closed: false,
            span: tracing::debug_span!("handshake", ssl = id.as_u64()),
        }
    }

    /// Carries the handshake on as far as it goes.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<TlsStream<IO>, SslError>> {
        let span = self.span.clone();
        let _entered = span.enter();
        let result = match self.advance(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => match self.poll_deadline(cx) {
                Poll::Ready(late) => {
                    self.give_up(cx);
                    Err(SslError::TimedOut(late))
                }
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
                // A packet that is away is cancelled by this.
                self.place = Place::Over;
                Err(error)
            }
        })
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        self.deadline.poll(self.terms.deadline, cx)
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Tls, SslError>> {
        loop {
            match core::mem::replace(&mut self.place, Place::Over) {
                Place::Plain(config) => {
                    self.place = Place::Here(Tls::server(config).map_err(SslError::Tls)?);
                }
                Place::Unmade(work) => self.place = Place::Away(self.terms.shards.visit(work)),
                Place::Away(mut visit) => match Pin::new(&mut visit).poll(cx) {
                    Poll::Ready(answer) => {
                        let mut tls = self.settle(answer, cx)?;
                        self.early.send_with_hello(&mut tls);
                        self.place = Place::Here(tls);
                    }
                    Poll::Pending => {
                        self.watch_peer(cx)?;
                        self.place = Place::Away(visit);
                        return Poll::Pending;
                    }
                },
                Place::Here(mut tls) => {
                    let done = !tls.is_handshaking();
                    if done {
                        self.early.send_behind(&mut tls);
                    }
                    if self.poll_flush(&mut tls, cx)?.is_pending() {
                        self.place = Place::Here(tls);
                        return Poll::Pending;
                    }
                    if done && self.early.is_sent() {
                        return Poll::Ready(Ok(tls));
                    }
                    if done {
                        self.place = Place::Here(tls);
                        continue;
                    }
                    let Poll::Ready(due) = self.poll_fill(&mut tls, cx)? else {
                        self.place = Place::Here(tls);
                        return Poll::Pending;
                    };
                    // What a client's packet has made of the keys is not known until it is back.
                    self.in_the_clear = self.role == Role::Server && tls.speaks_in_the_clear();
                    let work = packet::process(tls, self.terms.exchange.clone());
                    self.place = match due {
                        Due::Packet => Place::Away(self.terms.shards.visit(work)),
                        // Part of a message reaches no hook, and is not worth the trip.
                        _ => Place::Here(self.settle(Some(Ok(work())), cx)?),
                    };
                }
                Place::Over => panic!("a handshake was polled after it had ended"),
            }
        }
    }

    /// What the shard has answered.
    fn settle(&mut self, answer: Option<Reply>, cx: &mut Context<'_>) -> Result<Tls, SslError> {
        match answer {
            Some(Ok(Ok(tls))) => Ok(tls),
            Some(Ok(Err(broken))) => Err(broken.dismiss(self.id, &mut self.sync_io(cx))),
            // Law L10: it surfaces in whoever resumed the job, and that is this task.
            Some(Err(panic)) => {
                self.tell_in_the_clear(cx);
                resume_unwind(panic)
            }
            None => {
                self.tell_in_the_clear(cx);
                Err(SslError::Failed(EngineError::Gone))
            }
        }
    }

    /// Gives the handshake up; a packet that is away is cancelled. The peer is told, as far as the transport takes it now.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        match core::mem::replace(&mut self.place, Place::Over) {
            Place::Here(mut tls) => {
                tls.give_up();
                let mut io = self.sync_io(cx);
                let told = tls.flush(&mut io).and_then(|()| io.flush());
                self.log_unsent(told);
            }
            Place::Plain(_) | Place::Unmade(_) | Place::Away(_) => self.tell_in_the_clear(cx),
            Place::Over => {}
        }
    }

    /// Tells the peer that something failed on this side, when the connection is lost; if a record in the clear is what
    /// it takes (law L15).
    fn tell_in_the_clear(&mut self, cx: &mut Context<'_>) {
        if self.in_the_clear {
            let mut io = self.sync_io(cx);
            let told = io.write_all(&INTERNAL_ERROR).and_then(|()| io.flush());
            self.log_unsent(told);
        }
    }

    fn log_unsent(&self, told: io::Result<()>) {
        if let Err(unsent) = told {
            tracing::debug!(ssl = self.id.as_u64(), %unsent, "ssl.alert_unsent");
        }
    }

    /// Looks after the peer while the connection is away: reads at most one record ahead.
    fn watch_peer(&mut self, cx: &mut Context<'_>) -> Result<(), SslError> {
        if self.peer_closed {
            return Ok(());
        }
        let io = self.io.as_mut().expect(HAS_IO);
        match self.ahead.watch(&mut SyncIo::new(io, cx))? {
            Peer::There => Ok(()),
            // Its last flight may be in the packet, and data behind it: a close after those is no failure.
            Peer::Closed if self.answered && self.role == Role::Server => {
                self.peer_closed = true;
                Ok(())
            }
            Peer::Closed => Err(SslError::PeerClosed(ClosedDuring::Handshake)),
        }
    }

    /// Sends all there is to send.
    fn poll_flush(&mut self, tls: &mut Tls, cx: &mut Context<'_>) -> Result<Poll<()>, SslError> {
        if tls.wants_write() {
            self.answered = true;
            self.unflushed = true;
        }
        if !self.unflushed {
            return Ok(Poll::Ready(()));
        }
        let mut io = self.sync_io(cx);
        let flushed = pending(tls.flush(&mut io).and_then(|()| io.flush()))?;
        self.unflushed = flushed.is_pending();
        Ok(flushed)
    }

    /// Reads until something can be processed.
    fn poll_fill(&mut self, tls: &mut Tls, cx: &mut Context<'_>) -> Result<Poll<Due>, SslError> {
        loop {
            let read = if !self.ahead.is_empty() {
                tls.fill(&mut self.ahead)
            } else if self.peer_closed {
                Ok(0)
            } else {
                tls.fill(&mut self.sync_io(cx))
            };
            match read {
                Ok(0) => return Err(SslError::PeerClosed(ClosedDuring::Handshake)),
                Ok(_) => match tls.due() {
                    Due::Nothing => {}
                    due => return Ok(Poll::Ready(due)),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Poll::Pending);
                }
                Err(error) => return Err(error.into()),
            }
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

    /// Gives the transport back, and the handshake up.
    pub(crate) fn take_io(&mut self) -> Option<IO> {
        self.place = Place::Over;
        self.io.take()
    }
}

impl<IO> fmt::Debug for Handshake<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Plain(_) | Place::Unmade(_) => "not begun",
            Place::Here(_) => "here",
            Place::Away(_) => "away",
            Place::Over => "over",
        };
        f.debug_struct("Handshake")
            .field("ssl", &self.id.as_u64())
            .field("role", &self.role)
            .field("connection", &place)
            .finish_non_exhaustive()
    }
}

/// A deadline that begins with its first poll, for its timer needs a runtime.
#[derive(Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Ready with the limit when it has passed; never without one, and outside a runtime of tokio's, where there is no timer.
    pub(crate) fn poll(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = limit else { return Poll::Pending };
        if self.0.is_none() && Handle::try_current().is_err() {
            return Poll::Pending;
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(cx).map(|()| limit)
    }
}

/// The invariant of [`Handshake::io`].
const HAS_IO: &str = "a handshake has its transport until it has ended";

/// Waiting is no error.
pub(crate) fn pending(result: io::Result<()>) -> io::Result<Poll<()>> {
    match result {
        Ok(()) => Ok(Poll::Ready(())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Poll::Pending),
        Err(error) => Err(error),
    }
}
