//! Servers that talk bytes, in each way of serving: by plain rustls, by replay, and in the ways of other crates' tests.

use std::io::ErrorKind;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ServerConnection;
use rustls::sign::SigningKey;
use rustls::{Error, ServerConfig};
use tls_replay::{
    ReplayConfig, ReplayError, ReplayKey, Session, SessionOptions, SessionStage, replayable,
};

/// A way of serving: what it changes in a configuration, and its servers.
pub(crate) trait Way {
    fn provider(&self, provider: CryptoProvider) -> CryptoProvider;

    /// A key that this way can wait for.
    fn key(&self, key: Arc<dyn SigningKey>) -> Arc<dyn SigningKey>;

    /// What it sends after a failure of its own, for which rustls has no alert.
    fn failure_alert(&self) -> &'static [u8] {
        &[]
    }

    /// Each call makes the server of one more connection.
    fn servers(&self, config: ServerConfig) -> Box<dyn Fn() -> Server>;
}

/// Adds to what plain rustls has sent the alert of `way`, after an error for which rustls has none. Says whether there is one.
pub(crate) fn add_failure_alert(
    way: &dyn Way,
    error: Option<&ReplayError>,
    sent: &mut Vec<u8>,
) -> bool {
    let failed = matches!(error, Some(ReplayError::Tls(Error::General(_))));
    let has_alert = sent.rchunks(7).next().is_some_and(|last| last.starts_with(&[21, 3, 3, 0, 2]));
    let alert = if failed && !has_alert { way.failure_alert() } else { &[] };
    sent.extend(alert);
    !alert.is_empty()
}

pub(crate) struct PlainRustls;

impl Way for PlainRustls {
    fn provider(&self, provider: CryptoProvider) -> CryptoProvider {
        provider
    }

    fn key(&self, key: Arc<dyn SigningKey>) -> Arc<dyn SigningKey> {
        key
    }

    fn servers(&self, config: ServerConfig) -> Box<dyn Fn() -> Server> {
        let config = Arc::new(config);
        Box::new(move || {
            Server::Plain(Box::new(ServerConnection::new(Arc::clone(&config)).unwrap()))
        })
    }
}

pub(crate) struct ByReplay;

impl Way for ByReplay {
    fn provider(&self, provider: CryptoProvider) -> CryptoProvider {
        replayable(provider)
    }

    fn key(&self, key: Arc<dyn SigningKey>) -> Arc<dyn SigningKey> {
        Arc::new(ReplayKey::new(key))
    }

    fn servers(&self, config: ServerConfig) -> Box<dyn Fn() -> Server> {
        let config = ReplayConfig::new(config).unwrap();
        Box::new(move || Server::Replay(Session::new(config.clone(), SessionOptions::default())))
    }
}

/// A server whose questions are answered by its way.
pub(crate) trait AnsweredServer {
    /// Takes bytes from the client, and appends those to send.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ReplayError>;

    fn is_handshaking(&self) -> bool;
}

/// The server of one connection.
pub(crate) enum Server {
    Replay(Session),
    Plain(Box<ServerConnection>),
    #[allow(dead_code, reason = "for the tests of other crates")]
    Answered(Box<dyn AnsweredServer>),
}

impl Server {
    /// Takes bytes from the client, and appends those to send.
    pub(crate) fn hear(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<SessionStage, ReplayError> {
        let heard = match self {
            Self::Replay(session) => return session.hear(bytes, out),
            Self::Plain(connection) => {
                let heard = read(connection, bytes);
                while connection.wants_write() {
                    connection.write_tls(out).unwrap();
                }
                heard.map_err(ReplayError::from)
            }
            Self::Answered(server) => server.hear(bytes, out),
        };
        heard.map(|()| SessionStage::Established)
    }

    /// The rustls connection, once there is one; not of an [`AnsweredServer`].
    pub(crate) fn connection(&mut self) -> Option<&mut ServerConnection> {
        match self {
            Self::Replay(session) => session.connection(),
            Self::Plain(connection) => Some(connection),
            Self::Answered(_) => None,
        }
    }

    pub(crate) fn is_handshaking(&mut self) -> bool {
        match self {
            Self::Answered(server) => server.is_handshaking(),
            _ => self.connection().is_none_or(|connection| connection.is_handshaking()),
        }
    }
}

/// Ends early while the connection has no room for more plaintext.
fn read(connection: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        match connection.read_tls(&mut bytes) {
            Ok(0) => break,
            Ok(_) => {
                connection.process_new_packets()?;
            }
            // A message that is too long.
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(Error::General(error.to_string()));
            }
            Err(_no_room) => break,
        }
    }
    Ok(())
}
