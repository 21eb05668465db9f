//! The parts of a session that its calls share.

use std::sync::Arc;

use job_core::Job;

use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::packet::Work;
use crate::rustls23::{ClientConfig, KeyExchange, Processed, ServerConfig, ServerName, Tls};

/// Where the connection is. The picture is in [`packet`](crate::packet).
pub(super) enum State {
    Idle(Tls),
    /// In a packet that has paused.
    Parked(Job<Processed>),
    /// In a packet that has no job yet.
    Unstarted(Work),
    /// Lost, with records to the peer that have not all left.
    SendingAlert(FinalAlert, Report),
    /// Lost.
    Failed(SslError),
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
    pub(super) fn name(&self) -> &'static str {
        match self {
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
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>, ServerName<'static>),
}

impl Origin {
    pub(super) fn open(&self, exchange: &KeyExchange) -> Result<State, SslError> {
        match self {
            // Reaches no hook.
            Self::Server(config) => {
                Tls::server(Arc::clone(config)).map(State::Idle).map_err(SslError::Tls)
            }
            Self::Client(config, name) => Ok(State::client(config, name, exchange)),
        }
    }
}

/// A client's early data that the caller has not read. Kept apart from the connection, so that it can be read while the
/// connection is away in a parked packet.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    taken: usize,
}

impl Received {
    /// The buffer to append to.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
        &mut self.bytes
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        let left = &self.bytes[self.taken..];
        let n = left.len().min(into.len());
        into[..n].copy_from_slice(&left[..n]);
        self.taken += n;
        n
    }
}
