//! Bytes are gathered before a job starts: a peer that sends them one by one costs one job, not one for each.

use std::io::{Read, Write};
use std::sync::Arc;

use job_core::JobPool;
use proptest::prelude::*;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP384R1, X25519};
use rustls::version::{TLS12, TLS13};
use ssl_async::{Acceptor, Outcome, Ssl, SslContext, SslError};

use crate::support::{
    Fixture, KeyType, Pipe, PlainPeer, Version, client_config, fixture, pipe, provider,
    server_config,
};

/// Segmentation of a handshake message.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// A record in one piece.
    Not,
    /// A record in pieces of one byte.
    Bytes,
    /// Into records of one byte of payload, each in one piece.
    Records,
}

/// The client's output, cut into pieces.
fn flight(client: &mut PlainPeer, cut: Cut) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    while client.tls.wants_write() {
        client.tls.write_tls(&mut bytes).unwrap();
    }
    match cut {
        Cut::Not => vec![bytes],
        Cut::Bytes => bytes.iter().map(|byte| vec![*byte]).collect(),
        Cut::Records => {
            let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
            while let [kind, major, minor, high, low, behind @ ..] = rest {
                let (body, behind) =
                    behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
                // Encrypted records cannot be split; a change of cipher is one byte.
                match kind {
                    22 => pieces.extend(body.iter().map(|b| vec![22, *major, *minor, 0, 1, *b])),
                    _ => pieces.push([&[*kind, *major, *minor, *high, *low], body].concat()),
                }
                rest = behind;
            }
            pieces
        }
    }
}

/// The number of jobs of a handshake whose client sends its flights so.
fn jobs(fixture: &Fixture, context: &SslContext, config: rustls::ClientConfig, cut: Cut) -> u64 {
    fixture.device.set_answers_at_once(true);
    let pool = JobPool::new();
    let (ours, theirs) = pipe();
    let mut client = PlainPeer::client(config, theirs);
    let mut ssl = Ssl::accept(context, &pool, ours).unwrap();
    for _ in 0..4 {
        let cut =
            if client.tls.protocol_version() == Some(TLS12.version) { Cut::Bytes } else { cut };
        for piece in flight(&mut client, cut) {
            client.io.write_all(&piece).unwrap();
            let _outcome = ssl.do_handshake().unwrap();
        }
        if let Ok(n) = client.tls.read_tls(&mut client.io) {
            assert!(n > 0);
            client.tls.process_new_packets().unwrap();
        }
    }
    assert!(!ssl.is_handshaking() && !client.tls.is_handshaking(), "{ssl:?}");
    pool.stats().started
}

#[test]
fn a_hello_costs_one_job_however_it_is_cut_and_a_later_flight_one_per_record() {
    let fixture = fixture(KeyType::P256, 4);
    for (version, most) in [(&TLS12, 4), (&TLS13, 3)] {
        for cut in [Cut::Not, Cut::Bytes, Cut::Records] {
            let config = fixture.client_config(version);
            let jobs = jobs(&fixture, &fixture.server, config, cut);
            assert!(jobs <= most, "{version:?} {cut:?}: {jobs} jobs");
        }
    }
}

/// The second hello comes behind a change of cipher without meaning.
#[test]
fn a_second_hello_costs_one_job() {
    let fixture = fixture(KeyType::P256, 4);
    let groups = CryptoProvider { kx_groups: vec![SECP384R1], ..provider() };
    let config = server_config(groups, &[&TLS13], &fixture.identity, &fixture.key);
    let context = SslContext::server(Arc::new(config));
    for cut in [Cut::Not, Cut::Bytes, Cut::Records] {
        let groups = CryptoProvider { kx_groups: vec![X25519, SECP384R1], ..provider() };
        let config = client_config(groups, &TLS13, &fixture.identity);
        let jobs = jobs(&fixture, &context, config, cut);
        assert!(jobs <= 5, "{cut:?}: {jobs} jobs");
    }
}

