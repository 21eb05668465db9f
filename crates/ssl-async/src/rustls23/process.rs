//! Processing of records by rustls: the calls that reach hooks.

use rustls::{Connection, Error, InvalidMessage};

use crate::records::{self, Front};
use crate::rustls23::connection::{Broken, FinalOutput, Processed, Returned, Tls};
use crate::rustls23::no_certificate;

impl Tls {
    /// Whether processing these records next may reach a hook.
    pub(crate) fn may_reach_hook(&self, records: &[u8]) -> bool {
        self.gather().clone().observe(records, self.is_tls13())
    }

    /// Processes records of a handshake. Stops behind the record that completes it, behind `close_notify`, and behind
    /// each record while there may be early data. May pause if the records [may reach a hook](Self::may_reach_hook).
    pub(crate) fn into_processed(mut self, mut records: Vec<u8>) -> Processed {
        match self.process_records(&records) {
            Ok((n, closed)) => {
                records.drain(..n);
                Ok(Returned { tls: self, unprocessed: records, closed })
            }
            Err(error) => Err(Broken { error, output: FinalOutput::Connection(self) }),
        }
    }

    /// Processes what was read after the handshake.
    pub(crate) fn process_data(&mut self) -> Result<(), Error> {
        self.inner().connection.process_new_packets().map(drop)
    }

    /// As [`process_data`](Self::process_data), for a packet.
    pub(crate) fn into_processed_data(mut self) -> Processed {
        match self.process_data() {
            Ok(()) => Ok(self.into()),
            Err(error) => Err(Broken { error, output: FinalOutput::Connection(self) }),
        }
    }

    /// Returns how far it got, and whether the last record was `close_notify`.
    pub(super) fn process_records(&mut self, records: &[u8]) -> Result<(usize, bool), Error> {
        let in_the_clear = self.before_packet();
        self.process_one_by_one(records).inspect_err(|error| {
            self.queue_failure_alert(in_the_clear, error);
            if let Connection::Server(server) = self.connection() {
                no_certificate::log_host(error, server.server_name());
            }
        })
    }

    fn process_one_by_one(&mut self, bytes: &[u8]) -> Result<(usize, bool), Error> {
        let mut at = 0;
        while at < bytes.len() {
            let mut record = match records::front(&bytes[at..]) {
                Front::Record(n) => &bytes[at..at + n],
                // Bytes that are no record come last; rustls processes them as far as it can.
                Front::Partial | Front::Foreign => &bytes[at..],
            };
            at += record.len();
            let is_tls13 = self.is_tls13();
            let inner = self.inner();
            let _may_reach_hook = inner.gather.observe(record, is_tls13);
            let connection = &mut inner.connection;
            while !record.is_empty() {
                // rustls's buffer is full of a message that never ends.
                let too_large = |_| Error::from(InvalidMessage::HandshakePayloadTooLarge);
                connection.read_tls(&mut record).map_err(too_large)?;
            }
            let closed = connection.process_new_packets()?.peer_has_closed();
            if closed || !connection.is_handshaking() || self.stops_at_a_record() {
                return Ok((at, closed));
            }
        }
        Ok((at, false))
    }
}
