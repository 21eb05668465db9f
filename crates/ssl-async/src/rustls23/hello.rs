//! A client's hello that is read before the configuration is chosen.

use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor, ClientHello};
use rustls::{Error, InvalidMessage, ServerConfig};

use crate::records::{self, Front};
use crate::rustls23::connection::{Broken, FinalOutput, Processed, Tls};
use crate::rustls23::{failure_alert, no_certificate};

/// Collects a client's hello. Reaches no hook.
#[derive(Default)]
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    /// Everything it has read.
    bytes: Vec<u8>,
}

impl HelloReader {
    /// Reads records. Returns the hello once it is complete, with the bytes behind it.
    pub(crate) fn read(
        &mut self,
        mut records: Vec<u8>,
    ) -> Result<Option<(Hello, Vec<u8>)>, Broken> {
        let mut at = 0;
        while at < records.len() {
            let mut record = match records::front(&records[at..]) {
                Front::Record(n) => &records[at..at + n],
                Front::Partial | Front::Foreign => &records[at..],
            };
            at += record.len();
            while !record.is_empty() {
                // rustls's buffer is full of a message that never ends.
                self.acceptor.read_tls(&mut record).map_err(|_| Broken {
                    error: InvalidMessage::HandshakePayloadTooLarge.into(),
                    output: FinalOutput::Alert(Vec::new()),
                })?;
            }
            if let Some(accepted) = self.acceptor.accept().map_err(broken)? {
                self.bytes.extend(records.drain(..at));
                let bytes = core::mem::take(&mut self.bytes);
                return Ok(Some((Hello { accepted, bytes }, records)));
            }
        }
        self.bytes.append(&mut records);
        Ok(None)
    }
}

/// A client's hello.
pub(crate) struct Hello {
    accepted: Accepted,
    /// The bytes it was read from.
    bytes: Vec<u8>,
}

impl Hello {
    /// A hello that somebody else has read: without its bytes, so it cannot be replayed.
    #[cfg(feature = "tokio")]
    pub(crate) fn given(accepted: Accepted) -> Self {
        Self { accepted, bytes: Vec::new() }
    }

    pub(crate) fn client_hello(&self) -> ClientHello<'_> {
        self.accepted.client_hello()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Makes the connection. Chooses the certificate and signs, so it may pause.
    pub(crate) fn into_processed(self, config: Arc<ServerConfig>) -> Processed {
        let host = self.client_hello().server_name().map(str::to_owned);
        let made = self.accepted.into_connection(config);
        made.map(|connection| Tls::new(connection).into()).map_err(|refused| {
            no_certificate::log_host(&refused.0, host.as_deref());
            broken(refused)
        })
    }
}

/// A hello that led to no connection. Nothing of the first flight has left.
fn broken((error, mut alert): (Error, AcceptedAlert)) -> Broken {
    let mut queued = Vec::new();
    alert.write_all(&mut queued).expect("a vector takes everything");
    Broken { output: FinalOutput::Alert(failure_alert::of_first_flight(queued, &error)), error }
}