#[test]
fn bytes_behind_a_hello_that_an_acceptor_has_read_are_gathered_too() {
    let fixture = fixture(KeyType::P256, 4);
    fixture.device.set_answers_at_once(true);
    for (version, most) in [(&TLS12, 4), (&TLS13, 3)] {
        let pool = JobPool::new();
        let (ours, theirs) = pipe();
        let mut client = fixture.client(version, theirs);
        client.step();
        let accepted = Acceptor::new(ours).accept().unwrap().ready().unwrap();
        let mut ssl = accepted.into_session(&fixture.server, &pool);
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
        let _n = client.tls.read_tls(&mut client.io).unwrap();
        client.tls.process_new_packets().unwrap();
        for piece in flight(&mut client, Cut::Bytes) {
            client.io.write_all(&piece).unwrap();
            let _outcome = ssl.do_handshake().unwrap();
        }
        assert!(!ssl.is_handshaking());
        assert!(pool.stats().started <= most, "{version:?}: {} jobs", pool.stats().started);
    }
}

/// The answer of plain rustls to these bytes, and whether it continues.
fn plain(fixture: &Fixture, version: Version, bytes: &[u8]) -> (Vec<u8>, bool) {
    let (ours, mut theirs) = pipe();
    theirs.write_all(bytes).unwrap();
    let mut server = PlainPeer::server(fixture.server_config(&[version]), ours);
    let goes_on = server.try_step().is_ok();
    while server.tls.wants_write() {
        server.tls.write_tls(&mut server.io).unwrap();
    }
    (theirs.peek(), goes_on)
}

/// The answer of a session to the same bytes in these pieces.
fn ours(fixture: &Fixture, version: Version, bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    let (ours, mut theirs) = pipe();
    let context = fixture.server_of(version);
    let mut ssl: Ssl<Pipe> = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
    let (mut rest, mut goes_on) = (bytes, true);
    for cut in cuts.iter().cycle() {
        let (piece, behind) = rest.split_at(rest.len().min(*cut));
        theirs.write_all(piece).unwrap();
        match ssl.do_handshake() {
            Ok(outcome) => assert_eq!(outcome, Outcome::WantRead),
            Err(SslError::Tls(_)) => goes_on = false,
            Err(error) => panic!("{error}"),
        }
        rest = behind;
        if rest.is_empty() || !goes_on {
            break;
        }
    }
    (theirs.peek(), goes_on)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// For bytes that are no hello, or a modified one, the alert is rustls's, and it is sent as early.
    #[test]
    fn wrong_bytes_are_refused_as_by_plain_rustls(
        prefix in prop::collection::vec(any::<u8>(), 0..12),
        is_header in prop::bool::weighted(0.7),
        changes in prop::collection::vec((0..60usize, any::<u8>()), 0..3),
        cuts in prop::collection::vec(1..40usize, 1..6),
        is_tls13: bool,
    ) {
        let version: Version = if is_tls13 { &TLS13 } else { &TLS12 };
        let fixture = fixture(KeyType::P256, 4);
        fixture.device.set_answers_at_once(true);
        let (_server, theirs) = pipe();
        let mut hello = flight(&mut fixture.client(version, theirs), Cut::Not).concat();
        for (at, value) in changes {
            hello[at] = value;
        }
        let bytes = if is_header { hello } else { [prefix, hello].concat() };
        let (told, goes_on) = plain(&fixture, version, &bytes);
        let (heard, went_on) = ours(&fixture, version, &bytes, &cuts);
        prop_assert_eq!(goes_on, went_on);
        if !goes_on {
            prop_assert_eq!(told, heard);
        }
    }
}

#[test]
fn bytes_that_cannot_be_tls_are_refused_at_the_first_wrong_byte() {
    let fixture = fixture(KeyType::P256, 4);
    for bytes in [&b"G"[..], &[22, 4, 4], &[22, 3, 1, 0xff, 0xff], &[22, 3, 1, 0, 0]] {
        let (ours, mut theirs) = pipe();
        let mut ssl = Ssl::accept(&fixture.server, &JobPool::new(), ours).unwrap();
        theirs.write_all(bytes).unwrap();
        assert!(matches!(ssl.do_handshake(), Err(SslError::Tls(_))), "{bytes:?}");
        let mut alert = [0; 7];
        theirs.read_exact(&mut alert).unwrap();
        assert_eq!(alert[..2], [21, 3], "{bytes:?}");
    }
}
