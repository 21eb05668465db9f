//! One run of a rustls connection over a client's bytes.

use std::io::ErrorKind;
use std::sync::Arc;

use rustls::server::{ServerConnection, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError};
use rustls::{Error, HandshakeKind};

use crate::config::ReplayConfig;
use crate::hello::record_len;
use crate::pass::{self, Mode};
use crate::record::Record;

/// The connection of a pass.
pub(crate) enum Attempt {
    Rehearsal(Rehearsal),
    Real(Box<ServerConnection>),
}

impl Attempt {
    pub(crate) fn rehearsal(config: &ReplayConfig) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config.server_config()))?;
        Ok(Self::Rehearsal(Rehearsal { connection: Box::new(connection), pending: Vec::new() }))
    }

    /// How the wrapped parts of the configuration behave while this connection works.
    pub(crate) fn mode(&self) -> Mode {
        match self {
            Self::Rehearsal(_) => Mode::Rehearsal,
            Self::Real(_) => Mode::Real,
        }
    }

    /// Gives `bytes` to the connection and appends its output to `out`. Returns how many bytes it took, and its error. With
    /// `stops_at_flight` a real connection takes no record behind the last hello. Called in a pass.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        stops_at_flight: bool,
        out: &mut Vec<u8>,
    ) -> (usize, Option<Error>) {
        let mut at = 0;
        loop {
            let next = match self {
                Self::Real(_) if stops_at_flight => record_len(&bytes[at..]),
                _ => bytes.len() - at,
            };
            let (taken, error) = self.feed_together(&bytes[at..at + next], out);
            at += taken;
            let goes_on = error.is_none() && taken == next && at < bytes.len();
            if !goes_on || !pass::with(|record| self.waits_for_hello(record)) {
                return (at, error);
            }
        }
    }

    fn feed_together(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Option<Error>) {
        match self {
            Self::Rehearsal(rehearsal) => (bytes.len(), rehearsal.feed(bytes, out).err()),
            Self::Real(connection) => {
                let fed = feed(connection, bytes);
                flush(connection, out);
                fed
            }
        }
    }

    /// Whether the connection waits for more bytes of a hello: it asked for another one, or the first is not whole.
    pub(crate) fn waits_for_hello(&self, record: &Record) -> bool {
        let kind = match self {
            Self::Rehearsal(rehearsal) => rehearsal.connection.handshake_kind(),
            Self::Real(connection) => connection.handshake_kind(),
        };
        match kind {
            None => true,
            Some(HandshakeKind::FullWithHelloRetryRequest) => !record.has_exchanged(),
            Some(_) => false,
        }
    }
}

/// A connection that is thrown away. It works in the caller's buffers, which saves the four kilobytes that
/// [`ServerConnection`] reads into.
pub(crate) struct Rehearsal {
    connection: Box<UnbufferedServerConnection>,
    /// Received and not yet processed.
    pending: Vec<u8>,
}

impl Rehearsal {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        // rustls joins the records of a message in this buffer, so it gets a copy of its own.
        self.pending.extend_from_slice(bytes);
        loop {
            let status = self.connection.process_tls_records(&mut self.pending);
            let discard = status.discard;
            let more = match status.state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    let start = out.len();
                    if let Err(EncodeError::InsufficientSize(InsufficientSizeError {
                        required_size,
                    })) = data.encode(&mut [])
                    {
                        out.resize(start + required_size, 0);
                        data.encode(&mut out[start..]).map_err(|error| general(&error))?;
                    }
                    true
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    true
                }
                _ => false,
            };
            self.pending.drain(..discard);
            if !more {
                return Ok(());
            }
        }
    }
}

/// Gives `bytes` to `connection`. Returns how many it took, which is less than all if its buffer of plaintext is full,
/// and its error.
pub(crate) fn feed(connection: &mut ServerConnection, bytes: &[u8]) -> (usize, Option<Error>) {
    let mut rest = bytes;
    let mut failed = None;
    while !rest.is_empty() && failed.is_none() {
        match connection.read_tls(&mut rest) {
            // The peer has closed the connection: nothing behind that counts.
            Ok(0) => rest = &[],
            Ok(_) => failed = connection.process_new_packets().err(),
            // A message outgrows the buffer in which its records are joined.
            Err(error) if error.kind() == ErrorKind::InvalidData => failed = Some(general(&error)),
            // The buffer of plaintext is full.
            Err(_) => break,
        }
    }
    (bytes.len() - rest.len(), failed)
}

/// Appends what `connection` wants to send.
pub(crate) fn flush(connection: &mut ServerConnection, out: &mut Vec<u8>) {
    // Writing to a `Vec` does not fail.
    while connection.wants_write() && connection.write_tls(out).is_ok() {}
}

fn general(error: &dyn core::error::Error) -> Error {
    Error::General(error.to_string())
}
