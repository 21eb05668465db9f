//! Everything that depends on the version of rustls: 0.23.
//!
//! What rustls 0.24 changes, as far as its development versions show: `Signer::sign` consumes the signer;
//! `SigningKey::algorithm` goes and `public_key` becomes mandatory; records are processed as
//! `process_new_packets(&mut input, &mut plaintext)`; providers are crates of their own. Each of these touches this
//! module only.

mod accept;
mod awaiting;
mod early;
mod exchange;
mod gather;
mod groups;
mod last_words;
pub(crate) mod openings;
mod public_key;
mod resolve;
mod sign;
mod signing_key;
mod slow_key;
#[cfg(feature = "tokio")]
mod streaming;
mod ticketer;
mod verify;

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use engine_core::EngineError;
use rustls::{ClientConnection, OtherError, ProtocolVersion, ServerConnection};

use crate::packet::{Broken, Processed, Remains};
use gather::{Gather, Observed};

pub use accept::{Accepted, Acceptor};
pub(crate) use exchange::KeyExchange;
pub(crate) use gather::Due;
pub use groups::offload_key_exchange;
pub(crate) use last_words::INTERNAL_ERROR;
pub use public_key::{PublicKeyError, key_of_certificate};
pub use resolve::{CertificateRequest, resolve_async, resolve_client_async};
/// An error of the TLS implementation.
pub use rustls::Error as TlsError;
pub(crate) use rustls::pki_types::ServerName;
pub(crate) use rustls::{ClientConfig, Connection, ServerConfig};
pub use sign::offload_key;
pub use signing_key::{SigningWork, offload_signing_key, offload_signing_key_of};
pub use slow_key::{SlowKey, SlowKeyBuilder};
#[cfg(feature = "tokio")]
pub(crate) use streaming::{ClientHello, Hello, HelloReader};
pub use ticketer::offload_tickets;
pub use verify::{PeerCertificate, verify_client_async, verify_server_async};

/// A TLS connection, boxed: it is larger than what can be passed by value onto a fiber.
pub(crate) struct Tls(Box<Inner>);

struct Inner {
    connection: Connection,
    /// Follows what is read.
    gather: Gather,
    /// To be sent before anything that rustls has queued. Empty but for a packet that found something unsent, or failed.
    unsent: Vec<u8>,
}

impl Tls {
    /// A server's connection. Reaches no hook.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        ServerConnection::new(config).map(|connection| Self::new(connection, Gather::default()))
    }

    /// A client's connection. Starts the key exchange, so it belongs in a job.
    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Processed {
        match ClientConnection::new(config, name) {
            Ok(connection) => Ok(Self::new(connection, Gather::default())),
            // The server waits for a hello, and hears why there is none.
            Err(error) => Err(Broken { error, remains: Remains::Alert(INTERNAL_ERROR.to_vec()) }),
        }
    }

    /// A connection; `gather` has followed what it has read.
    fn new(connection: impl Into<Connection>, gather: Gather) -> Self {
        Self(Box::new(Inner { connection: connection.into(), gather, unsent: Vec::new() }))
    }

    /// Processes what has been read. Reaches hooks if it is due as a packet, so it belongs in a job then.
    pub(crate) fn process(&mut self) -> Result<(), TlsError> {
        if !self.is_handshaking() {
            return self.0.connection.process_new_packets().map(drop);
        }
        let before = self.before_packet();
        let processed = self.0.connection.process_new_packets().map(drop);
        processed.inspect_err(|error| self.queue_last_words(&before, error))
    }

    /// Reads ciphertext, as much as one read gives.
    pub(crate) fn fill(&mut self, io: &mut dyn Read) -> io::Result<usize> {
        let is_tls13 = self.0.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let one_record = self.reads_one_record();
        let gather = &mut self.0.gather;
        self.0.connection.read_tls(&mut Observed { io, gather, is_tls13, one_record })
    }

    /// What the bytes filled in since the last call are due.
    pub(crate) fn due(&mut self) -> Due {
        self.0.gather.take()
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.0.unsent.is_empty() || self.0.connection.wants_write()
    }

    /// Writes ciphertext until none is left.
    pub(crate) fn flush(&mut self, io: &mut dyn Write) -> io::Result<()> {
        while self.wants_write() {
            let written = match self.0.unsent.is_empty() {
                true => self.0.connection.write_tls(io),
                false => io.write(&self.0.unsent).inspect(|n| drop(self.0.unsent.drain(..*n))),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.connection.is_handshaking()
    }

    /// Reads plaintext: `WouldBlock` if there is none yet, 0 after `close_notify`, `UnexpectedEof` after an end of
    /// file without one.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.connection.reader().read(into)
    }

    /// As [`read`](Self::read), without taking what was read.
    pub(crate) fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.connection.reader().fill_buf().and_then(|mut plaintext| plaintext.read(into))
    }

    /// Takes plaintext to be sent, as much as its buffer holds.
    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.connection.writer().write(data)
    }

    pub(crate) fn send_close_notify(&mut self) {
        self.0.connection.send_close_notify();
    }

    pub(crate) fn refresh_traffic_keys(&mut self) -> Result<(), TlsError> {
        self.0.connection.refresh_traffic_keys()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }
}

/// Sends an engine's error through rustls. [`unwrap`] finds it again on the other side.
fn wrap(error: EngineError) -> TlsError {
    TlsError::Other(OtherError(Arc::new(error)))
}

/// The engine's error inside an error of rustls, if it is one that [`wrap`] made.
pub(crate) fn unwrap(error: &TlsError) -> Option<EngineError> {
    match error {
        TlsError::Other(OtherError(inner)) => inner.downcast_ref::<EngineError>().cloned(),
        _ => None,
    }
}
