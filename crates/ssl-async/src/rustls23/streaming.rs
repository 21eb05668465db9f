//! What streams and futures need of a connection beyond what sessions do.

use std::io::{self, BufRead, IoSlice, Write};

use crate::rustls23::{Connection, Tls};

impl Tls {
    /// Takes plaintext to be sent, as much as its buffer holds.
    pub(crate) fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.connection.writer().write_vectored(data)
    }

    /// The plaintext that has come, as [`read`](Self::read) would give it.
    pub(crate) fn plaintext(&mut self) -> io::Result<&[u8]> {
        self.0.connection.reader().into_first_chunk()
    }

    /// Removes plaintext that was looked at.
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

    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.0.connection
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.0.connection
    }
}
