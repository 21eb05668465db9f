//! A growing buffer for secrets.

use zeroize::Zeroizing;

/// Where some bytes lie in a [`SecretBuffer`].
#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// Bytes that are wiped when the buffer is dropped, and in the old allocation when it grows into a larger one.
///
/// All secrets of a parked handshake share one allocation: the memory is cold when the handshake is resumed, and each
/// further allocation would cost another cache miss.
#[derive(Default)]
pub(crate) struct SecretBuffer {
    bytes: Zeroizing<Vec<u8>>,
}

/// Room left after the bytes that made the buffer grow. The first growth, for the server's random, holds what a TLS 1.3
/// handshake over X25519 or P-256 adds, with nothing to spare; the second one what ML-KEM adds.
const ROOM: usize = 104;

impl SecretBuffer {
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Span {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed + ROOM));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { start, end: needed as u32 }
    }

    pub(crate) fn get(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stay_valid_when_the_buffer_grows() {
        let mut buffer = SecretBuffer::default();
        let parts: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; usize::from(n) * 7]).collect();
        let spans: Vec<Span> = parts.iter().map(|part| buffer.append(part)).collect();
        for (part, span) in parts.iter().zip(spans) {
            assert_eq!((buffer.get(span), span.len()), (&part[..], part.len()));
        }
    }
}
