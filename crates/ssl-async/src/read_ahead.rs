//! What a session reads while its connection is away in a parked job: at most one record, to notice the peer's close.

use std::io::{self, Read};

/// The largest TLS record: a header, 2^14 bytes of plaintext and the most that protection may add (RFC 8446, 5.2; RFC
/// 5246, 6.2.3).
const RECORD: usize = 5 + (1 << 14) + 2048;

/// Bytes read ahead, in order. Empty most of the time, and then without an allocation.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    bytes: Vec<u8>,
    taken: usize,
}

/// What the peer did meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It is silent, or has sent as much as may be read ahead.
    There,
    /// It has closed the connection.
    Closed,
}

impl ReadAhead {
    /// Reads until the transport has no more, or until a whole record's worth is buffered.
    pub(crate) fn watch(&mut self, io: &mut dyn Read) -> io::Result<Peer> {
        // Most peers are silent meanwhile: nothing is allocated until something comes.
        let mut chunk = [0; CHUNK];
        while self.bytes.len() < RECORD {
            let room = CHUNK.min(RECORD - self.bytes.len());
            match io.read(&mut chunk[..room]) {
                Ok(0) => return Ok(Peer::Closed),
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Peer::There),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Peer::There)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }
}

/// Handshake flights are small; this much is read at once.
const CHUNK: usize = 1024;

impl Read for ReadAhead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = (&self.bytes[self.taken..]).read(into)?;
        self.taken += n;
        if self.is_empty() {
            *self = Self::default();
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A transport that gives these pieces, one a read, and then would block or is closed.
    struct Pieces(VecDeque<Vec<u8>>, bool);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                Some(mut piece) => {
                    let n = piece.len().min(into.len());
                    into[..n].copy_from_slice(&piece[..n]);
                    if n < piece.len() {
                        self.0.push_front(piece.split_off(n));
                    }
                    Ok(n)
                }
                None if self.1 => Ok(0),
                None => Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }

    #[test]
    fn what_was_read_ahead_comes_back_in_order() {
        let mut ahead = ReadAhead::default();
        let mut io = Pieces([b"one".to_vec(), b"two".to_vec()].into(), false);
        assert_eq!(ahead.watch(&mut io).unwrap(), Peer::There);
        let mut all = Vec::new();
        assert_eq!(ahead.read_to_end(&mut all).unwrap(), 6);
        assert_eq!(all, b"onetwo");
        assert!(ahead.is_empty());
    }

    #[test]
    fn a_silent_peer_costs_no_memory() {
        let mut ahead = ReadAhead::default();
        assert_eq!(ahead.watch(&mut Pieces([].into(), false)).unwrap(), Peer::There);
        assert_eq!(ahead.bytes.capacity(), 0);
    }

    #[test]
    fn a_flood_is_read_no_further_than_one_record() {
        let mut ahead = ReadAhead::default();
        let mut io = Pieces(vec![vec![7; 1000]; 100].into(), false);
        assert_eq!(ahead.watch(&mut io).unwrap(), Peer::There);
        let left: usize = io.0.iter().map(Vec::len).sum();
        assert_eq!(left, 100_000 - RECORD);
    }

    #[test]
    fn the_close_is_noticed_behind_the_data() {
        let mut ahead = ReadAhead::default();
        let mut io = Pieces([b"late".to_vec()].into(), true);
        assert_eq!(ahead.watch(&mut io).unwrap(), Peer::Closed);
    }
}
