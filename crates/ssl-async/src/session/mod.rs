//! A TLS session: the counterpart of `SSL`.

mod asynchronous;
mod calls;
mod early;
mod machine;

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};
use std::io::{Read, Write};
use std::sync::Arc;

use engine_core::EngineError;
use job_core::JobPool;
use wait_ctx::WaitCtx;

use crate::context::{Settings, SslContext};
use crate::error::SslError;
use crate::packet::{self, FinalAlert};
use crate::read_ahead::ReadAhead;
use crate::rustls23::{ClientConfig, Connection, KeyExchange, ServerConfig, ServerName, Tls};

use early::Received;
pub(crate) use machine::State;

/// The number of a session, unique within the process. What an [`AsyncCallback`](crate::AsyncCallback) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SslId(u64);

impl SslId {
    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub(crate) fn next() -> Self {
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
/// Every call first takes up a packet that is parked, and answers [`Outcome::WantAsync`](crate::Outcome::WantAsync)
/// while it stays parked. No buffer and no operation of the caller is ever parked, only a packet, so any call may
/// follow any other.
///
/// Dropping the session cancels a parked packet. What the device still computes for it is discarded when it arrives.
///
/// `!Send`: a parked packet holds a fiber of this thread. A task that a runtime moves between threads cannot hold a
/// session across an `.await`; with the feature `tokio` there is
/// [`task::TlsAcceptor`](https://docs.rs/ssl-async/latest/ssl_async/task/type.TlsAcceptor.html) for it, whose futures
/// and streams are `Send`. The compiler says so, too, as well as it can: what it finds not to be `Send` in a session is
/// called `StaysOnItsThreadUseTokioTlsAcceptor`.
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
    /// First, for the compiler complains of the fields in their order.
    stays: PhantomData<*const StaysOnItsThreadUseTokioTlsAcceptor>,
    id: SslId,
    io: S,
    pool: JobPool,
    wait_ctx: WaitCtx,
    origin: Origin,
    async_mode: bool,
    exchange: KeyExchange,
    state: State,
    ahead: ReadAhead,
    early: Received,
    is_early_accepted: bool,
    /// Whether a packet has completed the handshake.
    established: bool,
    /// Whether the peer takes an alert in the clear while the connection is not here.
    in_the_clear: bool,
    /// Whether the peer was sent what its last flight answers: from then on that may come.
    answered: bool,
    /// Whether our `close_notify` was queued.
    shut_down: bool,
    /// The transport took nothing any more during the handshake. Counts when what the peer has sent is processed.
    unsendable: Option<SslError>,
    /// What broke the connection, while there is still plaintext from before it.
    broken_by: Option<SslError>,
}

/// What makes a session stay on its thread. The pool and the job would do, but their names help nobody. `Send` is not our
/// trait, so `#[diagnostic::on_unimplemented]` cannot say what to do instead; what the compiler does print is the name of
/// the type that it stumbles over.
enum StaysOnItsThreadUseTokioTlsAcceptor {}

/// How the session's connection came about, so that [`Ssl::clear`] can make another one like it.
enum Origin {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>, ServerName<'static>),
}

impl Origin {
    fn open(&self, exchange: &KeyExchange) -> Result<State, SslError> {
        match self {
            // Reaches no hook.
            Self::Server(config) => {
                Tls::server(Arc::clone(config)).map(State::Idle).map_err(SslError::Tls)
            }
            Self::Client(config, name) => Ok(client(config, name, exchange)),
        }
    }
}

/// A client's connection that is yet to be made: that starts the key exchange, so it runs in a job like a packet.
fn client(config: &Arc<ClientConfig>, name: &ServerName<'static>, exchange: &KeyExchange) -> State {
    let (config, name) = (Arc::clone(config), name.clone());
    State::Unstarted(packet::create(move || Tls::client(config, name), exchange.clone()))
}

impl<S: Read + Write> Ssl<S> {
    /// A server's session on an accepted transport. Nothing happens until the first call.
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
        let origin = Origin::Server(Arc::clone(context.config()));
        let state = origin.open(&KeyExchange::of(context.settings()))?;
        Ok(Self::new(context.settings(), pool, io, ReadAhead::default(), origin, state))
    }

    /// A client's session with the server `name`. Nothing happens until the first call.
    pub fn connect(
        context: &SslContext<ClientConfig>,
        pool: &JobPool,
        name: ServerName<'static>,
        io: S,
    ) -> Self {
        let state = client(context.config(), &name, &KeyExchange::of(context.settings()));
        let origin = Origin::Client(Arc::clone(context.config()), name);
        Self::new(context.settings(), pool, io, ReadAhead::default(), origin, state)
    }

    /// A server's session that goes on from a client's hello: `make` makes its connection, and `ahead` was read behind the
    /// hello.
    pub(crate) fn accepted(
        context: &SslContext<ServerConfig>,
        pool: &JobPool,
        io: S,
        ahead: ReadAhead,
        make: impl FnOnce() -> packet::Processed + Send + 'static,
    ) -> Self {
        let origin = Origin::Server(Arc::clone(context.config()));
        let work = packet::create(make, KeyExchange::of(context.settings()));
        Self::new(context.settings(), pool, io, ahead, origin, State::Unstarted(work))
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
            stays: PhantomData,
            id: SslId::next(),
            io,
            pool: pool.clone(),
            wait_ctx: WaitCtx::new(),
            origin,
            async_mode: settings.async_mode,
            exchange: KeyExchange::of(settings),
            state,
            ahead,
            early: Received::default(),
            is_early_accepted: false,
            established: false,
            in_the_clear: true,
            answered: false,
            shut_down: false,
            unsendable: None,
            broken_by: None,
        };
        session.set_async_callback(settings.callback.clone());
        session.set_async_callback_arg(settings.callback_arg.clone());
        session
    }

    /// Makes the session fit for another connection of the same kind, over the transport `io` (`SSL_clear`). A parked
    /// packet is cancelled first. The old transport comes back, with what was read from it and not processed, as from
    /// [`into_io`](Self::into_io).
    ///
    /// The session keeps its id, callback, routes and descriptors, and the status of its last operation until the next
    /// one begins.
    ///
    /// # Errors
    ///
    /// [`SslError::Tls`] if the configuration is not fit for use.
    pub fn clear(&mut self, io: S) -> Result<(S, Vec<u8>), SslError> {
        // The old state goes first: it may hold the job that holds the wait context.
        self.state = State::Failed(SslError::Panicked);
        match self.origin.open(&self.exchange) {
            Ok(state) => self.state = state,
            Err(error) => {
                self.state = State::Failed(error.clone());
                return Err(error);
            }
        }
        let unprocessed = core::mem::take(&mut self.ahead).into_bytes();
        self.early = Received::default();
        self.is_early_accepted = false;
        self.established = false;
        self.in_the_clear = true;
        self.answered = false;
        self.shut_down = false;
        self.unsendable = None;
        self.broken_by = None;
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
        !self.established
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
            State::Failed(SslError::Failed(cause))
            | State::SendingAlert(FinalAlert { error: SslError::Failed(cause), .. }, _) => {
                Some(cause)
            }
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

    /// Ends the session and gives the transport back, with what was read from it and not processed: what came behind
    /// `close_notify`, or behind the record that completed the handshake. A parked packet is cancelled.
    ///
    /// Another protocol on the same transport begins with those bytes.
    pub fn into_io(self) -> (S, Vec<u8>) {
        (self.io, self.ahead.into_bytes())
    }
}

impl<S> fmt::Debug for Ssl<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ssl")
            .field("id", &self.id.0)
            .field("state", &self.state.name())
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}
