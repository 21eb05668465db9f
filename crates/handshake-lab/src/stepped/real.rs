//! Real TLS in virtual time: rustls on both sides, executed, with CPU time from the cost profile.

use crypto_ops::CryptoOp;
use job_core::JobPool;
use rustls::Error;
use ssl_async::{Ssl, SslContext};
use wait_ctx::Route;

use super::{
    protocol::{Client, Protocol},
    trials::TriedClients,
    wire::End,
};
use crate::{
    evidence::Replays,
    keys::Asked,
    load::{ClientError, Clients, TlsClient, Verified},
    passes::Passes,
    scenario::{ConnectionKind, TlsVersion},
    server::{Connection, Service},
};

#[derive(Debug)]
pub(super) struct Real {
    /// The server's configuration for each device.
    pub(super) contexts: Vec<SslContext>,
    pub(super) clients: Clients,
    /// Clients with which a seed tries handshakes by replay, instead of those.
    pub(super) tried: Option<TriedClients>,
    /// Counts the signatures that the key was asked for.
    pub(super) asked: Asked,
    /// Counts the signatures that clients have verified.
    pub(super) verified: Verified,
    /// Watches handshakes by replay, if they are parked so.
    pub(super) passes: Option<Passes>,
}

impl Protocol for Real {
    type Work = CryptoOp;
    type Session = Connection<End>;
    type Client = RealClient;

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

    fn connect(&self, end: End) -> Result<RealClient, String> {
        let (kind, number) = (end.wire().kind, end.wire().number);
        let passes = self.passes.clone();
        let tried = self.tried.as_ref().zip(passes.as_ref());
        let is_unfit = tried.is_some_and(|(tried, _)| tried.is_unfit(number));
        let tls = match tried {
            Some((tried, passes)) => tried.client(number, end, passes),
            None => self.clients.client(kind, end),
        };
        let tls = tls.map_err(|error| error.to_string())?;
        Ok(RealClient { tls, is_tls13: kind.tls == TlsVersion::Tls13, is_unfit, passes })
    }

    fn asked(&self) -> u64 {
        self.asked.count()
    }

    fn verified(&self) -> u64 {
        self.verified.count()
    }

    fn replays(&self) -> Option<Replays> {
        self.passes.as_ref().map(Passes::counts)
    }
}

/// A client that notes what a server by replay must not have sent.
#[derive(Debug)]
pub(super) struct RealClient {
    tls: TlsClient<End>,
    is_tls13: bool,
    /// It offers only what the server has not.
    is_unfit: bool,
    passes: Option<Passes>,
}

impl RealClient {
    fn note(&self, failure: &ClientError) {
        let Some(passes) =
            self.passes.as_ref().filter(|_| !self.tls.transport.wire().given_up.get())
        else {
            return;
        };
        let answered = self.tls.has_heard_hello();
        let misled = match failure {
            ClientError::Tls(Error::AlertReceived(_)) => answered && !self.is_unfit,
            ClientError::Tls(_) => true,
            // The server may give a session up at any time: one that resumes has been answered before.
            ClientError::ClosedEarly | ClientError::ClosedAbruptly | ClientError::Io(_) => false,
        };
        // Over TLS 1.3 the server has said hello before it chooses an application protocol (RFC 8446, 4.3.1).
        let early = self.is_unfit && self.is_tls13 && !answered;
        passes.count(|counts| {
            counts.misled += u64::from(misled);
            counts.refused_early += u64::from(early);
        });
    }
}

impl Client for RealClient {
    type Failure = ClientError;

    fn drive(&mut self) -> Result<bool, ClientError> {
        self.tls.drive().inspect_err(|failure| self.note(failure))
    }

    fn is_established(&self) -> bool {
        self.tls.is_established()
    }

    fn has_resumed(&self) -> bool {
        self.tls.has_resumed()
    }
}
