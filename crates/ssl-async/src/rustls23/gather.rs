//! Decides whether received bytes need no processing yet, processing on the caller's stack, or a job.
//!
//! A job costs a stack and, with tokio, a trip to a shard, and a peer may send its bytes one by one. So rustls processes
//! bytes once a record is complete, and in a job once a handshake message is: before that it reaches no hook. Bytes that
//! are no TLS go to rustls at once, which refuses them with an alert.
//!
//! ```text
//!   bytes --> header (5) --> body --> record complete --+--> a whole message, or no handshake
//!                |                                      |    record in the clear:      Packet
//!                |                                      +--> part of a message:        Fragment
//!                +-- rustls refuses the header --------------------------------------> Packet
//! ```
//!
//! The limits are rustls's: it refuses a record by its header, and a message by its length.

use rustls::{ContentType, ProtocolVersion};

/// rustls refuses a record of this length and above.
const TOO_LONG: usize = (1 << 14) + 2048;
const HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// The processing that the bytes since the last [`Gather::take`] need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// None: no record is complete.
    #[default]
    Nothing,
    /// On the caller's stack: records are complete but no handshake message, so no hook is reached.
    Fragment,
    /// In a job: a hook may be reached.
    Packet,
}

/// Follows the records of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gather {
    due: Due,
    header: Partial<HEADER>,
    /// The missing bytes of the record's body.
    body: usize,
    /// The record has handshake messages in the clear.
    clear: bool,
    message: Partial<MESSAGE_HEADER>,
    /// The missing bytes of the handshake message's body.
    message_body: usize,
    /// A message has ended in the current, incomplete record.
    whole: bool,
    /// Handshake records are encrypted from here on. Not in TLS 1.3, where encrypted records have another type.
    changed_cipher: bool,
    /// rustls refuses the bytes; there are no more records to follow.
    refused: bool,
}

/// The first bytes of a header.
#[derive(Clone, Debug)]
struct Partial<const N: usize> {
    bytes: [u8; N],
    n: usize,
}

impl<const N: usize> Default for Partial<N> {
    fn default() -> Self {
        Self { bytes: [0; N], n: 0 }
    }
}

impl<const N: usize> Partial<N> {
    /// Takes the missing bytes from `bytes`. Returns whether the header is complete.
    fn take(&mut self, bytes: &mut &[u8]) -> bool {
        let (taken, rest) = bytes.split_at(bytes.len().min(N - self.n));
        self.bytes[self.n..][..taken.len()].copy_from_slice(taken);
        self.n += taken.len();
        *bytes = rest;
        self.n == N
    }
}

impl Gather {
    /// Follows received bytes. `is_tls13`: whether that version has been negotiated.
    pub(crate) fn observe(&mut self, mut bytes: &[u8], is_tls13: bool) {
        while !bytes.is_empty() && !self.refused {
            if self.body == 0 {
                let complete = self.header.take(&mut bytes);
                if self.is_refused() {
                    self.refused = true;
                    self.due = Due::Packet;
                } else if complete {
                    self.begin_record(is_tls13);
                }
            } else {
                let (body, rest) = bytes.split_at(bytes.len().min(self.body));
                if self.clear {
                    self.follow_messages(body);
                }
                self.body -= body.len();
                bytes = rest;
                if self.body == 0 {
                    self.end_record();
                }
            }
        }
        if self.refused {
            self.due = Due::Packet;
        }
    }

    /// Returns the processing due for the bytes observed since the last call.
    pub(crate) fn take(&mut self) -> Due {
        core::mem::take(&mut self.due)
    }

