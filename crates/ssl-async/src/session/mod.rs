//! A TLS session: the counterpart of `SSL`.

mod asynchronous;
mod calls;
mod early;
mod machine;
mod replaying;
mod state;

use core::fmt;
use core::marker::PhantomData;
use std::io::{Read, Write};
use std::sync::Arc;

use engine_core::EngineError;
use job_core::JobPool;
use wait_ctx::WaitCtx;

use crate::context::{Settings, SslContext};
use crate::error::SslError;
use crate::id::SslId;
use crate::packet::Work;
use crate::read_ahead::ReadAhead;
use crate::rustls23::{ClientConfig, Connection, Hello, KeyExchange, ServerConfig, ServerName};

use state::{Origin, Received, State};

/// A TLS session over the transport `S`, which must not block.
///
/// Every call first resumes a parked packet, and returns [`Outcome::WantAsync`](crate::Outcome::WantAsync) while it stays
/// parked. Only packets park, never a caller's buffer or operation, so any call may follow any other.
///
/// Dropping the session cancels a parked packet. What the device still computes for it is discarded when it arrives.
///
/// `!Send`: a parked packet holds a fiber of this thread. A task that a runtime moves between threads cannot hold a
/// session across an `.await`; with the feature `tokio` there is
/// [`task::TlsAcceptor`](https://docs.rs/layby-ssl-async/latest/ssl_async/task/type.TlsAcceptor.html) for it, whose futures
/// and streams are `Send`. The compiler's message points there: the type that it reports as not `Send` is called
/// `StaysOnItsThreadUseTokioTlsAcceptor`.
///
/// ```compile_fail
/// fn needs_send<T: Send>() {}
/// needs_send::<ssl_async::Ssl<std::net::TcpStream>>();
/// ```
/// ```
/// fn needs_nothing<T>() {}
/// needs_nothing::<ssl_async::Ssl<std::net::TcpStream>>();
/// ```
pub struct Ssl<S> {
    /// Must be first: rustc reports the first `!Send` field.
    not_send: PhantomData<*const StaysOnItsThreadUseTokioTlsAcceptor>,
    id: SslId,
    io: S,
    pool: JobPool,
    /// Before the wait context: what it is parked in is cancelled by its own drop, which tells the engine.
    state: State,
    wait_ctx: WaitCtx,
    origin: Origin,
    async_mode: bool,
    exchange: KeyExchange,
    ahead: ReadAhead,
    progress: Progress,
}

/// What has happened on the current connection. [`Ssl::clear`] resets all of it.
#[derive(Default)]
struct Progress {
    early: Received,
    is_early_accepted: bool,
    /// A packet has completed the handshake.
    established: bool,
    /// A record of the handshake's own flights has not left yet.
    flight_unsent: bool,
    /// The peer may expect encrypted records, so an alert in the clear is of no use while the connection is away.
    encrypted: bool,
    /// The flight that the peer's last flight answers was sent, so that one may come.
    answered: bool,
    /// A replay has found that nothing in the rest of the handshake waits, so its packets need no fiber.
    off_fibers: bool,
    /// Our `close_notify` was queued.
    shut_down: bool,
    /// Writing failed during the handshake. Reported once the peer's bytes are processed.
    unsendable: Option<Box<SslError>>,
    /// The error that broke the connection, while there is still plaintext from before it.
    broken_by: Option<Box<SslError>>,
}

/// Makes a session `!Send`. The pool and the job would do that too, but their names would not tell the reader of the
/// compiler's message what to use instead. (`#[diagnostic::on_unimplemented]` works for traits of one's own only.)
enum StaysOnItsThreadUseTokioTlsAcceptor {}

impl<S: Read + Write> Ssl<S> {
    /// Makes a server's session on an accepted transport. Does no I/O before the first call.
    ///
    /// To see the client's hello before the configuration is chosen, use [`Acceptor`](crate::Acceptor).
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the configuration is not fit for use.
    pub fn accept(
        context: &SslContext<ServerConfig>,
        pool: &JobPool,
        io: S,
    ) -> Result<Self, SslError> {
        let origin = Origin::Server(Arc::clone(context.config()), context.parking_way());
        let state = origin.open(&context.settings().exchange, context.settings().async_mode)?;
        Ok(Self::new(context.settings(), pool, io, ReadAhead::default(), origin, state))
    }

