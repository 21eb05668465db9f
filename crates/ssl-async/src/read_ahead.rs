//! Bytes received from the peer and not processed yet, and what the end of the stream means for a packet.
//!
//! # When a close cancels a packet
//!
//! While a packet is processed, the session reads ahead, so that it notices when the peer closes. A close alone cancels
//! nothing: the peer may have sent its last flight, data and an alert before it, and after a half-close it still reads. So
//! the packet is finished, then the bytes read ahead are processed, and only then does the end of the stream count, as in
//! plain rustls.
//!
//! A packet that is *parked* on an operation whose result can reach no peer is cancelled at once:
//! 1. when the transport has failed (a reset: both directions are closed), whatever the peer had sent;
//! 2. when the peer has closed its side and cannot have sent its `Finished`, so that the handshake cannot complete:
//!    - on a server whose `ServerHello` has not left, because a client's `Finished` answers it (a HelloRetryRequest is no
//!      `ServerHello`);
//!    - on any other side that has received only handshake records in the clear: a `Finished` is always encrypted, so it
//!      looks like application data (TLS 1.3) or follows `ChangeCipherSpec` (TLS 1.2). Alerts and bytes that are no TLS are
//!      left to rustls: they cancel nothing;
//! 3. when, in the same places, the peer has sent more than [`ReadAhead::limit`]: nothing in TLS allows that.
//!
//! # How far it reads
//!
//! [`READ_AHEAD`] bytes, and on a server in addition twice the early data that its configuration allows, to make room for
//! the framing. Before the `ServerHello` a peer that sends more is refused (3), so a close is always seen there, over every
//! transport. Later a peer may send any amount behind its `Finished`; bytes beyond the limit stay in the transport, and a
//! reset behind them is seen when the packet is done.

use core::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{ClosedDuring, SslError};
use crate::records::{self, Front, Mark, Records, Type};
use crate::rustls23::TlsError;

/// The number of bytes read ahead while a packet is processed.
pub(crate) const READ_AHEAD: usize = 64 * 1024;

/// The size of one read. Handshake flights are small.
const CHUNK: usize = 4096;

/// Bytes read and not processed, in order, and the end of the stream behind them. Allocates nothing while empty, which it is
/// most of the time.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    held: Option<Box<Held>>,
    /// The connection has received `close_notify`: the bytes behind it are not for it.
    closed_by_tls: bool,
    seen: Seen,
    /// Follows the records handed to the connection after the handshake.
    fed: Records,
}

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// How many of `bytes` a connection has taken.
    taken: usize,
    end: Option<End>,
}

impl Held {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}

/// The end of the stream.
#[derive(Debug)]
enum End {
    Closed,
    Failed(Arc<io::Error>),
}

/// The kinds of records received.
#[derive(Debug, Default)]
struct Seen {
    records: Records,
    /// The first bytes are no TLS.
    foreign_from_the_start: bool,
    any: bool,
    change_cipher_spec: bool,
    /// Something other than handshake records in the clear was received: perhaps a `Finished`, an alert, or no TLS.
    more_than_hellos: bool,
}

impl Seen {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (n, mark) = self.records.step(bytes);
            bytes = &bytes[n..];
            match mark {
                Some(Mark::Begins(record)) => match record.typ {
                    Type::ChangeCipherSpec => self.change_cipher_spec = true,
                    Type::Handshake => self.more_than_hellos |= self.change_cipher_spec,
                    Type::Alert | Type::ApplicationData => self.more_than_hellos = true,
                },
                Some(Mark::Foreign) => {
                    self.foreign_from_the_start |= !self.any;
                    self.more_than_hellos = true;
                }
                Some(Mark::Ends(_)) | None => {}
            }
            self.any |= mark.is_some();
        }
    }
}

/// The peer whose last flight is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// A client, and the `ServerHello` that its flight answers has not left.
    ClientBeforeServerHello {
        max_early_data: u32,
    },
    /// A client whose flight may be on its way.
    Client,
    Server,
}

/// The state of the packet that a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketAt {
    /// Paused in a job.
    Parked,
    /// Waiting for a job.
    Waiting,
}