    /// Whether rustls refuses the part of the header that was read.
    fn is_refused(&self) -> bool {
        let Partial { bytes: [kind, major, minor, high, low], n } = self.header;
        let kind = ContentType::from(kind);
        if n >= 1 && matches!(kind, ContentType::Unknown(_)) {
            return true;
        }
        let version = ProtocolVersion::from(u16::from_be_bytes([major, minor]));
        if n >= 3 && major != 3 && matches!(version, ProtocolVersion::Unknown(_)) {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let empty = length == 0 && kind != ContentType::ApplicationData;
        n == HEADER && (empty || length >= TOO_LONG)
    }

    fn begin_record(&mut self, is_tls13: bool) {
        let [kind, _, _, high, low] = self.header.bytes;
        self.body = usize::from(u16::from_be_bytes([high, low]));
        let kind = ContentType::from(kind);
        self.clear = kind == ContentType::Handshake && (is_tls13 || !self.changed_cipher);
        self.changed_cipher |= kind == ContentType::ChangeCipherSpec;
        if self.body == 0 {
            self.end_record();
        }
    }

    fn end_record(&mut self) {
        self.header = Partial::default();
        let may_reach_a_hook = !self.clear || core::mem::take(&mut self.whole);
        self.due = self.due.max(if may_reach_a_hook { Due::Packet } else { Due::Fragment });
    }

    fn follow_messages(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.message_body == 0 {
                if !self.message.take(&mut bytes) {
                    return;
                }
                let [_, a, b, c] = self.message.bytes;
                self.message_body = u32::from_be_bytes([0, a, b, c]) as usize;
            }
            let n = bytes.len().min(self.message_body);
            bytes = &bytes[n..];
            self.message_body -= n;
            if self.message_body == 0 {
                self.message = Partial::default();
                self.whole = true;
            }
        }
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

    /// The processing due after each piece.
    fn dues<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Due> {
        let mut gather = Gather::default();
        let look = |piece| {
            gather.observe(piece, false);
            gather.take()
        };
        pieces.into_iter().map(look).collect()
    }

    #[test]
    fn a_hello_sent_byte_by_byte_is_one_packet() {
        let hello = record(22, &message(240));
        let dues = dues(hello.chunks(1));
        assert_eq!(dues.iter().filter(|due| **due == Due::Nothing).count(), hello.len() - 1);
        assert_eq!(dues.last(), Some(&Due::Packet));
    }

    #[test]
    fn a_hello_in_records_of_one_byte_is_one_packet() {
        let records: Vec<_> = message(240).into_iter().map(|byte| record(22, &[byte])).collect();
        let dues = dues(records.iter().map(Vec::as_slice));
        let (last, first) = dues.split_last().unwrap();
        assert!(first.iter().all(|due| *due == Due::Fragment));
        assert_eq!(*last, Due::Packet);
    }

    #[test]
    fn bytes_that_are_no_tls_are_due_at_the_first_wrong_byte() {
        assert_eq!(dues([&b"G"[..]]), [Due::Packet]);
        assert_eq!(dues([&[22][..], &[9], &[9]]), [Due::Nothing, Due::Nothing, Due::Packet]);
        assert_eq!(dues([&[22, 3, 1, 0][..], &[0]]), [Due::Nothing, Due::Packet], "empty");
        assert_eq!(dues([&[22, 3, 1, 0x48][..], &[0]]), [Due::Nothing, Due::Packet], "too long");
        assert_eq!(dues([&[22, 3, 1, 0x47][..], &[0xff]]), [Due::Nothing; 2], "as long as may be");
    }

    #[test]
    fn after_a_change_of_cipher_a_handshake_record_is_a_packet_except_in_tls_13() {
        let bytes = [record(20, &[1]), record(22, &[0xff; 40])].concat();
        for (is_tls13, due) in [(false, Due::Packet), (true, Due::Fragment)] {
            let mut gather = Gather::default();
            gather.observe(&bytes[..6], is_tls13);
            assert_eq!(gather.take(), Due::Packet);
            gather.observe(&bytes[6..], is_tls13);
            assert_eq!(gather.take(), due);
        }
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let some = prop_oneof![
            (0..600usize).prop_map(message),
            prop::collection::vec(any::<u8>(), 1..300),
        ];
        let kind = prop_oneof![6 => Just(22u8), 1 => 20..25u8];
        let parts = prop::collection::vec((kind, some, 1..400usize), 1..8);
        let garbage = prop::collection::vec(any::<u8>(), 0..6);
        (parts, garbage).prop_map(|(parts, garbage)| {
            let records = |(kind, body, cut): (u8, Vec<u8>, usize)| {
                body.chunks(cut).flat_map(|body| record(kind, body)).collect::<Vec<_>>()
            };
            parts.into_iter().flat_map(records).chain(garbage).collect()
        })
    }

    proptest! {
        /// The most processing due up to a byte does not depend on how the bytes are cut.
        #[test]
        fn segmentation_does_not_matter(
            stream in stream(),
            cuts in prop::collection::vec(1..50usize, 1..200),
            is_tls13: bool,
        ) {
            let mut whole = Gather::default();
            whole.observe(&stream, is_tls13);
            let (mut cut, mut most, mut rest) = (Gather::default(), Due::Nothing, &stream[..]);
            for n in cuts.into_iter().cycle() {
                let (piece, behind) = rest.split_at(rest.len().min(n));
                cut.observe(piece, is_tls13);
                most = most.max(cut.take());
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(whole.take(), most);
            prop_assert_eq!(whole.refused, cut.refused);
            if !whole.refused {
                prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
            }
        }
    }
}
