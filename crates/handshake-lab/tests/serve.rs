//! The server of `lab serve`, within the process: what it negotiates, how it drains, and what it reports.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use handshake_lab::{
    certs::TestPki,
    scenario::{self, KeyType},
    serve::{CertFiles, EngineChoice, Identity, ServePlan, ServeReport, Serving, Threads},
    server::Limits,
};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

/// Longer than anything here takes; a test that needs it has failed.
const LIMIT: Duration = Duration::from_secs(20);

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn serving(pki: &TestPki, engine: EngineChoice) -> Serving {
    serving_as(vec![Identity::of(pki).expect("a fresh key")], engine)
}

fn serving_as(identities: Vec<Identity>, engine: EngineChoice) -> Serving {
    let local = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let limits = Limits { handshake: Some(LIMIT), request: Some(LIMIT), idle: Some(LIMIT) };
    Serving::start(ServePlan {
        listen: local.clone(),
        metrics: local,
        identities,
        engine,
        workers: 1,
        limits,
        drain: LIMIT,
    })
    .expect("it listens")
}

fn threads(latency_ms: u64) -> EngineChoice {
    EngineChoice::Threads(Threads {
        threads: 64,
        ring: 64,
        latency: Duration::from_millis(latency_ms),
    })
}

fn sim(latency_ms: f64) -> EngineChoice {
    EngineChoice::Sim(scenario::DeviceSpec {
        latency_ms,
        ring: 64,
        units: 64,
        ..scenario::DeviceSpec::default()
    })
}

fn config(
    pki: &TestPki,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.expect("the versions").with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A client that has said hello and no more.
fn hello(serving: &Serving, config: &Arc<ClientConfig>) -> Stream {
    hello_for(serving, config, "localhost")
}

/// The same, for a host.
fn hello_for(serving: &Serving, config: &Arc<ClientConfig>, host: &str) -> Stream {
    let socket = TcpStream::connect(serving.address()).expect("it listens");
    socket.set_read_timeout(Some(LIMIT)).expect("a socket");
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut client = StreamOwned::new(tls, socket);
    client.conn.write_tls(&mut client.sock).expect("the hello leaves");
    client
}

/// Asks for the page and reads until the end.
fn ask(client: &mut Stream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("it leaves");
    let mut text = String::new();
    client.read_to_string(&mut text).expect("an answer and close_notify");
    text
}

/// Fetches a page of the metrics.
fn fetch(serving: &Serving, path: &str) -> String {
    let address = serving.metrics_address().expect("metrics");
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(LIMIT)).expect("a socket");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it leaves");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("an answer");
    text
}

