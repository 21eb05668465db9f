//! A client's hello that is read before the configuration is chosen.

use std::io::{self, Read};
use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor, ClientHello};

use crate::packet::{Broken, FinalAlert, Processed, Remains};
use crate::read_ahead::{Next, ReadAhead};
use crate::records::{self, Front};
use crate::rustls23::{ServerConfig, Tls, TlsError, last_words, no_certificate};

/// Reads a client's hello. Reaches no hook.
#[derive(Default)]
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    /// What it has read.
    bytes: Vec<u8>,
}

impl HelloReader {
    /// Reads on, until the hello is there, or what there is to say to its sender. What comes behind the hello is left in
    /// `ahead`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the transport has no more now.
    pub(crate) fn read(
        &mut self,
        ahead: &mut ReadAhead,
        io: &mut dyn Read,
    ) -> io::Result<Result<Hello, FinalAlert>> {
        loop {
            let mut records = match ahead.next(io)? {
                Next::Records(records) => records,
                Next::End(error) => return Ok(Err(FinalAlert::none(error))),
            };
            let mut at = 0;
            while at < records.len() {
                let mut record = match records::front(&records[at..]) {
                    Front::Record(n) => &records[at..at + n],
                    Front::Partial | Front::Foreign => &records[at..],
                };
                at += record.len();
                while !record.is_empty() {
                    if let Err(error) = self.acceptor.read_tls(&mut record) {
                        return Ok(Err(FinalAlert::none(error.into())));
                    }
                }
                match self.acceptor.accept() {
                    Ok(Some(accepted)) => {
                        self.bytes.extend(records.drain(..at));
                        ahead.unread(records);
                        let bytes = core::mem::take(&mut self.bytes);
                        return Ok(Ok(Hello { accepted, bytes }));
                    }
                    Ok(None) => {}
                    Err(refused) => return Ok(Err(broken(refused).into_alert())),
                }
            }
            self.bytes.append(&mut records);
        }
    }
}

/// A client's hello.
pub(crate) struct Hello {
    accepted: Accepted,
    /// What it was read from.
    bytes: Vec<u8>,
}

impl Hello {
    pub(crate) fn client_hello(&self) -> ClientHello<'_> {
        self.accepted.client_hello()
    }

    /// Puts it back before what was read behind it.
    pub(crate) fn unread(self, mut ahead: ReadAhead) -> Vec<u8> {
        ahead.unread(self.bytes);
        ahead.into_bytes()
    }

    /// Goes on from it. That chooses the certificate and signs, so it belongs in a job, like a packet.
    pub(crate) fn go_on(self, config: Arc<ServerConfig>) -> Processed {
        let host = self.client_hello().server_name().map(str::to_owned);
        let made = self.accepted.into_connection(config);
        made.map(|connection| Tls::new(connection).into()).map_err(|refused| {
            no_certificate::complain(&refused.0, host.as_deref());
            broken(refused)
        })
    }
}

/// What is left of a hello that led to no connection. Nothing of the first flight has left (law L15).
fn broken((error, mut alert): (TlsError, AcceptedAlert)) -> Broken {
    let mut queued = Vec::new();
    alert.write_all(&mut queued).expect("a vector takes everything");
    Broken { remains: Remains::Alert(last_words::of_first_flight(queued, &error)), error }
}
