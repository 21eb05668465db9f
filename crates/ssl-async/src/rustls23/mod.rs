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
pub(crate) mod groups;
mod hello;
mod last_words;
mod no_certificate;
pub(crate) mod openings;
pub(crate) mod public_key;
pub(crate) mod resolve;
pub(crate) mod sign;
pub(crate) mod signing_key;
mod slow_key;
#[cfg(feature = "tokio")]
mod streaming;
pub(crate) mod ticketer;
pub(crate) mod verify;

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use engine_core::EngineError;
use rustls::{
    ClientConnection, HandshakeKind, InvalidMessage, OtherError, ProtocolVersion, ServerConnection,
};

use crate::packet::{Broken, Processed, Remains};
use crate::records::{self, Front};
use gather::Gather;

pub use accept::{Accepted, Acceptor};
pub(crate) use exchange::KeyExchange;
pub(crate) use gather::Due;
pub(crate) use last_words::INTERNAL_ERROR;
/// An error of the TLS implementation.
pub use rustls::Error as TlsError;
pub(crate) use rustls::pki_types::ServerName;
pub(crate) use rustls::{ClientConfig, Connection, ServerConfig};
pub use slow_key::{SlowKey, SlowKeyBuilder};
#[cfg(feature = "tokio")]
pub(crate) use {
    hello::{Hello, HelloReader},
    rustls::server::ClientHello,
};

/// A TLS connection, boxed: it is larger than what can be passed by value onto a fiber.
pub(crate) struct Tls(Box<Inner>);

struct Inner {
    connection: Connection,
    /// Follows what is processed.
    gather: Gather,
    /// To be sent before anything that rustls has queued. Empty but for a packet that found something unsent, or failed.
    unsent: Vec<u8>,
}

impl Tls {
    /// A server's connection. Reaches no hook.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        ServerConnection::new(config).map(Self::new)
    }

    /// A client's connection. Starts the key exchange, so it belongs in a job.
    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Processed {
        match ClientConnection::new(config, name) {
            Ok(connection) => Ok(Self::new(connection).into()),
            // The server waits for a hello, and hears why there is none.
            Err(error) => Err(Broken { error, remains: Remains::Alert(INTERNAL_ERROR.to_vec()) }),
        }
    }

    fn new(connection: impl Into<Connection>) -> Self {
        let (connection, gather) = (connection.into(), Gather::default());
        Self(Box::new(Inner { connection, gather, unsent: Vec::new() }))
    }

    /// What these records are due, which are to be processed next.
    pub(crate) fn due(&self, records: &[u8]) -> Due {
        let mut gather = self.0.gather.clone();
        gather.observe(records, self.is_tls13());
        gather.take()
    }

    fn is_tls13(&self) -> bool {
        self.0.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Processes records of a handshake one by one, and stops behind the one that completes it or is `close_notify`, and
    /// behind each while there may be early data: how far that is, and whether it was `close_notify`. Reaches hooks if they are due as a packet, so it belongs in a job then.
    pub(crate) fn process_records(&mut self, records: &[u8]) -> Result<(usize, bool), TlsError> {
        let before = self.before_packet();
        let processed = self.process_one_by_one(records);
        processed.inspect_err(|error| {
            self.queue_last_words(&before, error);
            if let Connection::Server(server) = &self.0.connection {
                no_certificate::complain(error, server.server_name());
            }
        })
    }

    fn process_one_by_one(&mut self, bytes: &[u8]) -> Result<(usize, bool), TlsError> {
        let mut at = 0;
        while at < bytes.len() {
            let mut record = match records::front(&bytes[at..]) {
                Front::Record(n) => &bytes[at..at + n],
                // What is no record comes last, and is processed as far as it goes.
                Front::Partial | Front::Foreign => &bytes[at..],
            };
            at += record.len();
            let is_tls13 = self.is_tls13();
            self.0.gather.observe(record, is_tls13);
            let _processed_here = self.0.gather.take();
            let connection = &mut self.0.connection;
            while !record.is_empty() {
                // Its buffer is full of a message that never ends.
                let too_large = |_| TlsError::from(InvalidMessage::HandshakePayloadTooLarge);
                connection.read_tls(&mut record).map_err(too_large)?;
            }
            let closed = connection.process_new_packets()?.peer_has_closed();
            if closed || !connection.is_handshaking() || self.stops_at_a_record() {
                return Ok((at, closed));
            }
        }
        Ok((at, false))
    }

    /// Processes what has been read after the handshake.
    pub(crate) fn process_data(&mut self) -> Result<(), TlsError> {
        self.0.connection.process_new_packets().map(drop)
    }

    /// Whether a server has sent a HelloRetryRequest, and the `ServerHello` is still to come.
    pub(crate) fn awaits_second_hello(&self) -> bool {
        let connection = &self.0.connection;
        connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
            && connection.negotiated_key_exchange_group().is_none()
    }

    /// Takes the ciphertext that is to be sent.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        self.flush(&mut output).expect("a vector takes everything");
        output
    }

    /// Whether there is plaintext to be read.
    pub(crate) fn has_plaintext(&mut self) -> bool {
        self.0.connection.reader().fill_buf().is_ok_and(|plaintext| !plaintext.is_empty())
    }

    /// Reads ciphertext after the handshake, as much as one read gives.
    pub(crate) fn fill(&mut self, io: &mut dyn Read) -> io::Result<usize> {
        self.0.connection.read_tls(io)
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

/// An alert `unexpected_message` as a record in the clear: for a peer that sends too much before it is answered.
pub(crate) const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

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
