//! Narrow transports, and peers that send nonsense.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crypto_ops::CryptoOp;
use engine_core::{DeviceError, Engine, Inline};
use job_core::JobPool;
use proptest::prelude::*;
use rustls::version::{TLS12, TLS13};
use ssl_async::{Outcome, Ssl, SslContext, SslError, offload};

use crate::support::{KeyType, Pipe, PlainPeer, fixture, localhost, pipe, provider, server_config};

/// Passes at most `bytes` per call, and blocks at every other call.
struct Trickle {
    inner: Pipe,
    bytes: usize,
    block_read: bool,
    block_write: bool,
}

impl Trickle {
    fn new(inner: Pipe, bytes: usize) -> Self {
        Self { inner, bytes, block_read: true, block_write: true }
    }
}

fn toggled(block: &mut bool) -> io::Result<()> {
    *block = !*block;
    if *block { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

impl Read for Trickle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        toggled(&mut self.block_read)?;
        let n = self.bytes.min(into.len());
        self.inner.read(&mut into[..n])
    }
}

impl Write for Trickle {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        toggled(&mut self.block_write)?;
        self.inner.write(&data[..self.bytes.min(data.len())])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_narrow_transport_changes_only_the_number_of_calls(
        tls13 in any::<bool>(),
        bytes in 1..400_usize,
        len in 1..60_000_usize,
    ) {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let (ours, theirs) = pipe();
        let mut peer = fixture.client(if tls13 { &TLS13 } else { &TLS12 }, theirs);
        let mut ssl = Ssl::accept(&fixture.server, &pool, Trickle::new(ours, bytes)).unwrap();
        let mut seen_want_write = false;
        for _ in 0..20_000 {
            peer.step();
            match ssl.do_handshake().unwrap() {
                Outcome::WantAsync => fixture.device.answer(),
                Outcome::WantWrite => seen_want_write = true,
                Outcome::Ready(()) if !peer.tls.is_handshaking() => break,
                _ => {}
            }
        }
        prop_assert!(seen_want_write && !peer.tls.is_handshaking());

        // Data both ways at once.
        let sent: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let (mut written, mut answered) = (0, 0);
        let (mut received, mut echoed) = (Vec::new(), Vec::new());
        for _ in 0..400_000 {
            if written < len {
                let end = len.min(written + 1000);
                written += peer.tls.writer().write(&sent[written..end]).unwrap();
            }
            let mut buffer = [0; 700];
            if let Outcome::Ready(n) = ssl.read(&mut buffer).unwrap() {
                received.extend_from_slice(&buffer[..n]);
            }
            if answered < received.len() {
                if let Outcome::Ready(n) = ssl.write(&received[answered..]).unwrap() {
                    answered += n;
                }
            } else {
                let _sent = ssl.flush().unwrap();
            }
            echoed.extend(peer.received());
            if echoed.len() == len {
                break;
            }
        }
        prop_assert!(received == sent && echoed == sent);
    }
}

/// Takes `room` bytes, then would block until it is given more.
struct Narrow {
    inner: Pipe,
    room: usize,
    blocked: bool,
}

impl Read for Narrow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into)
    }
}

