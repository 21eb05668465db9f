//! A TLS session: the counterpart of `SSL`.

use core::fmt;
use core::mem;
use core::sync::atomic::{AtomicU64, Ordering};
use std::io::{self, Read, Write};
use std::sync::Arc;

use engine_core::EngineError;
use job_core::JobPool;
use wait_ctx::{CallbackArg, Status, WaitCtx};

use crate::context::{AsyncCallback, Role, SslContext};
use crate::error::{ClosedDuring, SslError};
use crate::outcome::Outcome;
use crate::packet::{self, Packet, Processed, Work};
use crate::read_ahead::{Peer, ReadAhead};
use crate::rustls23::{self, Connection, ServerName, Tls};

/// The number of a session, unique within the process. What an [`AsyncCallback`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SslId(u64);

impl SslId {
    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SslId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A TLS session over the transport `S`, which must not block.
///
/// Every call first takes up a packet that is parked, and answers [`Outcome::WantAsync`] while it stays parked. No
/// buffer and no operation of the caller is ever parked, only a packet, so any call may follow any other.
///
/// `!Send`: a parked packet holds a fiber of this thread.
pub struct Ssl<S> {
    id: SslId,
    io: S,
    pool: JobPool,
    wait_ctx: WaitCtx,
    async_mode: bool,
    state: State,
    ahead: ReadAhead,
    established: bool,
    /// What the peer did while a packet was parked; acted on when the packet is done, for its data may come first.
    peer_closed: bool,
}

enum State {
    /// The connection is here.
    Idle(Tls),
    /// The connection is in a packet's job.
    Parked(job_core::Job<Processed>),
    /// The connection is in a packet that has no job yet.
    Unstarted(Work),
    /// There is no connection any more.
    Failed(SslError),
}

/// The connection while it is here, or what the caller has to wait for.
enum Here<'a> {
    Tls(&'a mut Tls),
    WantAsync,
    WantAsyncJob,
}

macro_rules! here {
    ($self:ident) => {
        match $self.here()? {
            Here::Tls(tls) => tls,
            Here::WantAsync => return Ok(Outcome::WantAsync),
            Here::WantAsyncJob => return Ok(Outcome::WantAsyncJob),
        }
    };
}

impl<S: Read + Write> Ssl<S> {
    /// A server's session on an accepted transport. Nothing happens until the first call.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the configuration is not fit for use.
    ///
    /// # Panics
    ///
    /// If `context` is a client's.
    pub fn accept(context: &SslContext, pool: &JobPool, io: S) -> Result<Self, SslError> {
        let Role::Server(config) = &context.role else {
            panic!("Ssl::accept needs a context made by SslContext::server")
        };
        let tls = Tls::server(Arc::clone(config)).map_err(SslError::Tls)?;
        Ok(Self::new(context, pool, io, State::Idle(tls)))
    }

    /// A client's session with the server `name`. Nothing happens until the first call.
    ///
    /// # Panics
    ///
    /// If `context` is a server's.
    pub fn connect(context: &SslContext, pool: &JobPool, name: ServerName<'static>, io: S) -> Self {
        let Role::Client(config) = &context.role else {
            panic!("Ssl::connect needs a context made by SslContext::client")
        };
        let config = Arc::clone(config);
        // Creating a client's connection starts the key exchange, so it runs in a job like a packet.
        let work = packet::create(move || Tls::client(config, name));
        Self::new(context, pool, io, State::Unstarted(work))
    }

    fn new(context: &SslContext, pool: &JobPool, io: S, state: State) -> Self {
        let session = Self {
            id: SslId::next(),
            io,
            pool: pool.clone(),
            wait_ctx: WaitCtx::new(),
            async_mode: context.async_mode,
            state,
            ahead: ReadAhead::default(),
            established: false,
            peer_closed: false,
        };
        session.set_async_callback(context.callback.clone());
        session.wait_ctx.set_callback_arg(context.callback_arg.clone());
        session
    }

    /// Carries the handshake on as far as it goes (`SSL_do_handshake`).
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; the session is over then.
    ///
    /// # Panics
    ///
    /// A panic in the session's job is handed on (law L10); the session is over then.
    pub fn do_handshake(&mut self) -> Result<Outcome<()>, SslError> {
        self.take_up()?;
        loop {
            let tls = here!(self);
            let handshaking = tls.is_handshaking();
            if !self.flush_here()? {
                return Ok(Outcome::WantWrite);
            }
            if !handshaking {
                self.established = true;
                return Ok(Outcome::Ready(()));
            }
            if !self.fill_and_process()? {
                return Ok(Outcome::WantRead);
            }
        }
    }

