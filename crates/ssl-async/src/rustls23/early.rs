//! Early data: what a client sends with its hello, before the server has answered (RFC 8446, 2.3).

use std::io::{self, Read, Write};

use crate::rustls23::{Connection, Tls};

impl Tls {
    /// Takes data to be sent with the hello, as much as the server has allowed in an earlier session.
    pub(crate) fn write_early(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.0.connection {
            Connection::Client(client) => match client.early_data() {
                Some(mut early) => early.write(data),
                None => Ok(0),
            },
            Connection::Server(_) => Ok(0),
        }
    }

    /// Whether the server took the early data; on a server, whether it takes the client's.
    pub(crate) fn is_early_data_accepted(&mut self) -> bool {
        match &mut self.0.connection {
            Connection::Client(client) => client.is_early_data_accepted(),
            Connection::Server(server) => server.early_data().is_some(),
        }
    }

    /// Whether a client's early data may still come: nothing is known of the client yet, or it is accepted and the handshake
    /// is not done.
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

    /// Moves the client's early data to the end of `into`.
    pub(crate) fn take_early(&mut self, into: &mut Vec<u8>) {
        if let Connection::Server(server) = &mut self.0.connection
            && let Some(mut early) = server.early_data()
        {
            // Its end is where there is no more for now.
            let _until_the_end = early.read_to_end(into);
        }
    }

    /// Whether a packet ends with the record: early data is then processed, and can be read, before what comes behind it, which
    /// may park.
    pub(super) fn stops_at_a_record(&mut self) -> bool {
        match &mut self.0.connection {
            Connection::Server(server) => server.is_handshaking() && server.early_data().is_some(),
            Connection::Client(_) => false,
        }
    }
}
