//! Clients of every kind that a row mixes: which configuration each gets, and the tickets by which some resume.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{Read, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    ClientConfig, Error, NamedGroup,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::{CertificateDer, ServerName},
};

use super::{
    client::{ClientError, TlsClient},
    verify::{Verified, client_config},
};
use crate::{
    certs::name_of,
    scenario::{ConnectionKind, Mix, TlsVersion},
};

/// Makes the clients of a row, each of the kind that is drawn for it.
#[derive(Debug, Clone)]
pub struct Clients {
    mix: Mix,
    kinds: BTreeMap<ConnectionKind, (ServerName<'static>, Arc<ClientConfig>)>,
    tickets: Arc<Tickets>,
}

impl Clients {
    /// Clients of this mix that trust `ca` alone, or blindly without one; see [`client_config`].
    ///
    /// # Errors
    /// What rustls says about the authority or a version.
    pub fn new(
        mix: &Mix,
        ca: Option<&CertificateDer<'static>>,
        verified: &Verified,
    ) -> Result<Self, Error> {
        let tickets = Arc::new(Tickets::default());
        let mut kinds = BTreeMap::new();
        // One verifier for all of a version: rustls resumes only under that with which the session began.
        let mut versions: BTreeMap<TlsVersion, ClientConfig> = BTreeMap::new();
        for kind in mix.kinds() {
            let mut config = match versions.get(&kind.tls) {
                Some(config) => config.clone(),
                None => client_config(ca, kind.tls, verified)?,
            };
            versions.entry(kind.tls).or_insert_with(|| config.clone());
            if mix.resumes() {
                let gives = kind.resumed.then_some(kind.tls);
                let store = Store { tickets: Arc::clone(&tickets), gives };
                config.resumption = Resumption::store(Arc::new(store));
            }
            let name = ServerName::try_from(name_of(kind.key))
                .map_err(|error| Error::General(error.to_string()))?;
            kinds.insert(kind, (name, Arc::new(config)));
        }
        Ok(Self { mix: mix.clone(), kinds, tickets })
    }

    /// The kind of the connection of this number: as it is drawn, but in full where there is no ticket to resume with.
    pub fn kind(&self, number: u64) -> ConnectionKind {
        let kind = self.mix.draw(number);
        let resumes = kind.resumed && self.tickets.are_there(&self.kinds[&kind].0, kind.tls);
        if resumes { kind } else { kind.full() }
    }

    /// A client of this kind, about to say hello.
    pub(crate) fn client<T: Read + Write>(
        &self,
        kind: ConnectionKind,
        transport: T,
    ) -> Result<TlsClient<T>, ClientError> {
        let (name, config) = &self.kinds[&kind];
        TlsClient::new(transport, config, name)
    }
}

/// What servers have given for the next handshake, by their names.
#[derive(Debug, Default)]
struct Tickets(Mutex<HashMap<ServerName<'static>, OfServer>>);

#[derive(Debug, Default)]
struct OfServer {
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

/// The most tickets for one server: the greatest number of connections.
const MOST: usize = 65_536;

impl Tickets {
    fn are_there(&self, server: &ServerName<'static>, tls: TlsVersion) -> bool {
        self.lock().get(server).is_some_and(|of_server| match tls {
            TlsVersion::Tls12 => of_server.tls12.is_some(),
            TlsVersion::Tls13 => !of_server.tls13.is_empty(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServerName<'static>, OfServer>> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tickets as a client sees them: all of them keep what they get, and those that are to resume take from it.
#[derive(Debug)]
struct Store {
    tickets: Arc<Tickets>,
    /// Only what is of the client's version: rustls would take another one's ticket and leave it unused.
    gives: Option<TlsVersion>,
}

impl ClientSessionStore for Store {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: NamedGroup) {
        // There is one group.
    }

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.tickets.lock().entry(server).or_default().tls12 = Some(value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        // A session of TLS 1.2 may be resumed as often as one likes (RFC 5246, 7.3).
        if self.gives != Some(TlsVersion::Tls12) {
            return None;
        }
        self.tickets.lock().get(&server.to_owned())?.tls12.clone()
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {
        // Asked for after a handshake over TLS 1.3, lest the same client should fall back. Here another one has it.
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = self.tickets.lock();
        let tls13 = &mut tickets.entry(server).or_default().tls13;
        if tls13.len() == MOST {
            tls13.pop_front();
        }
        tls13.push_back(value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // Each is used once (RFC 8446, C.4).
        if self.gives != Some(TlsVersion::Tls13) {
            return None;
        }
        self.tickets.lock().get_mut(server)?.tls13.pop_back()
    }
}
