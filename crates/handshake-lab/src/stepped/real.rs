//! Real TLS in virtual time: rustls on both sides, executed, with CPU time from the cost profile.

use crypto_ops::CryptoOp;
use job_core::JobPool;
use ssl_async::{Ssl, SslContext};
use wait_ctx::Route;

use super::{
    protocol::{Client, Protocol},
    wire::End,
};
use crate::{
    keys::Asked,
    load::{ClientError, Clients, TlsClient, Verified},
    scenario::ConnectionKind,
    server::{Connection, Service},
};

#[derive(Debug)]
pub(super) struct Real {
    /// The server's configuration for each device.
    pub(super) contexts: Vec<SslContext>,
    pub(super) clients: Clients,
    /// Counts the signatures that the key was asked for.
    pub(super) asked: Asked,
    /// Counts the signatures that clients have verified.
    pub(super) verified: Verified,
}

impl Protocol for Real {
    type Work = CryptoOp;
    type Session = Connection<End>;
    type Client = TlsClient<End>;

    fn kind(&self, number: u64) -> ConnectionKind {
        self.clients.kind(number)
    }

    fn accept(&self, end: End, pool: &JobPool, route: Option<Route>) -> Option<Connection<End>> {
        let context = self.contexts.get(end.wire().device)?;
        let ssl = Ssl::accept(context, pool, end).ok()?;
        if let Some(route) = route {
            ssl.wait_ctx().notifier().set_route(route);
        }
        Some(Connection::new(ssl, Service::HandshakeOnly, None))
    }

    fn connect(&self, end: End) -> Result<TlsClient<End>, String> {
        let kind = end.wire().kind;
        self.clients.client(kind, end).map_err(|error| error.to_string())
    }

    fn asked(&self) -> u64 {
        self.asked.count()
    }

    fn verified(&self) -> u64 {
        self.verified.count()
    }
}

impl Client for TlsClient<End> {
    type Failure = ClientError;

    fn drive(&mut self) -> Result<bool, ClientError> {
        Self::drive(self)
    }

    fn is_established(&self) -> bool {
        Self::is_established(self)
    }

    fn has_resumed(&self) -> bool {
        Self::has_resumed(self)
    }
}
