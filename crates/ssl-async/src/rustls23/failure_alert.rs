//! The alert for a failure on this side.
//!
//! rustls queues an alert for the peer's mistakes, and none when a signature, a key exchange or a hook fails here. But the
//! flight that needed the result has not left: rustls queues it in the same packet, and nothing is sent before the packet
//! is done. So that flight is discarded, and the alert `internal_error` leaves in its place.
//!
//! | failed operation | alert |
//! | --- | --- |
//! | a server's signature, key exchange or ticket key, TLS 1.2 and 1.3, after a HelloRetryRequest too | `internal_error` |
//! | a server's verdict on the client, TLS 1.2 | `internal_error` |
//! | a server's verdict on the client, TLS 1.3 | `handshake_failure`, encrypted, queued by rustls |
//! | a client's key exchange, TLS 1.2 and 1.3 | `internal_error`; with early data under way in 1.3 rustls's `illegal_parameter`, encrypted |
//! | a client's signature or its verdict on the server, TLS 1.2 | `internal_error` |
//! | a client's verdict on the server, TLS 1.3 | `handshake_failure`, encrypted, queued by rustls |
//! | a client's signature, TLS 1.3 | `close_notify`, encrypted |
//!
//! In the last rows a record in the clear would break the protocol, and rustls encrypts no alert of ours but
//! `close_notify`. A ticket that cannot be sealed or opened fails no handshake.

use rustls::{Connection, ContentType, Error, HandshakeKind, ProtocolVersion};

use crate::records::INTERNAL_ERROR;
use crate::rustls23::connection::Tls;
use crate::rustls23::engine_error::unwrap;

/// Whether this side failed: an engine's error, for which rustls queues no alert or one that blames the peer, or one of
/// rustls's for which it may have queued none.
fn is_ours(error: &Error) -> bool {
    unwrap(error).is_some()
        || matches!(
            error,
            Error::General(_) | Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes
        )
}

impl Tls {
    /// Whether the peer accepts an alert in the clear until the next packet is processed.
    ///
    /// With TLS 1.3 it does until the keys have been agreed. With TLS 1.2 it does until this side has changed its cipher:
    /// in the flight behind the agreement or, for a server that resumes a session, in its first one.
    pub(crate) fn speaks_in_the_clear(&self) -> bool {
        !has_keys(self.connection())
    }

    /// Called before a packet of the handshake is processed: sets aside the unsent output, so that the output of the
    /// packet can be told from it. Returns [`speaks_in_the_clear`](Self::speaks_in_the_clear).
    pub(super) fn before_packet(&mut self) -> bool {
        self.keep_queued();
        self.speaks_in_the_clear()
    }

    /// Called when processing a packet of the handshake has failed: queues an alert if this side failed.
    pub(super) fn queue_failure_alert(&mut self, was_in_the_clear: bool, error: &Error) {
        if !is_ours(error) {
            return;
        }
        let mut queued = self.take_queued();
        let has_alert = has_alert_in_the_clear(&queued);
        // A refusal by a hook of the user's is the peer's fault, and rustls has queued its alert.
        if has_alert && unwrap(error).is_none() {
            self.inner().unsent.append(&mut queued);
            return;
        }
        let is_clear = was_in_the_clear
            && match self.connection() {
                Connection::Server(_) => true,
                // The server has its keys, and expects ours to be used as soon as we have them.
                Connection::Client(client) => {
                    client.protocol_version() != Some(ProtocolVersion::TLSv1_3)
                        || !has_keys(self.connection())
                        || has_alert
                }
            };
        if is_clear {
            self.inner().unsent.extend(INTERNAL_ERROR);
        } else {
            self.inner().unsent.append(&mut queued);
            // Does nothing if rustls has queued a fatal alert.
            self.send_close_notify();
        }
    }

