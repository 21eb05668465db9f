//! What the peer is told when something fails on this side (law L15).
//!
//! rustls queues an alert for what the peer did wrong, and none when a signature, a key exchange or a hook fails here.
//! But the flight that needed the result has not left: rustls queues it in the same packet, and nothing is sent before
//! the packet is done. So that flight is thrown away, and the alert `internal_error` goes in its place.
//!
//! | what failed | the peer is told |
//! | --- | --- |
//! | a server's signature, key exchange or ticket key, TLS 1.2 and 1.3, after a HelloRetryRequest too | `internal_error` |
//! | a server's verdict on the client, TLS 1.2 | `internal_error` |
//! | a server's verdict on the client, TLS 1.3 | `handshake_failure`, encrypted: what rustls queues |
//! | a client's key exchange, TLS 1.2 and 1.3; with early data under way in 1.3, rustls's `illegal_parameter`, encrypted | `internal_error` |
//! | a client's signature or its verdict on the server, TLS 1.2 | `internal_error` |
//! | a client's verdict on the server, TLS 1.3 | `handshake_failure`, encrypted: what rustls queues |
//! | a client's signature, TLS 1.3 | `close_notify`, encrypted |
//!
//! In the last rows a record in the clear would break the protocol, and rustls encrypts no alert of ours but
//! `close_notify`. A ticket that cannot be sealed or opened fails no handshake.

use rustls::{ContentType, HandshakeKind, ProtocolVersion};

use crate::rustls23::{Connection, Tls, TlsError, unwrap};

/// The alert `internal_error`, fatal, as a record in the clear.
pub(crate) const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Whether the error is of this side's making: an engine's, for which rustls queues no alert or one that blames the peer,
/// or one of its own for which it may have queued none.
pub(crate) fn is_ours(error: &TlsError) -> bool {
    unwrap(error).is_some()
        || matches!(
            error,
            TlsError::General(_)
                | TlsError::FailedToGetCurrentTime
                | TlsError::FailedToGetRandomBytes
        )
}

/// What is known of the connection before a packet of the handshake is processed.
pub(super) struct Before {
    in_the_clear: bool,
}

impl Tls {
    /// Whether the peer takes an alert in the clear, as long as nothing is processed.
    ///
    /// With TLS 1.3 it does until the keys have been agreed; with TLS 1.2 until this side has changed its cipher, which it
    /// does in the flight behind the agreement, or, if it is a server that resumes a session, in its first one.
    pub(crate) fn speaks_in_the_clear(&self) -> bool {
        !has_keys(&self.0.connection)
    }

    /// Called before a packet of the handshake is processed: puts aside what is still to be sent, so that what the packet
    /// queues can be told from it.
    pub(super) fn before_packet(&mut self) -> Before {
        if self.0.connection.wants_write() {
            let mut queued = self.take_queued();
            self.0.unsent.append(&mut queued);
        }
        Before { in_the_clear: self.speaks_in_the_clear() }
    }

    /// Called when processing a packet of the handshake has failed: queues what the peer is to be told, if it was this
    /// side that failed.
    pub(super) fn queue_last_words(&mut self, before: &Before, error: &TlsError) {
        if !is_ours(error) {
            return;
        }
        let mut queued = self.take_queued();
        let has_alert = has_alert_in_the_clear(&queued);
        // What a hook of the user's refuses is the peer's fault, and has its alert.
        if has_alert && unwrap(error).is_none() {
            self.0.unsent.append(&mut queued);
            return;
        }
        let is_clear = before.in_the_clear
            && match &self.0.connection {
                Connection::Server(_) => true,
                // The server has its keys, and expects ours to be used as soon as we have them.
                Connection::Client(client) => {
                    client.protocol_version() != Some(ProtocolVersion::TLSv1_3)
                        || !has_keys(&self.0.connection)
                        || has_alert
                }
            };
        if is_clear {
            self.0.unsent.extend(INTERNAL_ERROR);
        } else {
            self.0.unsent.append(&mut queued);
            // Does nothing if rustls has queued a fatal alert.
            self.0.connection.send_close_notify();
        }
    }

