//! A handshake as a state machine of its task: all reads and writes are here, packets are at a shard.
//!
//! ```text
//!          answer: the connection
//!   Here <---------------------------+
//!    |                               |
//!    +-- read whole records ------> Away -- answer: broken --> SendingAlert -- sent --> over
//!    |                               |
//!    | done, and flushed             +-- drop --> Cancel to the shard ----------------> over
//!    |                               +-- deadline --> Cancel to the shard, alert -----> over
//!    v                               +-- peer closed --> Abandon -- answer -----------> over
//!   TlsStream
//! ```
//!
//! Nothing about the transport is known at the shard, so the peer's close, a deadline and a shutdown are what they are
//! for any task: something that it is polled for. What the peer's close means for a packet that is away is decided in
//! [`read_ahead`](crate::read_ahead); whether the packet is parked, only its shard knows, so the shard is asked.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::future::Future;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use tracing::Span;

use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::id::SslId;
use crate::packet::Work;
use crate::read_ahead::{Awaited, Next, PacketAt, ReadAhead};
use crate::records::{INTERNAL_ERROR, UNEXPECTED_MESSAGE};
use crate::rustls23::{Hello, KeyExchange, Returned, ServerConfig, Tls};
use crate::task::early::EarlyData;
use crate::task::shards::{Shards, UnderWay};
use crate::task::stream::TlsStream;
use crate::task::sync_io::SyncIo;
use crate::task::visit::{Reply, Visit};

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
        Self { shards: shards.clone(), exchange: KeyExchange::default(), deadline: Some(DEADLINE) }
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
    /// How much early data a server takes; none, a client.
    max_early_data: u32,
    /// Whether the peer was sent what its last flight answers: from then on that may come.
    answered: bool,
    /// Whether the transport holds something that it may not have sent.
    unflushed: bool,
    /// Why the shard was asked to give the packet up.
    abandoned: Option<SslError>,
    /// The transport takes nothing any more. Counts when what the peer has sent is processed.
    unsendable: Option<SslError>,
    span: Span,
    _under_way: UnderWay,
}