/// The value of a metric without labels.
fn metric(serving: &Serving, name: &str) -> u64 {
    let page = fetch(serving, "/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().expect("a number")
}

fn is_empty(report: &ServeReport) -> bool {
    report.ledger.entries().iter().all(|(_, level)| level.now == 0)
}

#[test]
fn a_drain_answers_every_request_whose_handshake_was_accepted() {
    let pki = TestPki::generate(KeyType::P256).expect("certificates");
    for engine in [threads(200), sim(200.0)] {
        let serving = serving(&pki, engine);
        let config = config(&pki, &[&TLS13, &TLS12]);
        let mut clients: Vec<Stream> = (0..60).map(|_| hello(&serving, &config)).collect();
        while metric(&serving, "layby_engine_accepted_total") < 60 {
            std::thread::yield_now();
        }
        let address = serving.metrics_address().expect("metrics");
        let drain = std::thread::spawn(move || serving.drain().expect("it ends"));
        for client in &mut clients {
            let answer = ask(client);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        let report = drain.join().expect("no panic");
        assert_eq!((report.handshakes, report.requests, report.abandoned), (60, 60, 0));
        assert!(is_empty(&report), "{report:?}");
        assert!(TcpStream::connect(address).is_err(), "the metrics have ended with the server");
    }
}

#[test]
fn the_end_does_not_wait_for_a_signature_whose_client_hung_up() {
    let pki = TestPki::generate(KeyType::P256).expect("certificates");
    let hour = 3_600_000;
    let serving = serving(&pki, threads(hour));
    let config = config(&pki, &[&TLS13]);
    let client = hello(&serving, &config);
    while metric(&serving, "layby_engine_accepted_total") < 1 {
        std::thread::yield_now();
    }
    drop(client);
    let report = serving.drain().expect("it ends");
    assert_eq!((report.hung_up, report.cancelled), (1, 1));
    // None if the client was faster than the thread that would have signed.
    assert!(report.in_device <= 1, "{report:?}");
    assert!(is_empty(&report), "{report:?}");
}

#[test]
fn clients_resume_and_agree_on_http_in_both_versions() {
    let pki = TestPki::generate(KeyType::P256).expect("certificates");
    let serving = serving(&pki, sim(1.0));
    for (version, named) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let config = config(&pki, &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = hello(&serving, &config);
            assert!(ask(&mut client).contains("Layby"));
            assert_eq!(client.conn.protocol_version(), Some(named));
            assert_eq!(client.conn.handshake_kind(), Some(kind), "{named:?}");
            assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
    }
    let report = serving.drain().expect("it ends");
    // A resumed handshake needs no key.
    assert_eq!((report.handshakes, report.ops, report.failed), (4, 2, 0));
}

#[test]
fn the_page_has_the_same_length_for_every_client() {
    let pki = TestPki::generate(KeyType::P256).expect("certificates");
    let serving = serving(&pki, EngineChoice::Inline);
    let config = config(&pki, &[&TLS13]);
    let lengths: Vec<usize> = (0..12).map(|_| ask(&mut hello(&serving, &config)).len()).collect();
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    serving.drain().expect("it ends");
}

#[test]
fn health_and_metrics_are_told_beside_the_workers() {
    let pki = TestPki::generate(KeyType::P256).expect("certificates");
    let serving = serving(&pki, sim(1.0));
    let config = config(&pki, &[&TLS13]);
    ask(&mut hello(&serving, &config));
    assert!(fetch(&serving, "/health").ends_with("\r\n\r\nok\n"));
    assert!(fetch(&serving, "/other").starts_with("HTTP/1.1 404 "));
    let page = fetch(&serving, "/metrics");
    assert!(page.contains("Content-Type: text/plain; version=0.0.4"), "{page}");
    assert_eq!(metric(&serving, "layby_handshakes_total"), 1);
    assert_eq!(metric(&serving, "layby_requests_total"), 1);
    assert_eq!(metric(&serving, "layby_engine_completed_total"), 1);
    serving.drain().expect("it ends");
}

/// Writes certificate and key into a directory.
fn write(directory: &Path, pki: &TestPki) {
    std::fs::write(directory.join("cert.pem"), &pki.certificate_pem).expect("a file");
    std::fs::write(directory.join("key.pem"), &pki.key_pem).expect("a file");
}

#[test]
fn a_reload_changes_the_certificate_of_new_handshakes_and_disturbs_no_parked_one() {
    let [first, second, third] = [KeyType::P256, KeyType::Rsa2048, KeyType::Ed25519]
        .map(|key| TestPki::generate(key).expect("certificates"));
    let directory = tempfile::TempDir::new().expect("a directory");
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let files = CertFiles::Pairs(vec![(cert.clone(), key.clone())]);
    for engine in [EngineChoice::Inline, threads(100), sim(100.0)] {
        let mut serving = serving(&first, engine.clone());
        let [old, new, newest] =
            [&first, &second, &third].map(|pki| config(pki, &[&TLS13, &TLS12]));
        let mut parked = hello(&serving, &old);
        let parks = !matches!(engine, EngineChoice::Inline);
        while parks && metric(&serving, "layby_engine_accepted_total") < 1 {
            std::thread::yield_now();
        }
        if !parks {
            // Nothing parks: done before the reload.
            assert!(ask(&mut parked).contains("Layby"));
        }
        write(directory.path(), &second);
        serving.reload(&files).expect("good files");
        let mut fresh = hello(&serving, &new);
        assert!(ask(&mut fresh).contains("Layby"));
        if parks {
            assert!(ask(&mut parked).contains("Layby"));
        }

        // Bad files change nothing, whatever is bad.
        std::fs::write(&key, &first.key_pem).expect("a file");
        let refused = serving.reload(&files).expect_err("not a pair").to_string();
        assert!(refused.contains("not the key of the certificate"), "{refused}");
        std::fs::write(&key, "").expect("a file");
        let refused = serving.reload(&files).expect_err("no key").to_string();
        assert!(refused.contains("an empty file"), "{refused}");
        std::fs::remove_file(&cert).expect("it was there");
        serving.reload(&files).expect_err("no file");
        assert!(ask(&mut hello(&serving, &new)).contains("Layby"));

        write(directory.path(), &third);
        serving.reload(&files).expect("good files");
        assert!(ask(&mut hello(&serving, &newest)).contains("Layby"));
        let report = serving.drain().expect("it ends");
        assert_eq!((report.failed, report.handshakes), (0, 4), "{report:?}");
    }
}

/// Makes a certificate for a host and writes it, with its key, as `NAME.pem` and `NAME.key`.
fn issue(directory: &Path, name: &str, host: &str) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let file = |extension| directory.join(name).with_extension(extension);
    std::fs::write(file("pem"), made.cert.pem()).expect("a file");
    std::fs::write(file("key"), made.signing_key.serialize_pem()).expect("a file");
    made.cert.der().clone()
}

#[test]
fn each_host_has_its_certificate_and_a_reload_of_all_disturbs_no_parked_handshake() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let issue = |name, host| issue(directory.path(), name, host);
    let files = CertFiles::Directory(directory.path().to_owned());
    // By their names, so that the first is the default.
    let certificates =
        [("1", "localhost"), ("2", "a.example"), ("3", "*.b.example")].map(|(n, h)| issue(n, h));
    let trust = |certificates: &[rustls::pki_types::CertificateDer<'static>]| {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.clone()).expect("a certificate");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("the versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // Each handshake asks for a signature.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    let old = trust(&certificates);
    let identities = files.load(&Arc::default(), &[]).expect("good files");
    let mut serving = serving_as(identities, threads(200));
    let first = |client: &Stream| client.conn.peer_certificates().expect("some")[0].clone();
    for (host, certificate) in
        [("localhost", 0), ("a.example", 1), ("A.Example", 1), ("www.b.example", 2)]
    {
        let mut client = hello_for(&serving, &old, host);
        assert!(ask(&mut client).contains("Layby"), "{host}");
        assert_eq!(first(&client), certificates[certificate], "{host}");
    }
    // The default is not for this host, which the client notices.
    let mut client = hello_for(&serving, &old, "b.example");
    let refused = client.conn.complete_io(&mut client.sock).expect_err("another name").to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
    drop(client);

    let before = metric(&serving, "layby_engine_accepted_total");
    let mut parked = hello_for(&serving, &old, "a.example");
    while metric(&serving, "layby_engine_accepted_total") == before {
        std::thread::yield_now();
    }
    let renewed = issue("2", "a.example");
    assert_eq!(serving.reload(&files).expect("good files"), 3);
    let mut fresh = hello_for(&serving, &trust(std::slice::from_ref(&renewed)), "a.example");
    assert!(ask(&mut fresh).contains("Layby"));
    assert_eq!(first(&fresh), renewed);
    assert!(ask(&mut parked).contains("Layby"));
    assert_eq!(first(&parked), certificates[1]);

    // Two for one host: neither can be meant.
    issue("4", "a.example");
    let refused = serving.reload(&files).expect_err("twice the same host").to_string();
    assert!(refused.contains("4.pem: another certificate is for \"a.example\""), "{refused}");
    std::fs::remove_file(directory.path().join("4.pem")).expect("it was there");
    std::fs::remove_file(directory.path().join("3.pem")).expect("it was there");
    assert_eq!(serving.reload(&files).expect("good files"), 2);
    let report = serving.drain().expect("it ends");
    assert_eq!(report.handshakes, 6, "{report:?}");
    assert!(is_empty(&report), "{report:?}");
}