    /// Reads plaintext (`SSL_read`); completes the handshake first. `Ready(0)` after the peer's `close_notify`, and for
    /// an empty buffer.
    ///
    /// # Errors
    ///
    /// Any [`SslError`]; [`SslError::PeerClosed`] if the transport ended without `close_notify`.
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn read(&mut self, into: &mut [u8]) -> Result<Outcome<usize>, SslError> {
        self.take_up()?;
        loop {
            let tls = here!(self);
            match tls.read(into) {
                Ok(n) => return Ok(Outcome::Ready(n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.fail(SslError::PeerClosed(ClosedDuring::Data)));
                }
                Err(error) => return Err(self.fail(error.into())),
            }
            // A full send buffer does not keep the peer's data from being read.
            let _written = self.flush_here()?;
            if !self.fill_and_process()? {
                return Ok(Outcome::WantRead);
            }
        }
    }

    /// Takes plaintext to be sent (`SSL_write`); completes the handshake first. Returns how much was taken: what could
    /// not be sent at once is sent by later calls of any kind, or by [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    ///
    /// # Panics
    ///
    /// As [`do_handshake`](Self::do_handshake).
    pub fn write(&mut self, data: &[u8]) -> Result<Outcome<usize>, SslError> {
        if !self.established {
            match self.do_handshake()? {
                Outcome::Ready(()) => {}
                Outcome::WantRead => return Ok(Outcome::WantRead),
                Outcome::WantWrite => return Ok(Outcome::WantWrite),
                Outcome::WantAsync => return Ok(Outcome::WantAsync),
                Outcome::WantAsyncJob => return Ok(Outcome::WantAsyncJob),
            }
        } else {
            self.take_up()?;
        }
        let tls = here!(self);
        let taken = tls.write(data)?;
        let flushed = self.flush_here()?;
        // Nothing was taken because what was taken before has not left yet.
        if taken == 0 && !data.is_empty() && !flushed {
            return Ok(Outcome::WantWrite);
        }
        Ok(Outcome::Ready(taken))
    }

    /// Sends what [`write`](Self::write) has taken.
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    pub fn flush(&mut self) -> Result<Outcome<()>, SslError> {
        self.take_up()?;
        let _tls = here!(self);
        Ok(if self.flush_here()? { Outcome::Ready(()) } else { Outcome::WantWrite })
    }

    /// Sends `close_notify` (`SSL_shutdown`). The peer's own is seen by [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// Any [`SslError`].
    pub fn shutdown(&mut self) -> Result<Outcome<()>, SslError> {
        self.take_up()?;
        here!(self).send_close_notify();
        self.flush()
    }