    /// Makes a client's session with the server `name`. Does no I/O before the first call.
    pub fn connect(
        context: &SslContext<ClientConfig>,
        pool: &JobPool,
        name: ServerName<'static>,
        io: S,
    ) -> Self {
        let state = State::client(context.config(), &name, &context.settings().exchange);
        let origin = Origin::Client(Arc::clone(context.config()), name);
        Self::new(context.settings(), pool, io, ReadAhead::default(), origin, state)
    }

    /// Makes a server's session from a client's hello; `ahead` was read behind it.
    pub(crate) fn accepted(
        context: &SslContext<ServerConfig>,
        pool: &JobPool,
        io: S,
        mut ahead: ReadAhead,
        hello: Hello,
    ) -> Self {
        let settings = context.settings();
        let config = Arc::clone(context.config());
        let origin = Origin::Server(Arc::clone(&config), context.parking_way());
        let state = if let Some(state) = origin.open_replay(&settings.exchange, settings.async_mode)
        {
            ahead.unread(hello.into_bytes());
            state
        } else {
            let make = move || hello.into_processed(config);
            State::Unstarted(Work::create(make, settings.exchange.clone()))
        };
        Self::new(settings, pool, io, ahead, origin, state)
    }

    fn new(
        settings: &Settings,
        pool: &JobPool,
        io: S,
        ahead: ReadAhead,
        origin: Origin,
        state: State,
    ) -> Self {
        let session = Self {
            not_send: PhantomData,
            id: SslId::next(),
            io,
            pool: pool.clone(),
            wait_ctx: WaitCtx::new(),
            origin,
            async_mode: settings.async_mode,
            exchange: settings.exchange.clone(),
            state,
            ahead,
            progress: Progress::default(),
        };
        session.set_async_callback(settings.callback.clone());
        session.set_async_callback_arg(settings.callback_arg.clone());
        session
    }

    /// Prepares the session for another connection of the same kind, over the transport `io` (`SSL_clear`). Cancels a
    /// parked packet first. Returns the old transport and the bytes read from it but not processed, as
    /// [`into_io`](Self::into_io) does.
    ///
    /// The session keeps its id, callback, routes and descriptors, and the status of its last operation until the next
    /// one begins.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the configuration is not fit for use.
    pub fn clear(&mut self, io: S) -> Result<(S, Vec<u8>), SslError> {
        // Drops the old state before the new one is made: it may hold the job that holds the wait context.
        self.state = State::TAKEN;
        match self.origin.open(&self.exchange, self.async_mode) {
            Ok(state) => self.state = state,
            Err(error) => {
                self.state = State::Failed(error.clone().into());
                return Err(error);
            }
        }
        let unprocessed = core::mem::take(&mut self.ahead).into_bytes();
        self.progress = Progress::default();
        Ok((core::mem::replace(&mut self.io, io), unprocessed))
    }
}

impl<S> Ssl<S> {
    /// The session's number.
    pub fn id(&self) -> SslId {
        self.id
    }

    /// Whether the handshake is not done yet.
    pub fn is_handshaking(&self) -> bool {
        !self.progress.established
    }

    /// The connection's properties: protocol version, cipher suite, ALPN, SNI, certificates. `None` while a packet is
    /// parked, because the packet owns the connection, before a handshake by [replay](crate::Parking) has its client's
    /// hello, and after the session has ended.
    pub fn connection(&self) -> Option<&Connection> {
        match &self.state {
            State::Idle(tls) => Some(tls.connection()),
            _ => None,
        }
    }

    /// As [`connection`](Self::connection), mutable: for buffer limits. Reading from it, writing to it or processing its
    /// packets breaks the session.
    pub fn connection_mut(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Idle(tls) => Some(tls.connection_mut()),
            _ => None,
        }
    }

    /// The engine's error that ended the session, if one did.
    pub fn failure(&self) -> Option<&EngineError> {
        let error = match &self.state {
            State::Failed(failure) => failure.error(),
            State::SendingAlert(alert, _) => &alert.error,
            _ => return None,
        };
        match error {
            SslError::Failed(cause) => Some(cause),
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

    /// Ends the session; cancels a parked packet. Returns the transport and the bytes read from it but not processed:
    /// those behind `close_notify`, or behind the record that completed the handshake.
    ///
    /// Another protocol on the same transport begins with those bytes.
    pub fn into_io(self) -> (S, Vec<u8>) {
        (self.io, self.ahead.into_bytes())
    }
}

impl<S> fmt::Debug for Ssl<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ssl")
            .field("id", &self.id.as_u64())
            .field("state", &self.state.name())
            .field("established", &self.progress.established)
            .finish_non_exhaustive()
    }
}
