//! A connection of rustls, and the calls on it that reach no hook.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, ProtocolVersion,
    ServerConfig, ServerConnection,
};

use crate::records::INTERNAL_ERROR;
use crate::rustls23::gather::Gather;

/// Result of processing a packet.
pub(crate) type Processed = Result<Returned, Broken>;

/// A connection that can go on.
pub(crate) struct Returned {
    pub(crate) tls: Tls,
    /// Bytes behind the record that completed the handshake, or behind `close_notify`.
    pub(crate) unprocessed: Vec<u8>,
    /// The connection has received `close_notify` and processes nothing more.
    pub(crate) closed: bool,
}

impl From<Tls> for Returned {
    fn from(tls: Tls) -> Self {
        Self { tls, unprocessed: Vec::new(), closed: false }
    }
}

/// A connection that cannot go on.
pub(crate) struct Broken {
    pub(crate) error: Error,
    pub(crate) output: FinalOutput,
}

/// What a broken connection still sends to its peer.
pub(crate) enum FinalOutput {
    /// Everything the connection has queued, the alert last.
    Connection(Tls),
    /// An alert; there is no connection.
    Alert(Vec<u8>),
}

impl FinalOutput {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Connection(mut tls) => tls.take_output(),
            Self::Alert(alert) => alert,
        }
    }
}

/// A TLS connection. Boxed: it is larger than what can be passed by value onto a fiber.
pub(crate) struct Tls(Box<Inner>);

pub(super) struct Inner {
    pub(super) connection: Connection,
    /// Follows the records that were processed.
    pub(super) gather: Gather,
    /// Leaves before anything that rustls has queued. Empty unless a packet started with unsent output, or failed.
    pub(super) unsent: Vec<u8>,
}

impl Tls {
    /// A server's connection.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        ServerConnection::new(config).map(Self::new)
    }

    /// A client's connection. Starts the key exchange, so it may pause.
    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Processed {
        match ClientConnection::new(config, name) {
            Ok(connection) => Ok(Self::new(connection).into()),
            // The server is waiting for a hello, and learns why there is none.
            Err(error) => {
                Err(Broken { error, output: FinalOutput::Alert(INTERNAL_ERROR.to_vec()) })
            }
        }
    }

    pub(super) fn new(connection: impl Into<Connection>) -> Self {
        let (connection, gather) = (connection.into(), Gather::default());
        Self(Box::new(Inner { connection, gather, unsent: Vec::new() }))
    }

    /// A server's connection that has made its flight, of which `output` is the part that rustls does not queue any more.
    pub(super) fn with_output(connection: ServerConnection, output: Vec<u8>) -> Self {
        let mut tls = Self::new(connection);
        tls.0.unsent = output;
        tls
    }

    pub(super) fn inner(&mut self) -> &mut Inner {
        &mut self.0
    }

    pub(super) fn gather(&self) -> &Gather {
        &self.0.gather
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.0.connection
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.connection.is_handshaking()
    }

    pub(super) fn is_tls13(&self) -> bool {
        self.0.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Whether a server has sent a HelloRetryRequest and not yet its `ServerHello`.
    pub(crate) fn awaits_second_hello(&self) -> bool {
        let connection = &self.0.connection;
        connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
            && connection.negotiated_key_exchange_group().is_none()
    }

    /// Reads ciphertext after the handshake, with one read of `io`.
    pub(crate) fn fill(&mut self, io: &mut dyn Read) -> io::Result<usize> {
        self.0.connection.read_tls(io)
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.0.unsent.is_empty() || self.0.connection.wants_write()
    }

    /// Writes all queued ciphertext.
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

    /// Takes all queued ciphertext.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        self.flush(&mut output).expect("a vector takes everything");
        output
    }

    pub(crate) fn has_plaintext(&mut self) -> bool {
        self.0.connection.reader().fill_buf().is_ok_and(|plaintext| !plaintext.is_empty())
    }

    /// Reads plaintext: `WouldBlock` if there is none yet, 0 after `close_notify`, `UnexpectedEof` after an end of
    /// file without one.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.connection.reader().read(into)
    }

    /// As [`read`](Self::read), but leaves the plaintext in the buffer.
    pub(crate) fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.connection.reader().fill_buf().and_then(|mut plaintext| plaintext.read(into))
    }

    /// Takes plaintext to send, as far as the buffer has room.
    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.connection.writer().write(data)
    }

    pub(crate) fn send_close_notify(&mut self) {
        self.0.connection.send_close_notify();
    }

    pub(crate) fn refresh_traffic_keys(&mut self) -> Result<(), Error> {
        self.0.connection.refresh_traffic_keys()
    }
}

/// Early data: what a client sends with its hello, before the server has answered (RFC 8446, 2.3).
impl Tls {
    /// Takes data to send with the hello, as much as the server has allowed in an earlier session.
    pub(crate) fn write_early(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.0.connection {
            Connection::Client(client) => {
                client.early_data().map_or(Ok(0), |mut early| early.write(data))
            }
            Connection::Server(_) => Ok(0),
        }
    }

    /// Whether the server accepted the early data; on a server, whether it accepts the client's.
    pub(crate) fn is_early_data_accepted(&mut self) -> bool {
        match &mut self.0.connection {
            Connection::Client(client) => client.is_early_data_accepted(),
            Connection::Server(server) => server.early_data().is_some(),
        }
    }

    /// Whether a client's early data may still come: nothing is known of the client yet, or the data is accepted and the
    /// handshake is not done.
    pub(crate) fn expects_early(&mut self) -> bool {
        match &mut self.0.connection {
            Connection::Server(server) => {
                server.is_handshaking()
                    && (server.protocol_version().is_none() || server.early_data().is_some())
            }
            Connection::Client(_) => false,
        }
    }

    /// Reads the client's early data. 0 if there is none now.
    #[cfg(feature = "tokio")]
    pub(crate) fn read_early(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0.connection {
            Connection::Server(server) => server.early_data().map_or(Ok(0), |mut e| e.read(into)),
            Connection::Client(_) => Ok(0),
        }
    }

    /// The client's early data, as far as it has come.
    pub(crate) fn take_early(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        if let Connection::Server(server) = &mut self.0.connection
            && let Some(mut early) = server.early_data()
        {
            // Stops where there is no more for now.
            let _until_the_end = early.read_to_end(&mut taken);
        }
        taken
    }

    /// Whether a packet ends with each record: early data must be readable before the record behind it, which may park,
    /// is processed.
    pub(super) fn stops_at_a_record(&mut self) -> bool {
        match &mut self.0.connection {
            Connection::Server(server) => server.is_handshaking() && server.early_data().is_some(),
            Connection::Client(_) => false,
        }
    }
}

/// For streams and futures.
#[cfg(feature = "tokio")]
impl Tls {
    /// Takes plaintext to send, as far as the buffer has room.
    pub(crate) fn write_vectored(&mut self, data: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.connection.writer().write_vectored(data)
    }

    /// The plaintext that [`read`](Self::read) would return.
    pub(crate) fn plaintext(&mut self) -> io::Result<&[u8]> {
        self.0.connection.reader().into_first_chunk()
    }

    /// Removes `n` bytes of [`plaintext`](Self::plaintext).
    pub(crate) fn consume(&mut self, n: usize) {
        self.0.connection.reader().consume(n);
    }

    /// The name that the client asked for.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match &self.0.connection {
            Connection::Server(server) => server.server_name(),
            Connection::Client(_) => None,
        }
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.0.connection
    }
}