/// The next input of a connection in its handshake.
pub(crate) enum Next {
    /// Whole records, or bytes that are no TLS.
    Records(Vec<u8>),
    /// The stream has ended.
    End(SslError),
}

impl ReadAhead {
    /// The number of unprocessed bytes at which reading ahead stops.
    fn limit(awaited: Awaited) -> usize {
        match awaited {
            Awaited::ClientBeforeServerHello { max_early_data } => {
                READ_AHEAD.saturating_add(2 * max_early_data as usize)
            }
            Awaited::Client | Awaited::Server => READ_AHEAD,
        }
    }

    fn end(&self) -> Option<&End> {
        self.held.as_ref()?.end.as_ref()
    }

    fn set_end(&mut self, end: End) {
        self.held.get_or_insert_default().end = Some(end);
    }

    fn unread_bytes(&self) -> &[u8] {
        self.held.as_ref().map_or(&[], |held| held.unread())
    }

    /// Reads ahead while a packet is away, until the transport has no more, has ended, or the limit is reached.
    pub(crate) fn watch(&mut self, io: &mut dyn Read, awaited: Awaited) {
        while self.end().is_none() && self.len() < Self::limit(awaited) {
            match self.read_once(io) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.set_end(End::Failed(Arc::new(error))),
            }
        }
    }

    /// The reason to cancel a packet at once that is parked or waits for a job. `None`: let it finish. See the rule in
    /// [this module](self).
    pub(crate) fn reason_to_cancel(&self, awaited: Awaited, packet: PacketAt) -> Option<SslError> {
        let incomplete = match (awaited, packet) {
            (Awaited::ClientBeforeServerHello { .. }, PacketAt::Parked) => true,
            // Bytes that are no hello never park: the packet fails as soon as it has a job, and sends the alert.
            (Awaited::ClientBeforeServerHello { .. }, PacketAt::Waiting) => {
                !self.seen.foreign_from_the_start
            }
            (Awaited::Client | Awaited::Server, _) => !self.seen.more_than_hellos,
        };
        match self.end() {
            Some(End::Failed(error)) => Some(SslError::Io(Arc::clone(error))),
            Some(End::Closed) if incomplete => Some(SslError::PeerClosed(ClosedDuring::Handshake)),
            None if incomplete && self.len() >= Self::limit(awaited) => {
                let limit = Self::limit(awaited);
                Some(SslError::Tls(TlsError::General(format!(
                    "the peer sent more than {limit} bytes before it was answered"
                ))))
            }
            Some(End::Closed) | None => None,
        }
    }

    /// Reads until there is input for a connection in its handshake.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the transport has no more now.
    pub(crate) fn next(&mut self, io: &mut dyn Read) -> io::Result<Next> {
        loop {
            if self.closed_by_tls {
                return Ok(Next::End(SslError::PeerClosed(ClosedDuring::Handshake)));
            }
            if let Some(records) = self.take_records() {
                return Ok(Next::Records(records));
            }
            match self.end() {
                Some(End::Closed) => {
                    return Ok(Next::End(SslError::PeerClosed(ClosedDuring::Handshake)));
                }
                Some(End::Failed(error)) => return Ok(Next::End(SslError::Io(Arc::clone(error)))),
                None => {}
            }
            match self.read_once(io) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    self.set_end(End::Failed(Arc::new(error)));
                }
                read => read?,
            }
        }
    }

    /// Takes whole records, and everything behind the first byte that is no TLS.
    fn take_records(&mut self) -> Option<Vec<u8>> {
        let held = self.held.as_mut()?;
        let bytes = held.unread();
        let mut whole = 0;
        // A few at a time: a connection may stop behind each record and put the others back.
        while whole < bytes.len().min(CHUNK) {
            match records::front(&bytes[whole..]) {
                Front::Record(n) => whole += n,
                Front::Partial => break,
                Front::Foreign => whole = bytes.len(),
            }
        }
        if whole == 0 {
            return None;
        }
        let records = match whole == held.bytes.len() {
            true => core::mem::take(&mut held.bytes),
            false => bytes[..whole].to_vec(),
        };
        self.advance(whole);
        Some(records)
    }

    /// Marks `n` unread bytes as taken.
    fn advance(&mut self, n: usize) {
        let Some(held) = &mut self.held else { return };
        held.taken += n;
        if held.taken >= held.bytes.len() {
            (held.bytes, held.taken) = (Vec::new(), 0);
            if held.end.is_none() {
                self.held = None;
            }
        }
    }

    /// Puts back bytes that a connection has taken and not processed, before all others.
    pub(crate) fn unread(&mut self, mut bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let held = self.held.get_or_insert_default();
        if let Some(start) = held.taken.checked_sub(bytes.len()) {
            held.bytes[start..held.taken].copy_from_slice(&bytes);
            held.taken = start;
        } else {
            bytes.extend_from_slice(held.unread());
            (held.bytes, held.taken) = (bytes, 0);
        }
    }

    /// Called when the connection has received `close_notify`: it processes nothing more.
    pub(crate) fn close_by_tls(&mut self) {
        self.closed_by_tls = true;
    }

    /// Reads and discards what the transport has now, at most `left` bytes.
    pub(crate) fn drain(&mut self, io: &mut dyn Read, left: &mut usize) {
        let mut chunk = [0; CHUNK];
        while self.end().is_none() && *left > 0 {
            match io.read(&mut chunk[..CHUNK.min(*left)]) {
                Ok(0) => self.set_end(End::Closed),
                Ok(n) => *left -= n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// The input of a connection after the handshake.
    pub(crate) fn established<'a>(&'a mut self, io: &'a mut dyn Read) -> impl Read + 'a {
        ReadAheadFirst { ahead: self, io }
    }

    /// The bytes read and not processed.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut held = self.held.map(|held| *held).unwrap_or_default();
        held.bytes.drain(..held.taken);
        held.bytes
    }

    fn len(&self) -> usize {
        self.unread_bytes().len()
    }

    /// Reads once. Records an end of the stream.
    fn read_once(&mut self, io: &mut dyn Read) -> io::Result<()> {
        // Most peers send nothing while a packet is processed: allocate only when bytes arrive.
        with_chunk(|chunk| {
            match io.read(chunk) {
                Ok(0) => self.set_end(End::Closed),
                Ok(n) => {
                    self.seen.see(&chunk[..n]);
                    let held = self.held.get_or_insert_default();
                    held.bytes.drain(..core::mem::take(&mut held.taken));
                    held.bytes.extend_from_slice(&chunk[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }
}

/// Calls `f` with the thread's buffer of [`CHUNK`] bytes: zeroing a new one would cost more than the rest of a read. A
/// transport whose `read` reads another session gets a new buffer.
fn with_chunk<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    // Not available in destructors of the thread's other variables.
    let mut chunk = SPARE.try_with(Cell::take).unwrap_or_default();
    chunk.resize(CHUNK, 0);
    let done = f(&mut chunk);
    let _unavailable = SPARE.try_with(|spare| spare.set(chunk));
    done
}

/// Reads first what was read ahead, then the transport. A read ends behind a record that may be an alert: another protocol
/// may begin behind `close_notify`, and rustls would consume its bytes.
struct ReadAheadFirst<'a> {
    ahead: &'a mut ReadAhead,
    io: &'a mut dyn Read,
}

impl Read for ReadAheadFirst<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ahead = &mut *self.ahead;
        let unread = ahead.held.as_ref().map_or(&[][..], |held| held.unread());
        if !unread.is_empty() {
            let room = unread.len().min(into.len());
            let n = until_alert(&mut ahead.fed, &unread[..room]);
            into[..n].copy_from_slice(&unread[..n]);
            ahead.advance(n);
            return Ok(n);
        }
        match ahead.end() {
            Some(End::Closed) => return Ok(0),
            Some(End::Failed(error)) => {
                return Err(io::Error::new(error.kind(), Arc::clone(error)));
            }
            None => {}
        }
        let n = self.io.read(into)?;
        let keep = until_alert(&mut ahead.fed, &into[..n]);
        if keep < n {
            ahead.held.get_or_insert_default().bytes = into[keep..n].to_vec();
        }
        Ok(keep)
    }
}

/// The length of `bytes` up to the end of the first record that may be an alert.
fn until_alert(fed: &mut Records, bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let (n, mark) = fed.step(&bytes[at..]);
        at += n;
        if matches!(mark, Some(Mark::Ends(record)) if record.may_be_alert()) {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A transport that returns one of these pieces per read, and then would block or ends.
    struct Pieces(VecDeque<Vec<u8>>, Option<io::ErrorKind>);

    impl Pieces {
        fn silent<const N: usize>(pieces: [&[u8]; N]) -> Self {
            Self(pieces.map(<[u8]>::to_vec).into(), Some(io::ErrorKind::WouldBlock))
        }

        fn closed<const N: usize>(pieces: [&[u8]; N]) -> Self {
            Self(pieces.map(<[u8]>::to_vec).into(), None)
        }

        fn reset<const N: usize>(pieces: [&[u8]; N]) -> Self {
            Self(pieces.map(<[u8]>::to_vec).into(), Some(io::ErrorKind::ConnectionReset))
        }
    }

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match (self.0.pop_front(), self.1) {
                (Some(mut piece), _) => {
                    let n = piece.len().min(into.len());
                    into[..n].copy_from_slice(&piece[..n]);
                    if n < piece.len() {
                        self.0.push_front(piece.split_off(n));
                    }
                    Ok(n)
                }
                (None, None) => Ok(0),
                (None, Some(kind)) => Err(kind.into()),
            }
        }
    }

    const UNANSWERED: Awaited = Awaited::ClientBeforeServerHello { max_early_data: 0 };
    const HELLO: &[u8] = &[22, 3, 1, 0, 1, 7];
    const CHANGE_CIPHER_SPEC: &[u8] = &[20, 3, 3, 0, 1, 1];
    const DATA: &[u8] = &[23, 3, 3, 0, 1, 7];
    const CLOSE_NOTIFY: &[u8] = &[21, 3, 3, 0, 2, 1, 0];

    /// Whether these bytes and then a close cancel a parked packet.
    fn cancels(awaited: Awaited, sent: &[&[u8]]) -> bool {
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::closed([&sent.concat()]), awaited);
        ahead.reason_to_cancel(awaited, PacketAt::Parked).is_some()
    }

    #[test]
    fn a_silent_peer_costs_no_memory() {
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::silent([]), UNANSWERED);
        assert!(ahead.held.is_none());
    }

    #[test]
    fn a_server_that_has_not_answered_is_cancelled_by_a_close_whatever_came_before_it() {
        for sent in [&[][..], &[HELLO], &[DATA; 9], &[CLOSE_NOTIFY], &[b"no TLS"]] {
            assert!(cancels(UNANSWERED, sent), "{sent:?}");
        }
    }

    #[test]
    fn a_close_cancels_no_packet_if_the_last_flight_may_have_been_sent() {
        for awaited in [Awaited::Client, Awaited::Server] {
            for sent in [&[][..], &[HELLO], &[HELLO, CHANGE_CIPHER_SPEC]] {
                assert!(cancels(awaited, sent), "{sent:?}");
            }
            let finished: [&[&[u8]]; 4] =
                [&[CHANGE_CIPHER_SPEC, HELLO], &[HELLO, DATA], &[CLOSE_NOTIFY], &[b"SSH-2.0"]];
            for sent in finished {
                assert!(!cancels(awaited, sent), "{sent:?}");
            }
        }
    }

    #[test]
    fn a_reset_always_cancels() {
        for awaited in [UNANSWERED, Awaited::Client, Awaited::Server] {
            let mut ahead = ReadAhead::default();
            ahead.watch(&mut Pieces::reset([CHANGE_CIPHER_SPEC, HELLO, DATA]), awaited);
            let error = ahead.reason_to_cancel(awaited, PacketAt::Parked);
            assert!(matches!(error, Some(SslError::Io(_))), "{error:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_hello_wait_for_a_job() {
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::closed([b"GET / HTTP/1.1\r\n\r\n"]), UNANSWERED);
        assert!(ahead.reason_to_cancel(UNANSWERED, PacketAt::Waiting).is_none());
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::closed([HELLO, b"GET / HTTP/1.1\r\n\r\n"]), UNANSWERED);
        assert!(ahead.reason_to_cancel(UNANSWERED, PacketAt::Waiting).is_some());
    }

    #[test]
    fn a_flood_is_read_up_to_the_limit_and_refused_before_the_server_hello() {
        let flood = vec![7; READ_AHEAD + 5000];
        let early = Awaited::ClientBeforeServerHello { max_early_data: 1 << 14 };
        for (awaited, refused) in [(UNANSWERED, true), (early, false), (Awaited::Client, false)] {
            let mut ahead = ReadAhead::default();
            ahead.watch(&mut Pieces::silent([HELLO, DATA, &flood]), awaited);
            assert!(ahead.len() < ReadAhead::limit(awaited) + CHUNK, "{awaited:?}");
            let error = ahead.reason_to_cancel(awaited, PacketAt::Parked);
            assert_eq!(matches!(error, Some(SslError::Tls(_))), refused, "{awaited:?}");
        }
    }

    #[test]
    fn a_handshake_reads_whole_records_and_then_the_end() {
        let mut ahead = ReadAhead::default();
        let mut io = Pieces::closed([&HELLO[..3], &[&HELLO[3..], HELLO, &DATA[..5]].concat()]);
        let Ok(Next::Records(records)) = ahead.next(&mut io) else { panic!("records") };
        assert_eq!(records, [HELLO, HELLO].concat());
        assert!(matches!(ahead.next(&mut io), Ok(Next::End(SslError::PeerClosed(_)))));
        ahead.unread(HELLO.to_vec());
        assert_eq!(ahead.into_bytes(), [HELLO, &DATA[..5]].concat());
    }

    #[test]
    fn records_taken_in_part_and_put_back_keep_their_order() {
        let mut ahead = ReadAhead::default();
        ahead.unread([HELLO, DATA, &DATA[..3]].concat());
        let Ok(Next::Records(records)) = ahead.next(&mut Pieces::silent([])) else { panic!() };
        assert_eq!(records, [HELLO, DATA].concat());
        ahead.unread(DATA.to_vec());
        let taken = |ahead: &ReadAhead| ahead.held.as_ref().map(|held| held.taken);
        assert_eq!(
            (ahead.len(), taken(&ahead)),
            (DATA.len() + 3, Some(HELLO.len())),
            "nothing is moved"
        );
        ahead.unread([HELLO, HELLO].concat());
        let rest = [HELLO, HELLO, DATA, DATA].concat();
        ahead.watch(&mut Pieces::silent([&DATA[3..]]), Awaited::Client);
        assert_eq!((taken(&ahead), ahead.into_bytes()), (Some(0), rest));
    }

    #[test]
    fn bytes_that_are_no_tls_are_returned_at_once() {
        let mut ahead = ReadAhead::default();
        let Ok(Next::Records(records)) = ahead.next(&mut Pieces::silent([b"G"])) else {
            panic!("bytes")
        };
        assert_eq!(records, b"G");
    }

    #[test]
    fn a_connection_reads_no_further_than_an_alert() {
        for split in 0..DATA.len() {
            let mut ahead = ReadAhead::default();
            ahead.unread(DATA[..split].to_vec());
            let rest = [&DATA[split..], CLOSE_NOTIFY, b"next protocol"].concat();
            let mut io = Pieces::silent([&rest]);
            let (mut read, mut buffer) = (Vec::new(), [0; 100]);
            while !read.ends_with(CLOSE_NOTIFY) {
                let n = ahead.established(&mut io).read(&mut buffer).unwrap();
                read.extend_from_slice(&buffer[..n]);
            }
            assert_eq!(read, [DATA, CLOSE_NOTIFY].concat());
            assert_eq!(ahead.into_bytes(), b"next protocol");
        }
    }
}