impl Write for Narrow {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.room.min(data.len());
        self.blocked = n < data.len();
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= n;
        self.inner.write(&data[..n])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Call = fn(&mut Ssl<Narrow>) -> Result<Outcome<usize>, SslError>;

#[test]
fn a_call_wants_to_write_while_its_own_flight_has_not_left() {
    let calls: [(&str, Call); 4] = [
        ("do_handshake", |ssl| Ok(ssl.do_handshake()?.map(|()| 1))),
        ("read", |ssl| ssl.read(&mut [0; 32])),
        ("peek", |ssl| ssl.peek(&mut [0; 32])),
        ("write", |ssl| ssl.write(b"x")),
    ];
    for (name, call) in calls {
        for version in [&TLS12, &TLS13] {
            for is_server in [false, true] {
                let case = format!("{name}, {:?}, server: {is_server}", version.version);
                let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
                let (ours, theirs) = pipe();
                let io = Narrow { inner: ours, room: 0, blocked: false };
                let (mut ssl, mut peer) = if is_server {
                    let ssl = Ssl::accept(&fixture.server, &pool, io).unwrap();
                    (ssl, fixture.client(version, theirs))
                } else {
                    let context = SslContext::client(Arc::new(fixture.client_config(version)));
                    let key = fixture.keys.load_pem(&fixture.identity.pem).unwrap();
                    let keys = Arc::clone(&fixture.keys);
                    let inline = Inline::new(move |op: &CryptoOp| {
                        keys.execute(op).map_err(|_| DeviceError::Lost)
                    });
                    let key = offload::key_handle(Engine::builder(Arc::new(inline)).build(), key);
                    let config = server_config(provider(), &[version], &fixture.identity, &key);
                    let ssl = Ssl::connect(&context, &pool, localhost(), io);
                    (ssl, PlainPeer::server(config, theirs))
                };
                // The peer sends as soon as it may, so that `read` returns data.
                peer.tls.writer().write_all(b"hello").unwrap();
                let mut waits = 0;
                while peer.tls.is_handshaking() || ssl.is_handshaking() {
                    peer.step();
                    match call(&mut ssl).unwrap() {
                        Outcome::WantWrite => {
                            assert!(ssl.io().blocked, "{case}: nothing waits to be sent");
                            ssl.io_mut().room = 100;
                        }
                        Outcome::WantAsync => fixture.device.answer(),
                        Outcome::WantRead => {
                            assert!(!ssl.io().blocked, "{case}: the peer waits for the rest");
                        }
                        Outcome::Ready(_) | Outcome::WantAsyncJob => {}
                    }
                    waits += 1;
                    assert!(waits < 1000, "{case}: no end, {ssl:?}");
                }
                ssl.io_mut().room = 0;
                assert_eq!(ssl.shutdown().unwrap(), Outcome::WantWrite, "{case}");
                ssl.io_mut().room = 1000;
                assert_eq!(ssl.shutdown().unwrap(), Outcome::Ready(()), "{case}");
            }
        }
    }
}

/// A modification of a client's flight.
#[derive(Clone, Debug)]
enum Harm {
    None,
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Twice,
}

fn any_harm() -> impl Strategy<Value = Harm> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        3 => Just(Harm::None),
        2 => (at(), any::<u8>()).prop_map(|(at, mask)| Harm::Flip(at, mask)),
        1 => at().prop_map(Harm::Cut),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        1 => Just(Harm::Twice),
    ]
}

fn harmed(mut flight: Vec<u8>, harm: &Harm) -> Vec<u8> {
    if flight.is_empty() {
        return flight;
    }
    match harm {
        Harm::None => {}
        Harm::Flip(at, mask) => *at.get_mut(&mut flight) ^= mask,
        Harm::Cut(at) => flight.truncate(at.index(flight.len())),
        Harm::Insert(at, bytes) => {
            let at = at.index(flight.len());
            drop(flight.splice(at..at, bytes.iter().copied()));
        }
        Harm::Twice => flight = [flight.clone(), flight].concat(),
    }
    flight
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_peer_sends_and_the_device_does_nothing_panics_or_leaks(
        tls13 in any::<bool>(),
        steps in prop::collection::vec((any_harm(), any::<u8>()), 1..12),
    ) {
        let (fixture, pool) = (fixture(KeyType::P256, 4), JobPool::new());
        let (ours, mut theirs) = pipe();
        // Its output is modified before it goes into the pipe.
        let (unused, _) = pipe();
        let mut peer = fixture.client(if tls13 { &TLS13 } else { &TLS12 }, unused);
        let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
        for (harm, choice) in steps {
            let mut flight = Vec::new();
            while peer.tls.wants_write() {
                peer.tls.write_tls(&mut flight).unwrap();
            }
            let flight = harmed(flight, &harm);
            let (first, second) = flight.split_at(flight.len() / (usize::from(choice % 4) + 1));
            for part in [first, second] {
                theirs.write_all(part).unwrap();
                // Errors are allowed.
                let _outcome = match choice % 5 {
                    0 => ssl.read(&mut [0; 32]).map(|outcome| outcome.map(drop)),
                    1 => ssl.write(b"data").map(|outcome| outcome.map(drop)),
                    2 => ssl.watch_peer().map(Outcome::Ready),
                    _ => ssl.do_handshake(),
                };
                if fixture.device.held() > 0 && choice & 0x40 != 0 {
                    if choice & 0x20 == 0 { fixture.device.answer() } else { fixture.device.fail() }
                }
            }
            while peer.tls.read_tls(&mut theirs).is_ok_and(|n| n > 0) {
                let _refused = peer.tls.process_new_packets();
            }
        }
        drop(ssl);
        while fixture.device.held() > 0 {
            fixture.device.answer();
        }
        let (jobs, engine) = (pool.stats(), fixture.engine.stats());
        prop_assert_eq!((jobs.live, jobs.stacks_in_use, jobs.quarantined), (0, 0, 0));
        prop_assert_eq!((engine.requests.now, engine.waiters.now), (0, 0));
    }
}
