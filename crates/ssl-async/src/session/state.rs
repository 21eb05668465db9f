//! The parts of a session that its calls share.

use std::sync::Arc;

use job_core::Job;

use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::packet::Work;
use crate::parking::ParkingWay;
use crate::records::INTERNAL_ERROR;
use crate::rustls23::{
    ClientConfig, KeyExchange, Processed, Replay, ServerConfig, ServerName, Tls,
};

/// Where the connection is. The pictures are in [`packet`](crate::packet) and [`replaying`](super::replaying).
pub(super) enum State {
    /// Not made yet: a replay waits for the client's hello, its second one included.
    Replaying(Box<Replay>),
    Idle(Tls),
    Parked(Parked),
    /// In a packet that has no job yet.
    Unstarted(Work),
    /// Lost, with records to the peer that have not all left.
    SendingAlert(Box<FinalAlert>, Report),
    /// Lost.
    Failed(Failure),
}

/// Why a session was lost: a call has panicked, or this. Boxed, because every parked session has room for it.
pub(super) struct Failure(Option<Box<SslError>>);

impl Failure {
    pub(super) fn error(&self) -> &SslError {
        self.0.as_deref().unwrap_or(&SslError::Panicked)
    }
}

impl From<SslError> for Failure {
    fn from(error: SslError) -> Self {
        Self(Some(Box::new(error)))
    }
}

/// What a session is parked in.
pub(super) enum Parked {
    /// A packet that has paused.
    Job(Job<Processed>),
    /// A replay that waits for an answer.
    Replay(Box<Replay>),
}

/// When the caller learns why the session has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// When the alert has left; until then calls want to write.
    WhenSent,
    /// At once; every later call sends what the transport takes.
    AtOnce,
}

impl State {
    /// While a call has the connection or the packet, and for good after a panic in it.
    pub(super) const TAKEN: Self = Self::Failed(Failure(None));

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Replaying(_) => "in a replay",
            Self::Idle(_) => "idle",
            Self::Parked(_) => "parked",
            Self::Unstarted(_) => "unstarted",
            Self::SendingAlert(..) => "sending its alert",
            Self::Failed(_) => "failed",
        }
    }

    /// A client's connection, to be made like a packet: that starts the key exchange.
    pub(super) fn client(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        exchange: &KeyExchange,
    ) -> Self {
        let (config, name) = (Arc::clone(config), name.clone());
        Self::Unstarted(Work::create(move || Tls::client(config, name), exchange.clone()))
    }
}

/// How the connection was made, so that [`Ssl::clear`](crate::Ssl::clear) can make another one.
pub(super) enum Origin {
    Server(Arc<ServerConfig>, ParkingWay),
    Client(Arc<ClientConfig>, ServerName<'static>),
}

impl Origin {
    pub(super) fn open(&self, exchange: &KeyExchange, async_mode: bool) -> Result<State, SslError> {
        if let Some(state) = self.open_replay(exchange, async_mode) {
            return Ok(state);
        }
        match self {
            // Reaches no hook.
            Self::Server(config, _) => {
                Tls::server(Arc::clone(config)).map(State::Idle).map_err(SslError::Tls)
            }
            Self::Client(config, name) => Ok(State::client(config, name, exchange)),
        }
    }

    /// The first state of a session that parks by replay, if this is one.
    pub(super) fn open_replay(&self, exchange: &KeyExchange, async_mode: bool) -> Option<State> {
        match self {
            // With async mode off it is left when the hello comes, because the mode may be switched on before.
            Self::Server(_, ParkingWay::Replay { config, only }) => {
                Some(State::Replaying(Box::new(Replay::new(config, *only, exchange.clone()))))
            }
            Self::Server(_, ParkingWay::Refused(why)) if async_mode => {
                let end = needs_fiber(Arc::clone(why));
                Some(State::SendingAlert(Box::new(end), Report::WhenSent))
            }
            Self::Server(..) | Self::Client(..) => None,
        }
    }

    /// Whether nothing may run on a fiber.
    pub(super) fn excludes_fibers(&self) -> bool {
        let Self::Server(_, ways) = self else { return false };
        matches!(ways, ParkingWay::Replay { only: true, .. } | ParkingWay::Refused(_))
    }
}

/// The end of a session that needs a fiber and may not have one.
pub(super) fn needs_fiber(why: Arc<str>) -> FinalAlert {
    FinalAlert::new(INTERNAL_ERROR.to_vec(), SslError::NeedsFiber(why))
}

/// A client's early data that the caller has not read. Kept apart from the connection, so that it can be read while the
/// connection is away in a parked packet. Boxed, because every parked session has room for it, and hardly any has some.
#[derive(Debug, Default)]
pub(super) struct Received(Option<Box<Unread>>);

#[derive(Debug)]
struct Unread {
    bytes: Vec<u8>,
    taken: usize,
}

impl Received {
    pub(super) fn append(&mut self, bytes: Vec<u8>) {
        match &mut self.0 {
            Some(unread) => unread.bytes.extend(bytes),
            None if bytes.is_empty() => {}
            None => self.0 = Some(Box::new(Unread { bytes, taken: 0 })),
        }
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let Some(unread) = &mut self.0 else { return 0 };
        let left = &unread.bytes[unread.taken..];
        let n = left.len().min(into.len());
        into[..n].copy_from_slice(&left[..n]);
        unread.taken += n;
        if unread.taken == unread.bytes.len() {
            self.0 = None;
        }
        n
    }
}