    /// Looks after the peer while a packet is parked, without resuming it: reads at most one record ahead, and cancels
    /// the packet if the peer has closed the connection. What an event loop calls when the transport of a parked
    /// session becomes readable.
    ///
    /// # Errors
    ///
    /// [`SslError::PeerClosed`] or [`SslError::Io`]; the session is over then.
    pub fn watch_peer(&mut self) -> Result<(), SslError> {
        if !matches!(self.state, State::Parked(_)) {
            return Ok(());
        }
        match self.ahead.watch(&mut self.io) {
            Ok(Peer::There) => Ok(()),
            // Before the handshake is done nothing that the peer sent can complete it without this packet's answer.
            Ok(Peer::Closed) if !self.established => {
                Err(self.fail(SslError::PeerClosed(ClosedDuring::Handshake)))
            }
            Ok(Peer::Closed) => {
                self.peer_closed = true;
                Ok(())
            }
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// Takes up a packet that is parked or had no job. Once a call, at its beginning: a packet that parks later in the
    /// same call has just begun to wait.
    fn take_up(&mut self) -> Result<(), SslError> {
        // A failed state stands in while the job runs: if it panics, the session is over.
        let packet = match mem::replace(&mut self.state, State::Failed(SslError::Panicked)) {
            State::Idle(tls) => {
                self.state = State::Idle(tls);
                None
            }
            State::Parked(job) => Some(Packet::from(job.resume())),
            State::Unstarted(work) => Some(self.begin(work)),
            State::Failed(error) => {
                self.state = State::Failed(error.clone());
                return Err(error);
            }
        };
        packet.map_or(Ok(()), |packet| self.settle(packet))
    }

    /// The connection, or what to wait for until it is back.
    fn here(&mut self) -> Result<Here<'_>, SslError> {
        if let State::Parked(_) = self.state {
            self.watch_peer()?;
        }
        match &mut self.state {
            State::Idle(tls) => Ok(Here::Tls(tls)),
            State::Parked(_) => Ok(Here::WantAsync),
            State::Unstarted(_) => Ok(Here::WantAsyncJob),
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn begin(&self, work: Work) -> Packet {
        if self.async_mode {
            packet::begin(work, &self.pool, &self.wait_ctx)
        } else {
            Packet::Done(work())
        }
    }

    fn settle(&mut self, packet: Packet) -> Result<(), SslError> {
        match packet {
            Packet::Parked(job) => {
                tracing::trace!(ssl = self.id.0, job = %job.id(), "ssl.parked");
                self.state = State::Parked(job);
            }
            Packet::Unstarted(work) => self.state = State::Unstarted(work),
            Packet::Done(Processed { tls, result }) => match (tls, result) {
                (Some(tls), Ok(())) => self.state = State::Idle(tls),
                (tls, result) => {
                    let error = result.err().map_or(SslError::Panicked, |error| {
                        match rustls23::unwrap(&error) {
                            Some(cause) => SslError::Failed(cause),
                            None => SslError::Tls(error),
                        }
                    });
                    return Err(self.end(tls, error));
                }
            },
        }
        Ok(())
    }

    /// Ends the session with its connection in hand: whatever alert is due goes out as far as the transport takes it.
    fn end(&mut self, tls: Option<Tls>, error: SslError) -> SslError {
        if let Some(mut tls) = tls {
            // rustls queues an alert for what the peer did wrong, but none for an engine's failure (law L15).
            if matches!(error, SslError::Failed(_)) {
                tls.send_close_notify();
            }
            if let Err(unsent) = tls.flush(&mut self.io) {
                tracing::debug!(ssl = self.id.0, %unsent, "ssl.alert_unsent");
            }
        }
        self.fail(error)
    }

    /// Ends the session; a parked packet is cancelled.
    fn fail(&mut self, error: SslError) -> SslError {
        tracing::debug!(ssl = self.id.0, %error, "ssl.failed");
        self.state = State::Failed(error.clone());
        error
    }

    /// Reads once and processes it. False if the transport has nothing now.
    fn fill_and_process(&mut self) -> Result<bool, SslError> {
        let State::Idle(tls) = &mut self.state else { return Ok(true) };
        let read = if !self.ahead.is_empty() {
            tls.fill(&mut self.ahead)
        } else if self.peer_closed {
            tls.fill(&mut io::empty())
        } else {
            tls.fill(&mut self.io)
        };
        match read {
            Ok(0) if !self.established && tls.is_handshaking() => {
                return Err(self.fail(SslError::PeerClosed(ClosedDuring::Handshake)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(self.fail(error.into())),
        }
        if let State::Idle(tls) = mem::replace(&mut self.state, State::Failed(SslError::Panicked)) {
            let packet = self.begin(packet::process(tls));
            self.settle(packet)?;
        }
        Ok(true)
    }

    /// Sends what the connection has to send. False if the transport takes no more now.
    fn flush_here(&mut self) -> Result<bool, SslError> {
        let State::Idle(tls) = &mut self.state else { return Ok(true) };
        match tls.flush(&mut self.io) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(self.fail(error.into())),
        }
    }
}

impl<S> Ssl<S> {
    /// The session's number.
    pub fn id(&self) -> SslId {
        self.id
    }

    /// Whether a packet is parked on an operation of an engine (`SSL_waiting_for_async`).
    pub fn waiting_for_async(&self) -> bool {
        matches!(self.state, State::Parked(_))
    }

    /// Whether the handshake is not done yet.
    pub fn is_handshaking(&self) -> bool {
        !self.established
    }

    /// The status of the session's last operation (`SSL_get_async_status`): [`Status::Unsupported`] before the first.
    pub fn async_status(&self) -> Status {
        self.wait_ctx.status()
    }

    /// Sets, replaces or, with `None`, removes the callback (`SSL_set_async_callback`).
    ///
    /// No call begins after a removal has returned; one that had begun may still be running.
    pub fn set_async_callback(&self, callback: Option<AsyncCallback>) {
        match callback {
            Some(callback) => {
                let id = self.id;
                self.wait_ctx.set_callback(move |why| callback(id, why));
            }
            None => drop(self.wait_ctx.unset_callback()),
        }
    }

    /// Sets or removes the callback's argument (`SSL_set_async_callback_arg`).
    pub fn set_async_callback_arg(&self, arg: Option<CallbackArg>) {
        self.wait_ctx.set_callback_arg(arg);
    }

    /// Switches async mode on or off (`SSL_MODE_ASYNC`). A packet that is parked stays parked; the next one obeys.
    pub fn set_async_mode(&mut self, on: bool) {
        self.async_mode = on;
    }

    /// The session's wait context: its routes, callback and descriptors.
    pub fn wait_ctx(&self) -> &WaitCtx {
        &self.wait_ctx
    }

    /// The connection's properties: protocol version, cipher suite, ALPN, SNI, certificates. `None` while a packet is
    /// parked, for the connection is away with it, and after the session has ended.
    pub fn connection(&self) -> Option<&Connection> {
        match &self.state {
            State::Idle(tls) => Some(tls.connection()),
            _ => None,
        }
    }

    /// The engine's error that ended the session, if one did.
    pub fn failure(&self) -> Option<&EngineError> {
        match &self.state {
            State::Failed(SslError::Failed(cause)) => Some(cause),
            _ => None,
        }
    }

    /// The transport.
    pub fn io(&self) -> &S {
        &self.io
    }

    /// The transport. Reading from it or writing to it breaks the session.
    pub fn io_mut(&mut self) -> &mut S {
        &mut self.io
    }
}

impl<S> fmt::Debug for Ssl<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle(_) => "idle",
            State::Parked(_) => "parked",
            State::Unstarted(_) => "unstarted",
            State::Failed(_) => "failed",
        };
        f.debug_struct("Ssl")
            .field("id", &self.id.0)
            .field("state", &state)
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}
