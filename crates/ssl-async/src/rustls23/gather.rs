//! Decides whether processing records may reach a hook, and so needs a job.
//!
//! A job costs a stack and, with tokio, a trip to a shard, and a peer may cut a handshake message into many small records.
//! rustls reaches no hook before a message is complete, so the records before its last one are processed on the caller's
//! stack. Only whole records come here: partial ones wait in [`ReadAhead`](crate::read_ahead::ReadAhead).

use rustls::ContentType;

use crate::records::{self, Front};

const RECORD_HEADER: usize = 5;

/// Follows the handshake messages of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Gather {
    /// The header of the current message, as far as it has been read.
    header: [u8; 4],
    header_len: usize,
    /// The missing bytes of the message's body.
    body: usize,
    /// Handshake records are encrypted from here on. Not in TLS 1.3, where encrypted records have another type.
    changed_cipher: bool,
    /// Bytes that are no TLS were processed; rustls refuses them.
    foreign: bool,
}

impl Gather {
    /// Follows records that are processed next, and returns whether processing them may reach a hook. `is_tls13`: whether
    /// that version has been negotiated.
    pub(super) fn observe(&mut self, mut bytes: &[u8], is_tls13: bool) -> bool {
        let mut may_reach_hook = false;
        while !bytes.is_empty() && !self.foreign {
            match records::front(bytes) {
                Front::Record(n) => {
                    may_reach_hook |= self.observe_record(&bytes[..n], is_tls13);
                    bytes = &bytes[n..];
                }
                Front::Partial | Front::Foreign => self.foreign = true,
            }
        }
        may_reach_hook || self.foreign
    }

    fn observe_record(&mut self, record: &[u8], is_tls13: bool) -> bool {
        let kind = ContentType::from(record[0]);
        let is_clear = kind == ContentType::Handshake && (is_tls13 || !self.changed_cipher);
        self.changed_cipher |= kind == ContentType::ChangeCipherSpec;
        !is_clear || self.completes_message(&record[RECORD_HEADER..])
    }

    fn completes_message(&mut self, mut bytes: &[u8]) -> bool {
        let mut complete = false;
        while !bytes.is_empty() {
            if self.body == 0 {
                let n = bytes.len().min(self.header.len() - self.header_len);
                self.header[self.header_len..][..n].copy_from_slice(&bytes[..n]);
                self.header_len += n;
                bytes = &bytes[n..];
                if self.header_len < self.header.len() {
                    break;
                }
                let [_, a, b, c] = self.header;
                self.body = u32::from_be_bytes([0, a, b, c]) as usize;
            }
            let n = bytes.len().min(self.body);
            bytes = &bytes[n..];
            self.body -= n;
            if self.body == 0 {
                self.header_len = 0;
                complete = true;
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3], &length[..], body].concat()
    }

    /// A handshake message of `length` bytes behind its header.
    fn message(length: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        [&[1, a, b, c], &vec![7; length][..]].concat()
    }

    #[test]
    fn a_hello_in_records_of_one_byte_needs_a_job_for_the_last_one() {
        let mut gather = Gather::default();
        let observe = |byte| gather.observe(&record(22, &[byte]), false);
        let needs: Vec<bool> = message(240).into_iter().map(observe).collect();
        let (last, first) = needs.split_last().unwrap();
        assert!(*last && first.iter().all(|needs| !needs));
    }

    #[test]
    fn a_message_without_a_body_is_complete_with_its_header() {
        let mut gather = Gather::default();
        assert!(!gather.observe(&record(22, &[14, 0, 0]), false));
        assert!(gather.observe(&record(22, &[0]), false));
    }

    #[test]
    fn bytes_that_are_no_tls_need_a_job_and_so_does_everything_after_them() {
        for bytes in [&b"G"[..], &[22, 9], &[22, 3, 1, 0, 0], &[22, 3, 1, 0x48, 1]] {
            let mut gather = Gather::default();
            assert!(gather.observe(bytes, false), "{bytes:?}");
            assert!(gather.observe(&record(22, &[1]), false), "{bytes:?}");
        }
    }

    #[test]
    fn after_a_change_of_cipher_a_handshake_record_needs_a_job_except_in_tls_13() {
        for is_tls13 in [false, true] {
            let mut gather = Gather::default();
            assert!(gather.observe(&record(20, &[1]), is_tls13));
            assert_eq!(gather.observe(&record(22, &[0xff; 40]), is_tls13), !is_tls13);
        }
    }

    fn any_records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let body = prop_oneof![
            (0..600usize).prop_map(message),
            prop::collection::vec(any::<u8>(), 1..300),
        ];
        let kind = prop_oneof![6 => Just(22u8), 1 => 20..25u8];
        let parts = prop::collection::vec((kind, body, 1..400usize), 1..8);
        parts.prop_map(|parts| {
            let records = |(kind, body, cut): (u8, Vec<u8>, usize)| {
                body.chunks(cut).map(|body| record(kind, body)).collect::<Vec<_>>()
            };
            parts.into_iter().flat_map(records).collect()
        })
    }

    proptest! {
        #[test]
        fn records_observed_together_or_one_by_one_need_a_job_alike(
            records in any_records(),
            is_tls13: bool,
        ) {
            let (mut together, mut one_by_one) = (Gather::default(), Gather::default());
            let mut needs = false;
            for record in &records {
                needs |= one_by_one.observe(record, is_tls13);
            }
            prop_assert_eq!(together.observe(&records.concat(), is_tls13), needs);
            prop_assert_eq!(format!("{together:?}"), format!("{one_by_one:?}"));
        }
    }
}
