//! What streams and futures need of a connection beyond what sessions do.

use core::mem;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;

pub(crate) use rustls::server::ClientHello;
use rustls::server::{Accepted, Acceptor};

use crate::packet::Processed;
use crate::rustls23::accept::go_on;
use crate::rustls23::gather::{Gather, Observed};
use crate::rustls23::{Connection, ServerConfig, Tls, TlsError};

impl Tls {
    /// Processes what has been read, once the handshake is done: no hook that may pause is reached then.
    pub(crate) fn process_data(&mut self) -> Result<(), TlsError> {
        self.0.connection.process_new_packets().map(drop)
    }

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

/// A client's hello that is being read. Reaches no hook.
#[derive(Default)]
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    gather: Gather,
}

impl HelloReader {
    /// Reads ciphertext, as much as one read gives.
    pub(crate) fn fill(&mut self, io: &mut dyn Read) -> io::Result<usize> {
        let gather = &mut self.gather;
        let observed = &mut Observed { io, gather, is_tls13: false, one_record: false };
        self.acceptor.read_tls(observed)
    }

    /// The hello, if it is there. An error comes with the alert to send for it.
    pub(crate) fn take(&mut self) -> Result<Option<Hello>, (TlsError, Vec<u8>)> {
        match self.acceptor.accept() {
            Ok(None) => Ok(None),
            Ok(Some(accepted)) => Ok(Some(Hello(accepted, mem::take(&mut self.gather)))),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes).expect("a vector takes everything");
                Err((error, bytes))
            }
        }
    }
}

/// A client's hello, and what has followed its bytes.
pub(crate) struct Hello(Accepted, Gather);

impl Hello {
    pub(crate) fn client_hello(&self) -> ClientHello<'_> {
        self.0.client_hello()
    }

    /// Goes on from it: belongs in a job.
    pub(crate) fn go_on(self, config: Arc<ServerConfig>) -> Processed {
        go_on(self.0, self.1, config)
    }
}
