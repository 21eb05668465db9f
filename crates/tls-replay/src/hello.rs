//! Finds the end of a ClientHello, and whether it offers to resume a session.

/// What the bytes received so far are.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum HelloStatus {
    /// The beginning of a hello.
    Partial,
    /// A whole hello.
    Whole { offers_resumption: bool },
    /// No hello; rustls will say what is wrong with it.
    Other,
}

const HANDSHAKE_RECORD: u8 = 22;
const MAJOR_VERSION: u8 = 3;
const CLIENT_HELLO: u8 = 1;
const MAX_RECORD: usize = 0x4000;
/// What rustls refuses to wait for.
const MAX_MESSAGE: usize = 0xffff;
const SESSION_TICKET: usize = 35;
const PRE_SHARED_KEY: usize = 41;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// Scans a hello as it arrives. In doubt it says [`HelloStatus::Other`], which costs memory and nothing else. Each byte is looked at once, however small the pieces are.
#[derive(Debug, Default)]
pub(crate) struct HelloScan {
    /// Where the header of the first record lies that has not arrived in full.
    record: usize,
    /// The first bytes of the message: its type and length.
    header: [u8; MESSAGE_HEADER],
    /// How many bytes of the message lie before `record`.
    length: usize,
}

impl HelloScan {
    /// How many bytes the whole records hold that were scanned: after [`HelloStatus::Whole`], those of the hello.
    pub(crate) fn end(&self) -> usize {
        self.record
    }

    /// Continues where the last call ended; `received` is everything since the connection began.
    pub(crate) fn scan(&mut self, received: &[u8]) -> HelloStatus {
        loop {
            let header = &received[self.record..];
            if header.first().is_some_and(|&kind| kind != HANDSHAKE_RECORD)
                || header.get(1).is_some_and(|&major| major != MAJOR_VERSION)
            {
                return HelloStatus::Other;
            }
            let start = self.record + RECORD_HEADER;
            let Some(length) = u16_at(received, start - 2) else { return HelloStatus::Partial };
            if length == 0 || length > MAX_RECORD {
                return HelloStatus::Other;
            }
            let Some(fragment) = received.get(start..start + length) else {
                return HelloStatus::Partial;
            };
            for (place, byte) in self.header.iter_mut().skip(self.length).zip(fragment) {
                *place = *byte;
            }
            let first = self.length == 0;
            self.length += length;
            self.record = start + length;
            if self.header[0] != CLIENT_HELLO {
                return HelloStatus::Other;
            }
            if self.length < MESSAGE_HEADER {
                continue;
            }
            let [_, a, b, c] = self.header;
            let body = u32::from_be_bytes([0, a, b, c]) as usize;
            if body > MAX_MESSAGE {
                return HelloStatus::Other;
            }
            if self.length >= MESSAGE_HEADER + body {
                let offers_resumption = if first {
                    offers_resumption(fragment)
                } else {
                    offers_resumption(&join(&received[..self.record]))
                };
                // A hello that cannot be read is left to rustls too.
                return offers_resumption.map_or(HelloStatus::Other, |offers_resumption| {
                    HelloStatus::Whole { offers_resumption }
                });
            }
        }
    }
}

/// How long the first record is; everything, if that is no whole record.
pub(crate) fn record_len(bytes: &[u8]) -> usize {
    let length = u16_at(bytes, RECORD_HEADER - 2).map(|length| RECORD_HEADER + length);
    length.map_or(bytes.len(), |length| length.min(bytes.len()))
}

/// The message in whole records.
fn join(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(records.len());
    while let Some(length) = u16_at(records, RECORD_HEADER - 2) {
        let (record, rest) = records.split_at(RECORD_HEADER + length);
        message.extend_from_slice(&record[RECORD_HEADER..]);
        records = rest;
    }
    message
}

/// Whether a hello offers a pre-shared key or a session ticket; `None` if it ends too early.
fn offers_resumption(message: &[u8]) -> Option<bool> {
    let mut at = MESSAGE_HEADER + 2 + 32; // version, random
    at += 1 + usize::from(*message.get(at)?); // session identifier
    at += 2 + u16_at(message, at)?; // cipher suites
    at += 1 + usize::from(*message.get(at)?); // compression methods
    if at == message.len() {
        return Some(false); // no extensions
    }
    let end = at + 2 + u16_at(message, at)?;
    at += 2;
    while at < end {
        let (kind, length) = (u16_at(message, at)?, u16_at(message, at + 2)?);
        if kind == PRE_SHARED_KEY || kind == SESSION_TICKET && length > 0 {
            return Some(true);
        }
        at += 4 + length;
    }
    (at == end).then_some(false)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello with one extension, in records of `size` bytes.
    fn hello(extension: u16, body: &[u8], size: usize) -> Vec<u8> {
        let mut message = vec![CLIENT_HELLO, 0, 0, 0, 3, 3];
        message.extend([7; 32]);
        message.extend([0, 0, 2, 0x13, 1, 1, 0]);
        message.extend((4 + body.len() as u16).to_be_bytes());
        message.extend(extension.to_be_bytes());
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let length = (message.len() - MESSAGE_HEADER) as u32;
        message[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
        let mut records = Vec::new();
        for fragment in message.chunks(size) {
            records.extend([HANDSHAKE_RECORD, 3, 1]);
            records.extend((fragment.len() as u16).to_be_bytes());
            records.extend(fragment);
        }
        records
    }

    #[test]
    fn a_hello_is_whole_at_its_last_byte_whatever_its_records_and_pieces() {
        for (extension, body, offers_resumption) in
            [(0, &[1; 9][..], false), (35, &[], false), (35, &[1], true), (41, &[1; 70], true)]
        {
            for size in [1, 2, 3, 5, 40, 1000] {
                let bytes = hello(extension, body, size);
                let mut scan = HelloScan::default();
                for end in 0..bytes.len() {
                    assert_eq!(scan.scan(&bytes[..end]), HelloStatus::Partial, "{size} {end}");
                }
                assert_eq!(scan.scan(&bytes), HelloStatus::Whole { offers_resumption });
                assert_eq!(
                    HelloScan::default().scan(&bytes),
                    HelloStatus::Whole { offers_resumption }
                );
            }
        }
    }

    #[test]
    fn what_is_no_hello_is_known_early() {
        for bytes in [
            &b"GET /"[..],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0x40, 1],
            &[22, 3, 1, 0, 1, 2],
            &[22, 3, 1, 0, 4, 1, 1, 0, 0],
        ] {
            assert_eq!(HelloScan::default().scan(bytes), HelloStatus::Other, "{bytes:?}");
        }
        let mut lies = hello(0, &[1; 9], 1000);
        let at = lies.len() - 11;
        lies[at] = 200; // the length of the extension
        assert_eq!(HelloScan::default().scan(&lies), HelloStatus::Other);
    }
}