/// Where the connection is.
enum Place {
    /// Not made yet; making it reaches no hook.
    Plain(Arc<ServerConfig>),
    /// Not made yet; the first packet makes it.
    Unmade(Work),
    Here(Tls),
    Away(Visit),
    /// Lost, and the records that tell the peer have not all left.
    SendingAlert(FinalAlert),
    /// Nowhere any more.
    Over,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Handshake<IO> {
    /// A server's, on an accepted transport.
    pub(crate) fn server(io: IO, terms: Terms, config: Arc<ServerConfig>) -> Self {
        let max_early_data = config.max_early_data_size;
        Self { max_early_data, ..Self::new(Role::Server, io, terms, Place::Plain(config)) }
    }

    /// A server's that goes on from a hello, which is taken from the front of `io` with what is in `ahead`.
    pub(crate) fn accepted(
        io: IO,
        ahead: ReadAhead,
        terms: Terms,
        config: Arc<ServerConfig>,
        hello: Hello,
    ) -> Self {
        let max_early_data = config.max_early_data_size;
        let make = Work::create(move || hello.into_processed(config), terms.exchange.clone());
        Self { max_early_data, ahead, ..Self::new(Role::Server, io, terms, Place::Unmade(make)) }
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
            _under_way: terms.shards.begin_handshake(),
            id,
            role,
            io: Some(io),
            terms,
            place,
            ahead: ReadAhead::default(),
            early: EarlyData::default(),
            deadline: Deadline::default(),
            in_the_clear: true,
            max_early_data: 0,
            answered: false,
            unflushed: false,
            abandoned: None,
            unsendable: None,
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
                Poll::Ready(late) => Err(self.give_up(SslError::TimedOut(late), cx)),
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
                        let gave_up = self.abandoned.take();
                        self.place = self.settle(answer, gave_up, cx)?;
                    }
                    Poll::Pending => {
                        self.watch_peer(&visit, cx);
                        self.place = Place::Away(visit);
                        return Poll::Pending;
                    }
                },
                Place::Here(mut tls) => {
                    let done = !tls.is_handshaking();
                    if done {
                        self.early.send_behind(&mut tls);
                    }
                    let flushed = self.poll_flush(&mut tls, done, cx)?;
                    if done && flushed.is_pending() {
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
                    // A transport that takes no more now does not keep the peer's bytes from being read.
                    let Poll::Ready(records) = self.poll_next(cx)? else {
                        self.place = Place::Here(tls);
                        return Poll::Pending;
                    };
                    // What a client's packet has made of the keys is not known until it is back.
                    self.in_the_clear = self.role == Role::Server && tls.speaks_in_the_clear();
                    let work = Work::records(tls, records, self.terms.exchange.clone());
                    self.place = match work.may_pause() {
                        true => Place::Away(self.terms.shards.visit(work)),
                        false => self.settle(Some(Reply::Processed(work.run())), None, cx)?,
                    };
                }
                Place::SendingAlert(mut alert) => {
                    if self.send(&mut alert, cx) {
                        return Poll::Ready(Err(alert.error));
                    }
                    self.place = Place::SendingAlert(alert);
                    return Poll::Pending;
                }
                Place::Over => panic!("a handshake was polled after it had ended"),
            }
        }
    }

    /// What the shard has answered, after it was perhaps asked to give the packet up.
    fn settle(
        &mut self,
        answer: Option<Reply>,
        gave_up: Option<SslError>,
        cx: &mut Context<'_>,
    ) -> Result<Place, SslError> {
        match answer {
            Some(Reply::Processed(Ok(back))) => {
                let Returned { mut tls, unprocessed, closed } = back;
                self.ahead.unread(unprocessed);
                if closed {
                    self.ahead.close_by_tls();
                }
                self.early.send_with_hello(&mut tls);
                Ok(Place::Here(tls))
            }
            Some(Reply::Processed(Err(broken))) => Ok(Place::SendingAlert(broken.into())),
            // Law L10: it surfaces in whoever resumed the job, and that is this task.
            Some(Reply::Panicked(panic)) => {
                let mut alert = FinalAlert::new(self.alert_in_the_clear(), SslError::Panicked);
                let _told = self.send(&mut alert, cx);
                resume_unwind(panic)
            }
            Some(Reply::Abandoned) => {
                let error = gave_up.expect("a packet is abandoned for a reason");
                Ok(Place::SendingAlert(match error {
                    SslError::Tls(_) if self.role == Role::Server && !self.answered => {
                        FinalAlert::new(UNEXPECTED_MESSAGE.to_vec(), error)
                    }
                    _ => FinalAlert::none(error),
                }))
            }
            None => {
                let why_gone = || SslError::Failed(self.terms.shards.why_gone());
                let error = gave_up.unwrap_or_else(why_gone);
                Ok(Place::SendingAlert(FinalAlert::new(self.alert_in_the_clear(), error)))
            }
        }
    }

    /// Gives the handshake up; a packet that is away is cancelled. The peer is told, as far as the transport takes it now.
    fn give_up(&mut self, error: SslError, cx: &mut Context<'_>) -> SslError {
        let bytes = match core::mem::replace(&mut self.place, Place::Over) {
            Place::Here(mut tls) => {
                tls.give_up();
                tls.take_output()
            }
            Place::Plain(_) | Place::Unmade(_) | Place::Away(_) => self.alert_in_the_clear(),
            Place::SendingAlert(alert) => return alert.error,
            Place::Over => return error,
        };
        let mut alert = FinalAlert::new(bytes, error);
        let _told = self.send(&mut alert, cx);
        alert.error
    }

    fn send(&mut self, alert: &mut FinalAlert, cx: &mut Context<'_>) -> bool {
        let io = self.io.as_mut().expect(HAS_IO);
        alert.send(self.id, &mut SyncIo::new(io, cx), &mut self.ahead)
    }

    /// What tells the peer that something failed on this side, when the connection is lost; if a record in the clear is
    /// what it takes (law L15).
    fn alert_in_the_clear(&self) -> Vec<u8> {
        if self.in_the_clear { INTERNAL_ERROR.to_vec() } else { Vec::new() }
    }

    /// Looks after the peer while the connection is away: reads ahead.
    fn watch_peer(&mut self, visit: &Visit, cx: &mut Context<'_>) {
        let awaited = match self.role {
            Role::Server if !self.answered => {
                Awaited::ClientBeforeServerHello { max_early_data: self.max_early_data }
            }
            Role::Server => Awaited::Client,
            Role::Client => Awaited::Server,
        };
        let io = self.io.as_mut().expect(HAS_IO);
        self.ahead.watch(&mut SyncIo::new(io, cx), awaited);
        if self.abandoned.is_none() {
            // The stricter of the two: the shard may have no job for it yet.
            self.abandoned = self.ahead.reason_to_cancel(awaited, PacketAt::Waiting);
            if self.abandoned.is_some() {
                visit.abandon();
            }
        }
    }

    /// Sends all there is to send.
    ///
    /// A transport that takes nothing any more may still hold what the peer has said, an alert perhaps. So its error waits
    /// until that is read, or the handshake is `done`.
    fn poll_flush(
        &mut self,
        tls: &mut Tls,
        done: bool,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, SslError> {
        if let Some(error) = self.unsendable.take_if(|_| done) {
            return Err(error);
        }
        if tls.wants_write() {
            self.unflushed = true;
            self.answered |= !tls.awaits_second_hello();
        }
        if !self.unflushed || self.unsendable.is_some() {
            return Ok(Poll::Ready(()));
        }
        let mut io = self.sync_io(cx);
        match pending(tls.flush(&mut io).and_then(|()| io.flush())) {
            Ok(flushed) => {
                self.unflushed = flushed.is_pending();
                Ok(flushed)
            }
            Err(error) if done => Err(error.into()),
            Err(error) => {
                self.unsendable = Some(error.into());
                Ok(Poll::Ready(()))
            }
        }
    }

    /// The next records.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Result<Poll<Vec<u8>>, SslError> {
        let io = self.io.as_mut().expect(HAS_IO);
        match self.ahead.next(&mut SyncIo::new(io, cx)) {
            Ok(Next::Records(records)) => Ok(Poll::Ready(records)),
            Ok(Next::End(error)) => Err(self.unsendable.take().unwrap_or(error)),
            // Only a transport that would block is an error here.
            Err(_would_block) => self.unsendable.take().map_or(Ok(Poll::Pending), Err),
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
            Place::SendingAlert(_) => "sending its alert",
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
