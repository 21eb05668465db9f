//! The framing of TLS records, which is in the clear in every version: where a record ends, and of what type it says it is.

/// A header: type, version, length.
const HEADER: usize = 5;

/// The largest record: a header, 2^14 bytes of plaintext and the most that protection may add (RFC 8446, 5.2; RFC 5246,
/// 6.2.3).
const LARGEST_PAYLOAD: usize = (1 << 14) + 2048;

/// The fatal alert `internal_error`, as a record in the clear.
pub(crate) const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

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

/// What the front of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A whole record of this length, header included.
    Record(usize),
    /// The beginning of a record.
    Partial,
    /// No record of TLS.
    Foreign,
}

/// Looks at the front of `bytes`.
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

/// What [`Records::step`] came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The header of a record is complete.
    Begins(Record),
    /// The payload of a record is complete.
    Ends(Record),
    /// This is no TLS. Nothing else comes after it.
    Foreign,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) typ: Type,
    payload: usize,
}

impl Record {
    /// Whether it may be an alert. In TLS 1.3 an alert looks like data, but every cipher suite makes the same length of
    /// it: two bytes, one for the type inside, and a tag of 16. (A peer may pad its alerts. None is known to.)
    pub(crate) fn may_be_alert(self) -> bool {
        match self.typ {
            Type::Alert => true,
            Type::ApplicationData => self.payload == 2 + 1 + 16,
            Type::ChangeCipherSpec | Type::Handshake => false,
        }
    }
}

/// Follows the records of one direction, in pieces of any size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    header: [u8; HEADER],
    /// How much of the header has come.
    have: usize,
    /// The record whose payload is under way, and how much of it is to come.
    inside: Option<(Record, usize)>,
    foreign: bool,
}

impl Records {
    /// Goes on to the next mark in `bytes`: how far that is, and what it is. `None` if there is no mark in them.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> (usize, Option<Mark>) {
        if self.foreign {
            return (bytes.len(), None);
        }
        if let Some((record, left)) = self.inside {
            if left > bytes.len() {
                self.inside = Some((record, left - bytes.len()));
                return (bytes.len(), None);
            }
            self.inside = None;
            return (left, Some(Mark::Ends(record)));
        }
        let n = bytes.len().min(HEADER - self.have);
        self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
        self.have += n;
        match self.parse() {
            Err(Foreigner) => {
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

    fn parse(&self) -> Result<Option<Record>, Foreigner> {
        let seen = &self.header[..self.have];
        let Some(&typ) = seen.first() else { return Ok(None) };
        let typ = Type::of(typ).ok_or(Foreigner)?;
        if seen.get(1).is_some_and(|&major| major != 3) {
            return Err(Foreigner);
        }
        let &[_, _, _, high, low] = seen else { return Ok(None) };
        let payload = usize::from(u16::from_be_bytes([high, low]));
        if payload > LARGEST_PAYLOAD || payload == 0 && typ != Type::ApplicationData {
            return Err(Foreigner);
        }
        Ok(Some(Record { typ, payload }))
    }
}

/// The header is of no record.
struct Foreigner;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_a_record_when_all_of_it_is_there() {
        let record = [22, 3, 1, 0, 2, 7, 7];
        for n in 0..record.len() {
            assert_eq!(front(&record[..n]), Front::Partial, "{n}");
        }
        assert_eq!(front(&record), Front::Record(7));
        assert_eq!(front(&[&record[..], &record].concat()), Front::Record(7));
        assert_eq!(front(&[23, 3, 3, 0, 0]), Front::Record(5), "empty data is allowed");
    }

    #[test]
    fn what_is_no_tls_is_known_by_its_first_odd_byte() {
        for odd in [&b"G"[..], b"SSH-2.0", &[22, 2], &[22, 3, 3, 0, 0], &[23, 3, 3, 0xff, 0xff]] {
            assert_eq!(front(odd), Front::Foreign, "{odd:?}");
        }
    }

    #[test]
    fn records_are_followed_through_pieces_of_any_size() {
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
