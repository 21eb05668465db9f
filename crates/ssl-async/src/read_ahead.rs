//! What has come from the peer and is not processed yet, how the peer's side ended, and what that end means for a packet.
//!
//! # A packet decides
//!
//! While a packet is processed, the session reads ahead, so that it notices when the peer closes. The close itself decides
//! nothing: the peer may have sent its last flight, data and an alert before it, and after a half-close it still reads. So
//! the packet comes to its end, then what was read ahead is processed, and only then does the end of the stream count, as
//! it would in plain rustls.
//!
//! The exception is a packet that is *parked* on an operation whose result can reach no peer. It is cancelled at once:
//! 1. when the transport has failed (a reset: both directions are closed), whatever the peer had sent;
//! 2. when the peer has closed its side and its `Finished` cannot have been sent, so that the handshake cannot complete:
//!    - a server whose `ServerHello` has not left, for a client's `Finished` answers it (a HelloRetryRequest is no
//!      `ServerHello`);
//!    - any other side that has received nothing but handshake records in the clear: a `Finished` is always encrypted, so
//!      it is, from outside, a record of data (TLS 1.3), or comes after `ChangeCipherSpec` (TLS 1.2). An alert, or bytes
//!      that are no TLS, are for rustls to judge: then the packet decides;
//! 3. when, in the same place, the peer has sent more than [`ReadAhead::limit`]: nothing in TLS allows that.
//!
//! # How far it reads
//!
//! [`READ_AHEAD`] bytes, and for a server in addition as much early data as its configuration allows, twice over for its
//! framing. Before the `ServerHello` a peer that sends more is refused (3), so a close is always seen there, over every
//! transport. Later a peer may send any amount behind its `Finished`; what exceeds the limit stays in the transport, and a
//! reset behind it is seen when the packet is done.

use core::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{ClosedDuring, SslError};
use crate::records::{self, Front, Mark, Records, Type};
use crate::rustls23::TlsError;

/// How many bytes are read ahead while a packet is away.
pub(crate) const READ_AHEAD: usize = 64 * 1024;

/// Handshake flights are small; this much is read at once.
const CHUNK: usize = 4096;

/// Bytes read and not processed, in order, and the end of the stream behind them. Empty most of the time, and then without
/// an allocation.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    bytes: Vec<u8>,
    taken: usize,
    end: Option<End>,
    /// The connection has received `close_notify`: what comes behind it is not for it.
    closed_by_tls: bool,
    seen: Seen,
    /// Where the connection is among its records, once the handshake is done.
    fed: Records,
}

/// How the peer's side of the transport ended.
#[derive(Debug)]
enum End {
    Closed,
    Failed(Arc<io::Error>),
}

/// What kinds of records have come.
#[derive(Debug, Default)]
struct Seen {
    records: Records,
    /// What came first of all is no TLS.
    foreign_from_the_start: bool,
    any: bool,
    change_cipher_spec: bool,
    /// Something has come that is not a handshake record in the clear: a `Finished` perhaps, an alert, or no TLS.
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

/// Whose last flight is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// A client's, and the `ServerHello` that it answers has not left.
    ClientBeforeServerHello { max_early_data: u32 },
    /// A client's, which may be on its way.
    Client,
    /// A server's.
    Server,
}

/// Where the packet is that a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketAt {
    /// In a job, waiting for an operation.
    Parked,
    /// In no job yet.
    Waiting,
}

/// What a connection in its handshake gets next.
pub(crate) enum Next {
    /// Whole records, or bytes that are no TLS.
    Records(Vec<u8>),
    /// Nothing, ever.
    End(SslError),
}

impl ReadAhead {
    /// How far to read ahead.
    fn limit(awaited: Awaited) -> usize {
        match awaited {
            Awaited::ClientBeforeServerHello { max_early_data } => {
                READ_AHEAD.saturating_add(2 * max_early_data as usize)
            }
            Awaited::Client | Awaited::Server => READ_AHEAD,
        }
    }