    /// Queues an alert that ends the handshake between two of its packets: `internal_error`, or `close_notify` where only
    /// rustls can encrypt it. Output that is already queued leaves first.
    pub(crate) fn give_up(&mut self) {
        // A client whose early data is under way has keys for it, and so has the server.
        let sends_early_data = match &mut self.inner().connection {
            Connection::Client(client) => client.early_data().is_some(),
            Connection::Server(_) => false,
        };
        if self.speaks_in_the_clear() && !sends_early_data {
            self.keep_queued();
            self.inner().unsent.extend(INTERNAL_ERROR);
        } else {
            self.send_close_notify();
        }
    }

    /// Moves what rustls has queued behind the unsent output.
    fn keep_queued(&mut self) {
        let mut queued = self.take_queued();
        self.inner().unsent.append(&mut queued);
    }

    fn take_queued(&mut self) -> Vec<u8> {
        let mut queued = Vec::new();
        let connection = &mut self.inner().connection;
        while connection.wants_write() {
            connection.write_tls(&mut queued).expect("a vector takes everything");
        }
        queued
    }
}

/// The alert of a server that has failed in its first flight, of which this is `queued`.
pub(super) fn of_first_flight(queued: Vec<u8>, error: &Error) -> Vec<u8> {
    let is_theirs = unwrap(error).is_none() && has_alert_in_the_clear(&queued);
    if is_ours(error) && !is_theirs { INTERNAL_ERROR.to_vec() } else { queued }
}

/// Whether this side has keys that the peer has too, or will have after the queued output.
fn has_keys(connection: &Connection) -> bool {
    let resumed_tls12 = connection.protocol_version() != Some(ProtocolVersion::TLSv1_3)
        && connection.handshake_kind() == Some(HandshakeKind::Resumed);
    connection.negotiated_key_exchange_group().is_some() || resumed_tls12
}

/// Whether there is an alert in the clear among the records: one of two bytes.
fn has_alert_in_the_clear(mut records: &[u8]) -> bool {
    while let [kind, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if ContentType::from(*kind) == ContentType::Alert && length == 2 {
            return true;
        }
        records = rest.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use super::*;
    use crate::rustls23::connection::Returned;
    use rustls::crypto::aws_lc_rs;
    use rustls::{ClientConfig, RootCertStore};
    use std::sync::Arc;

    #[test]
    fn output_queued_before_the_packet_leaves_before_its_alert() {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let Ok(Returned { mut tls, .. }) =
            Tls::client(Arc::new(config), "localhost".try_into().unwrap())
        else {
            panic!("the configuration is good")
        };
        // The hello has not left, and the peer has answered.
        assert!(tls.process_records(b"HTTP/1.1 400 Bad Request").is_err());
        let mut sent = Vec::new();
        tls.flush(&mut sent).unwrap();
        assert!(!tls.wants_write());
        assert_eq!((sent[0], sent[5]), (22, 1), "the hello");
        let (hello, alert) = sent.split_at(sent.len() - 7);
        assert_eq!(hello.len(), 5 + usize::from(u16::from_be_bytes([sent[3], sent[4]])));
        assert_eq!(alert[0], 21, "the alert behind it");

        // Given up, the output ends with our alert.
        tls.give_up();
        tls.flush(&mut sent).unwrap();
        assert_eq!(sent[sent.len() - 7..], INTERNAL_ERROR);
    }

    #[test]
    fn an_alert_in_the_clear_is_found_among_records() {
        assert!(!has_alert_in_the_clear(&[]));
        assert!(!has_alert_in_the_clear(&[22, 3, 3, 0, 2, 21, 3, 23, 3, 3, 0, 1, 0]));
        assert!(has_alert_in_the_clear(&[22, 3, 3, 0, 1, 0, 21, 3, 3, 0, 2, 2, 47]));
        // An encrypted alert of TLS 1.2 is longer; a truncated record is none.
        assert!(!has_alert_in_the_clear(&[21, 3, 3, 0, 3, 1, 2, 3]));
        assert!(!has_alert_in_the_clear(&[22, 3, 3, 0, 9, 0]));
    }
}