    /// Tells the peer that the handshake is given up, between two packets of it: `internal_error`, or `close_notify` where
    /// only rustls can encrypt it. What was not sent yet goes first.
    pub(crate) fn give_up(&mut self) {
        // A client whose early data is under way has keys for it, which the server has, too.
        let sends_early_data = match &mut self.0.connection {
            Connection::Client(client) => client.early_data().is_some(),
            Connection::Server(_) => false,
        };
        if self.speaks_in_the_clear() && !sends_early_data {
            let mut queued = self.take_queued();
            self.0.unsent.append(&mut queued);
            self.0.unsent.extend(INTERNAL_ERROR);
        } else {
            self.0.connection.send_close_notify();
        }
    }

    fn take_queued(&mut self) -> Vec<u8> {
        let mut queued = Vec::new();
        while self.0.connection.wants_write() {
            self.0.connection.write_tls(&mut queued).expect("a vector takes everything");
        }
        queued
    }
}

/// What a server sends that has failed in its first flight, of which this is `queued`.
pub(super) fn of_first_flight(queued: Vec<u8>, error: &TlsError) -> Vec<u8> {
    let is_theirs = unwrap(error).is_none() && has_alert_in_the_clear(&queued);
    if is_ours(error) && !is_theirs { INTERNAL_ERROR.to_vec() } else { queued }
}

/// Whether this side has keys that the peer has, too, or will have with what is queued.
fn has_keys(connection: &Connection) -> bool {
    let resumed_tls12 = connection.protocol_version() != Some(ProtocolVersion::TLSv1_3)
        && connection.handshake_kind() == Some(HandshakeKind::Resumed);
    connection.negotiated_key_exchange_group().is_some() || resumed_tls12
}

/// Whether there is an alert among the records that anybody can read: one of two bytes.
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
    use crate::packet::Back;
    use rustls::crypto::aws_lc_rs;
    use rustls::{ClientConfig, RootCertStore};
    use std::sync::Arc;

    #[test]
    fn what_was_queued_before_the_packet_goes_before_what_it_ends_with() {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let Ok(Back { mut tls, .. }) =
            Tls::client(Arc::new(config), "localhost".try_into().unwrap())
        else {
            panic!("the configuration is good")
        };
        // The hello has not left, and the peer has answered something.
        assert!(tls.process_records(b"HTTP/1.1 400 Bad Request").is_err());
        let mut sent = Vec::new();
        tls.flush(&mut sent).unwrap();
        assert!(!tls.wants_write());
        assert_eq!((sent[0], sent[5]), (22, 1), "the hello");
        let (hello, alert) = sent.split_at(sent.len() - 7);
        assert_eq!(hello.len(), 5 + usize::from(u16::from_be_bytes([sent[3], sent[4]])));
        assert_eq!(alert[0], 21, "the alert behind it");

        // Given up, it ends with ours.
        tls.give_up();
        tls.flush(&mut sent).unwrap();
        assert_eq!(sent[sent.len() - 7..], INTERNAL_ERROR);
    }

    #[test]
    fn an_alert_in_the_clear_is_found_among_records() {
        assert!(!has_alert_in_the_clear(&[]));
        assert!(!has_alert_in_the_clear(&[22, 3, 3, 0, 2, 21, 3, 23, 3, 3, 0, 1, 0]));
        assert!(has_alert_in_the_clear(&[22, 3, 3, 0, 1, 0, 21, 3, 3, 0, 2, 2, 47]));
        // An encrypted one of TLS 1.2 is longer; and what is cut off is none.
        assert!(!has_alert_in_the_clear(&[21, 3, 3, 0, 3, 1, 2, 3]));
        assert!(!has_alert_in_the_clear(&[22, 3, 3, 0, 9, 0]));
    }
}