    /// Reads ahead while a packet is away, until the transport has no more, has ended, or the limit is reached.
    pub(crate) fn watch(&mut self, io: &mut dyn Read, awaited: Awaited) {
        while self.end.is_none() && self.len() < Self::limit(awaited) {
            match self.read_once(io) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.end = Some(End::Failed(Arc::new(error))),
            }
        }
    }

    /// Why a packet that is parked, or has no job yet, is to be cancelled at once. `None`: it decides. The rule is in the
    /// documentation of [this module](self).
    pub(crate) fn reason_to_cancel(&self, awaited: Awaited, packet: PacketAt) -> Option<SslError> {
        let incomplete = match (awaited, packet) {
            (Awaited::ClientBeforeServerHello { .. }, PacketAt::Parked) => true,
            // What is no hello never parks, and its sender is told so when the packet has its turn.
            (Awaited::ClientBeforeServerHello { .. }, PacketAt::Waiting) => {
                !self.seen.foreign_from_the_start
            }
            (Awaited::Client | Awaited::Server, _) => !self.seen.more_than_hellos,
        };
        match &self.end {
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

    /// What a connection in its handshake gets next; reads until there is something.
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
            match &self.end {
                Some(End::Closed) => {
                    return Ok(Next::End(SslError::PeerClosed(ClosedDuring::Handshake)));
                }
                Some(End::Failed(error)) => return Ok(Next::End(SslError::Io(Arc::clone(error)))),
                None => {}
            }
            match self.read_once(io) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    self.end = Some(End::Failed(Arc::new(error)));
                }
                read => read?,
            }
        }
    }

    /// The whole records that have come; everything from what is no TLS on.
    fn take_records(&mut self) -> Option<Vec<u8>> {
        let bytes = &self.bytes[self.taken..];
        let mut whole = 0;
        // Few at a time: a connection may stop behind each of them, and what it leaves is moved every time.
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
        let rest = bytes[whole..].to_vec();
        let mut records = core::mem::replace(&mut self.bytes, rest);
        records.truncate(self.taken + whole);
        records.drain(..core::mem::take(&mut self.taken));
        Some(records)
    }

    /// Puts back what a connection has not processed, before everything else.
    pub(crate) fn unread(&mut self, mut bytes: Vec<u8>) {
        if !bytes.is_empty() {
            bytes.extend_from_slice(&self.bytes[self.taken..]);
            (self.bytes, self.taken) = (bytes, 0);
        }
    }

    /// The connection has received `close_notify`, so it processes nothing more.
    pub(crate) fn close_by_tls(&mut self) {
        self.closed_by_tls = true;
    }

    /// Reads and forgets what the transport has now, at most `left` bytes.
    pub(crate) fn drain(&mut self, io: &mut dyn Read, left: &mut usize) {
        let mut chunk = [0; CHUNK];
        while self.end.is_none() && *left > 0 {
            match io.read(&mut chunk[..CHUNK.min(*left)]) {
                Ok(0) => self.end = Some(End::Closed),
                Ok(n) => *left -= n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// The transport as a connection sees it after the handshake.
    pub(crate) fn established<'a>(&'a mut self, io: &'a mut dyn Read) -> impl Read + 'a {
        Behind { ahead: self, io }
    }

    /// What was read and not processed.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.taken);
        self.bytes
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Reads once. An end of the stream is taken note of.
    fn read_once(&mut self, io: &mut dyn Read) -> io::Result<()> {
        // Most peers are silent while a packet is away: nothing is allocated until something comes.
        with_chunk(|chunk| {
            match io.read(chunk) {
                Ok(0) => self.end = Some(End::Closed),
                Ok(n) => {
                    self.seen.see(&chunk[..n]);
                    self.bytes.extend_from_slice(&chunk[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }
}

/// Calls `f` with [`CHUNK`] bytes, those of the thread: to zero as many for each read would cost more than all else that a read
/// does. A transport that reads another session in its own `read` finds them taken, and gets new ones.
fn with_chunk<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    // Gone, where a thread that ends reads in the destructor of a variable of its own.
    let mut chunk = SPARE.try_with(Cell::take).unwrap_or_default();
    chunk.resize(CHUNK, 0);
    let done = f(&mut chunk);
    let _gone = SPARE.try_with(|spare| spare.set(chunk));
    done
}

/// First what was read ahead, then the transport. A read ends behind a record that may be an alert: behind `close_notify`
/// another protocol may begin, and a connection would swallow it.
struct Behind<'a> {
    ahead: &'a mut ReadAhead,
    io: &'a mut dyn Read,
}

impl Read for Behind<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ahead = &mut *self.ahead;
        if ahead.len() > 0 {
            let unread = &ahead.bytes[ahead.taken..];
            let room = unread.len().min(into.len());
            let n = until_alert(&mut ahead.fed, &unread[..room]);
            into[..n].copy_from_slice(&unread[..n]);
            ahead.taken += n;
            if ahead.len() == 0 {
                (ahead.bytes, ahead.taken) = (Vec::new(), 0);
            }
            return Ok(n);
        }
        match &ahead.end {
            Some(End::Closed) => return Ok(0),
            Some(End::Failed(error)) => {
                return Err(io::Error::new(error.kind(), Arc::clone(error)));
            }
            None => {}
        }
        let n = self.io.read(into)?;
        let keep = until_alert(&mut ahead.fed, &into[..n]);
        if keep < n {
            ahead.bytes = into[keep..n].to_vec();
        }
        Ok(keep)
    }
}

/// How much of `bytes` comes before the end of the first record that may be an alert, that record included.
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

    /// A transport that gives these pieces, one a read, and then would block or ends.
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

    /// Whether this, and then a close, cancels a parked packet.
    fn cancels(awaited: Awaited, sent: &[&[u8]]) -> bool {
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::closed([&sent.concat()]), awaited);
        ahead.reason_to_cancel(awaited, PacketAt::Parked).is_some()
    }

    #[test]
    fn a_silent_peer_costs_no_memory() {
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::silent([]), UNANSWERED);
        assert_eq!((ahead.bytes.capacity(), ahead.end.is_none()), (0, true));
    }

    #[test]
    fn a_server_that_has_not_answered_is_cancelled_by_a_close_whatever_came_before_it() {
        for sent in [&[][..], &[HELLO], &[DATA; 9], &[CLOSE_NOTIFY], &[b"no TLS"]] {
            assert!(cancels(UNANSWERED, sent), "{sent:?}");
        }
    }

    #[test]
    fn a_close_lets_the_packet_decide_if_the_last_flight_may_be_there() {
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
    fn a_reset_cancels_in_every_place() {
        for awaited in [UNANSWERED, Awaited::Client, Awaited::Server] {
            let mut ahead = ReadAhead::default();
            ahead.watch(&mut Pieces::reset([CHANGE_CIPHER_SPEC, HELLO, DATA]), awaited);
            let error = ahead.reason_to_cancel(awaited, PacketAt::Parked);
            assert!(matches!(error, Some(SslError::Io(_))), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_hello_waits_for_its_job() {
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::closed([b"GET / HTTP/1.1\r\n\r\n"]), UNANSWERED);
        assert!(ahead.reason_to_cancel(UNANSWERED, PacketAt::Waiting).is_none());
        let mut ahead = ReadAhead::default();
        ahead.watch(&mut Pieces::closed([HELLO, b"GET / HTTP/1.1\r\n\r\n"]), UNANSWERED);
        assert!(ahead.reason_to_cancel(UNANSWERED, PacketAt::Waiting).is_some());
    }

    #[test]
    fn a_flood_is_read_to_the_limit_and_refused_where_nothing_allows_it() {
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
    fn a_handshake_gets_whole_records_and_then_the_end() {
        let mut ahead = ReadAhead::default();
        let mut io = Pieces::closed([&HELLO[..3], &[&HELLO[3..], HELLO, &DATA[..5]].concat()]);
        let Ok(Next::Records(records)) = ahead.next(&mut io) else { panic!("records") };
        assert_eq!(records, [HELLO, HELLO].concat());
        assert!(matches!(ahead.next(&mut io), Ok(Next::End(SslError::PeerClosed(_)))));
        ahead.unread(HELLO.to_vec());
        assert_eq!(ahead.into_bytes(), [HELLO, &DATA[..5]].concat());
    }

    #[test]
    fn what_is_no_tls_is_handed_over_as_it_comes() {
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
