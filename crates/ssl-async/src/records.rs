//! Framing of TLS records, which is in the clear in every version: length and content type.

/// A header: type, version, length.
const HEADER: usize = 5;

/// The largest record: a header, 2^14 bytes of plaintext and the most that protection may add (RFC 8446, 5.2; RFC 5246,
/// 6.2.3).
const LARGEST_PAYLOAD: u16 = (1 << 14) + 2048;

/// The fatal alert `internal_error`, as a record in the clear.
pub(crate) const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The warning `close_notify`, as a record in the clear.
pub(crate) const CLOSE_NOTIFY: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];

/// The fatal alert `unexpected_message`, as a record in the clear.
pub(crate) const UNEXPECTED_MESSAGE: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// The content type in a record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
}

impl Type {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

/// The start of a byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A whole record of this length, header included.
    Record(usize),
    /// Part of a record.
    Partial,
    /// Not TLS.
    Foreign,
}

/// Classifies the start of `bytes`.
pub(crate) fn front(bytes: &[u8]) -> Front {
    let mut records = Records::default();
    match records.step(bytes) {
        (n, Some(Mark::Begins(_))) => match records.step(&bytes[n..]) {
            (rest, Some(Mark::Ends(_))) => Front::Record(n + rest),
            _ => Front::Partial,
        },
        (_, Some(Mark::Foreign)) => Front::Foreign,
        _ => Front::Partial,
    }
}

/// A position found by [`Records::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The header of a record is complete.
    Begins(Record),
    /// The payload of a record is complete.
    Ends(Record),
    /// The bytes are not TLS. No mark follows.
    Foreign,
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) typ: Type,
    payload: u16,
}

impl Record {
    /// Whether the record may be an alert. In TLS 1.3 an alert looks like data, but has the same length with every cipher
    /// suite: two bytes, one for the inner type, and a tag of 16. (A peer may pad its alerts; none is known to.)
    pub(crate) fn may_be_alert(self) -> bool {
        match self.typ {
            Type::Alert => true,
            Type::ApplicationData => self.payload == 2 + 1 + 16,
            Type::ChangeCipherSpec | Type::Handshake => false,
        }
    }
}

/// Finds the records in a stream of bytes that arrives in pieces of any size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    header: [u8; HEADER],
    /// How many bytes of the header have arrived.
    have: u8,
    /// The record whose payload is arriving, and how many bytes of it are missing.
    inside: Option<(Record, u16)>,
    foreign: bool,
}

impl Records {
    /// Advances to the next mark in `bytes`. Returns how many bytes that took, and the mark if there was one.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> (usize, Option<Mark>) {
        if self.foreign {
            return (bytes.len(), None);
        }
        if let Some((record, left)) = self.inside {
            let n = bytes.len().min(usize::from(left));
            let left = left - n as u16;
            if left > 0 {
                self.inside = Some((record, left));
                return (n, None);
            }
            self.inside = None;
            return (n, Some(Mark::Ends(record)));
        }
        let missing = &mut self.header[usize::from(self.have)..];
        let n = bytes.len().min(missing.len());
        missing[..n].copy_from_slice(&bytes[..n]);
        self.have += n as u8;
        match self.parse() {
            Err(NotTls) => {
                self.foreign = true;
                (n, Some(Mark::Foreign))
            }
            Ok(None) => (n, None),
            Ok(Some(record)) => {
                self.have = 0;
                self.inside = Some((record, record.payload));
                (n, Some(Mark::Begins(record)))
            }
        }
    }

    fn parse(&self) -> Result<Option<Record>, NotTls> {
        let seen = &self.header[..usize::from(self.have)];
        let Some(&typ) = seen.first() else { return Ok(None) };
        let typ = Type::of(typ).ok_or(NotTls)?;
        if seen.get(1).is_some_and(|&major| major != 3) {
            return Err(NotTls);
        }
        let &[_, _, _, high, low] = seen else { return Ok(None) };
        let payload = u16::from_be_bytes([high, low]);
        if payload > LARGEST_PAYLOAD || payload == 0 && typ != Type::ApplicationData {
            return Err(NotTls);
        }
        Ok(Some(Record { typ, payload }))
    }
}

/// The header is not TLS.
struct NotTls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_a_record_once_it_is_complete() {
        let record = [22, 3, 1, 0, 2, 7, 7];
        for n in 0..record.len() {
            assert_eq!(front(&record[..n]), Front::Partial, "{n}");
        }
        assert_eq!(front(&record), Front::Record(7));
        assert_eq!(front(&[&record[..], &record].concat()), Front::Record(7));
        assert_eq!(front(&[23, 3, 3, 0, 0]), Front::Record(5), "empty data is allowed");
    }

    #[test]
    fn bytes_that_are_no_tls_are_recognised_at_the_first_wrong_byte() {
        for odd in [&b"G"[..], b"SSH-2.0", &[22, 2], &[22, 3, 3, 0, 0], &[23, 3, 3, 0xff, 0xff]] {
            assert_eq!(front(odd), Front::Foreign, "{odd:?}");
        }
    }

    #[test]
    fn records_are_found_in_pieces_of_any_size() {
        let bytes = [22, 3, 1, 0, 2, 7, 7, 21, 3, 3, 0, 2, 1, 0, b'x', 0, 0];
        for size in 1..=bytes.len() {
            let (mut records, mut marks) = (Records::default(), Vec::new());
            for piece in bytes.chunks(size) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let (n, mark) = records.step(rest);
                    marks.extend(mark);
                    rest = &rest[n..];
                }
            }
            let types = marks.iter().map(|mark| match mark {
                Mark::Begins(record) => ("begins", Some(record.typ)),
                Mark::Ends(record) => ("ends", Some(record.typ)),
                Mark::Foreign => ("foreign", None),
            });
            let expected = [
                ("begins", Some(Type::Handshake)),
                ("ends", Some(Type::Handshake)),
                ("begins", Some(Type::Alert)),
                ("ends", Some(Type::Alert)),
                ("foreign", None),
            ];
            assert!(types.eq(expected), "{size}: {marks:?}");
        }
    }
}
