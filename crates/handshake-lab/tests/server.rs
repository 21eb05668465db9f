//! The server by itself, with clients that behave and clients that do not.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use crypto_ops::SoftwareKeys;
use handshake_lab::{
    certs::TestPki,
    keys,
    load::{Verified, client_config},
    run::Device,
    scenario::{self, KeyType, TlsVersion},
    server::{Ended, Limits, Server, ServerPlan, Service, StopOrder},
};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use ssl_async::SslContext;

/// Longer than anything here takes; a test that needs it has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// A server with one worker before a simulated device.
struct Site {
    server: Server,
    device: Device,
    clients: Arc<ClientConfig>,
}

impl Site {
    fn open(service: Service, latency_ms: f64) -> Self {
        Self::with_limits(service, latency_ms, Limits::default())
    }

    fn with_limits(service: Service, latency_ms: f64, limits: Limits) -> Self {
        let pki = TestPki::generate(KeyType::P256).expect("certificates");
        let store = Arc::new(SoftwareKeys::new());
        let handle = store.load_pem(&pki.key_pem).expect("a fresh key");
        let device = scenario::DeviceSpec {
            latency_ms,
            ring: 16,
            units: 16,
            ..scenario::DeviceSpec::default()
        };
        let device = Device::start(&device, &[], 1, 64, store, &scenario::EngineOptions::default())
            .expect("a device");
        let config = keys::server_config(vec![pki.certificate.clone()], device.signing_key(handle));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let plan = ServerPlan {
            workers: 1,
            wake: scenario::Wake::Ready,
            context: SslContext::server(Arc::new(config.expect("a configuration"))),
            service,
            unprompted_every: None,
            collector: None,
            limits,
        };
        let server = Server::start(&listener, plan).expect("a server");
        let verified = Verified::default();
        let clients = client_config(Some(&pki.ca), TlsVersion::Tls13, &verified);
        Self { server, device, clients: Arc::new(clients.expect("a configuration")) }
    }

    fn page(latency_ms: f64) -> Self {
        Self::open(Service::Page { engine: "sim".into() }, latency_ms)
    }

    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let socket = TcpStream::connect(self.server.address()).expect("it listens");
        socket.set_read_timeout(Some(LIMIT)).expect("a socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::clone(&self.clients), name).expect("a client");
        StreamOwned::new(tls, socket)
    }

    /// A client that has said hello and no more.
    fn hello(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let mut client = self.connect();
        client.conn.write_tls(&mut client.sock).expect("the hello leaves");
        client
    }

    /// Waits until the device has got this many operations.
    fn wait_for_operations(&self, count: u64) {
        let deadline = Instant::now() + LIMIT;
        while self.device.engine().accepted < count {
            assert!(Instant::now() < deadline, "the operations never came");
            std::thread::yield_now();
        }
    }

    /// Ends it, and holds the ledger to be empty.
    fn end(self, how: StopOrder) -> (Ended, engine_core::EngineStats) {
        let ended = self.server.end(how, LIMIT).expect("it ends");
        let device = self.device.end(LIMIT);
        assert_eq!(ended.stuck, 0);
        let pool = ended.workers[0].pool;
        assert_eq!((pool.live, pool.stacks_in_use, pool.quarantined), (0, 0, 0));
        assert_eq!((device.engine.requests.now, device.engine.waiters.now), (0, 0));
        (ended, device.engine)
    }
}

/// Sends `request` and reads up to the end of the answer's body.
fn ask(client: &mut StreamOwned<ClientConnection, TcpStream>, request: &str) -> String {
    client.write_all(request.as_bytes()).expect("the request leaves");
    answer(client)
}

fn answer(client: &mut StreamOwned<ClientConnection, TcpStream>) -> String {
    let head = head(client);
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.and_then(|length| length.parse().ok()).expect("a length");
    let mut body = vec![0; length];
    client.read_exact(&mut body).expect("a body");
    head + &String::from_utf8(body).expect("text")
}

fn head(client: &mut StreamOwned<ClientConnection, TcpStream>) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).expect("an answer");
        text.push(byte[0]);
    }
    String::from_utf8(text).expect("text")
}

#[test]
fn l5_peers_that_hang_up_while_parked_cost_only_their_own_sessions() {
    let site = Site::page(1500.0);
    let quitters: Vec<_> = (0..3).map(|_| site.hello()).collect();
    let mut patient = site.hello();
    site.wait_for_operations(4);
    drop(quitters);
    assert!(ask(&mut patient, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    drop(patient);

    let (ended, engine) = site.end(StopOrder::Drain(LIMIT));
    let worker = &ended.workers[0];
    assert_eq!((worker.handshakes, worker.failed), (1, 0));
    assert!(worker.hung_up >= 3, "{worker:?}");
    assert_eq!((worker.pool.cancelled, engine.cancelled), (3, 3));
}

#[test]
fn l8_a_server_given_up_with_sessions_parked_leaves_nothing() {
    let site = Site::page(1500.0);
    let clients: Vec<_> = (0..5).map(|_| site.hello()).collect();
    site.wait_for_operations(5);
    let (ended, engine) = site.end(StopOrder::Abandon);
    assert_eq!(ended.workers[0].abandoned, 5);
    assert_eq!((engine.cancelled, engine.late), (5, 5));
    drop(clients);
}

#[test]
fn l3_a_drain_ends_idle_sessions_at_once_and_answers_the_first_request_of_parked_ones() {
    let site = Site::page(300.0);
    let mut idle = site.connect();
    ask(&mut idle, "GET / HTTP/1.1\r\n\r\n");
    let mut parked = site.hello();
    site.wait_for_operations(2);
    site.server.tell(StopOrder::Drain(LIMIT)).expect("it hears");

    // An orderly goodbye reads as the end of the data.
    assert_eq!(idle.read(&mut [0]).expect("close_notify"), 0);
    // Its handshake was accepted: its first request is answered.
    let answer = ask(&mut parked, "GET / HTTP/1.1\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"),
        "{answer}"
    );
    assert_eq!(parked.read(&mut [0]).expect("close_notify"), 0);
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!((ended.workers[0].handshakes, ended.workers[0].abandoned), (2, 0));
}

#[test]
fn requests_sent_in_one_piece_are_answered_in_order() {
    let site = Site::page(1.0);
    let mut client = site.connect();
    let both = "GET / HTTP/1.1\r\n\r\nGET /missing HTTP/1.1\r\n\r\n";
    assert!(ask(&mut client, both).contains("engine      sim"));
    assert!(answer(&mut client).starts_with("HTTP/1.1 404 "));
    assert!(ask(&mut client, "POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    let last = ask(&mut client, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(last.contains("Connection: close"));
    assert_eq!(client.read(&mut [0]).expect("close_notify"), 0);
    assert_eq!(site.server.live().requests(), 4);
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!((ended.workers[0].handshakes, ended.workers[0].hung_up), (1, 0));
}

#[test]
fn what_is_not_tls_ends_its_own_connection_only() {
    let site = Site::page(1.0);
    let mut stranger = TcpStream::connect(site.server.address()).expect("it listens");
    stranger.set_read_timeout(Some(LIMIT)).expect("a socket");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it leaves");
    let mut told = Vec::new();
    stranger.read_to_end(&mut told).expect("the server closes");
    // A fatal alert (RFC 8446, 6.2): content type 21.
    assert_eq!(told.first(), Some(&21));

    assert!(ask(&mut site.connect(), "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!((ended.workers[0].handshakes, ended.workers[0].failed), (1, 1));
}

#[test]
fn l4_every_wake_finds_its_session() {
    let site = Site::open(Service::HandshakeOnly, 5.0);
    let mut clients: Vec<_> = (0..32).map(|_| site.hello()).collect();
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).expect("close_notify"), 0);
    }
    let (ended, engine) = site.end(StopOrder::Drain(LIMIT));
    let worker = &ended.workers[0];
    assert_eq!(worker.handshakes, 32);
    // A completion that came before the pause needed no wake; every other needed exactly one.
    assert!(worker.parks > 0);
    assert_eq!(
        (worker.tokens, worker.resumes, engine.wakes),
        (worker.parks, worker.parks, worker.parks)
    );
}

#[test]
fn l7_the_loop_turns_for_events_and_not_for_the_time_that_passes() {
    let site = Site::open(Service::HandshakeOnly, 20.0);
    // Open all the while, and silent.
    let _idle = TcpStream::connect(site.server.address()).expect("it listens");
    for _ in 0..10 {
        assert_eq!(site.hello().read(&mut [0]).expect("close_notify"), 0);
    }
    let (ended, _) = site.end(StopOrder::Abandon);
    let worker = &ended.workers[0];
    assert_eq!(worker.handshakes, 10);
    // Accept, hello, completion, Finished: a few turns each, where a loop that spins makes thousands.
    assert!(worker.turns < 10 * 12, "{} turns", worker.turns);
    assert!(worker.fd_writes <= 10, "{} writes for 10 completions", worker.fd_writes);
}

/// Limits so short that a client which does not answer at once is too late. What they are counted from is tested without a clock.
fn at_once() -> Option<Duration> {
    Some(Duration::from_millis(1))
}

#[test]
fn half_a_hello_is_told_and_hung_up_on() {
    let limits = Limits { handshake: at_once(), ..Limits::default() };
    let site = Site::with_limits(Service::Page { engine: "sim".into() }, 1.0, limits);
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&site.clients), name).expect("a client");
    client.write_tls(&mut hello).expect("memory");
    let mut half = TcpStream::connect(site.server.address()).expect("it listens");
    half.set_read_timeout(Some(LIMIT)).expect("a socket");
    half.write_all(&hello[..hello.len() / 2]).expect("it leaves");

    let mut told = Vec::new();
    // A reset if it was too late for the hello.
    let _ = half.read_to_end(&mut told);
    assert_eq!(told, INTERNAL_ERROR);
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!((ended.workers[0].timeouts.handshakes, ended.workers[0].handshakes), (1, 0));
}

#[test]
fn a_handshake_whose_key_takes_too_long_is_told_and_hung_up_on() {
    // The hello arrives within this time even on a busy machine; the key takes longer than anything here.
    let limits = Limits { handshake: Some(Duration::from_millis(100)), ..Limits::default() };
    let site = Site::with_limits(Service::Page { engine: "sim".into() }, 1500.0, limits);
    let mut parked = site.hello();
    let mut told = Vec::new();
    parked.sock.read_to_end(&mut told).expect("it is told, and hung up on");
    assert_eq!(told, INTERNAL_ERROR);
    let (ended, engine) = site.end(StopOrder::Abandon);
    assert_eq!(ended.workers[0].timeouts.handshakes, 1);
    assert!(engine.cancelled <= 1);
}

#[test]
fn an_idle_connection_is_closed_in_good_order() {
    let limits = Limits { idle: at_once(), ..Limits::default() };
    let site = Site::with_limits(Service::Page { engine: "sim".into() }, 1.0, limits);
    let mut client = site.connect();
    ask(&mut client, "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.read(&mut [0]).expect("close_notify"), 0);
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!((ended.workers[0].timeouts.idle, ended.workers[0].failed), (1, 0));
}

#[test]
fn half_a_request_is_answered_with_its_time_being_over() {
    let limits = Limits { request: at_once(), ..Limits::default() };
    let site = Site::with_limits(Service::Page { engine: "sim".into() }, 1.0, limits);
    // Silent after the handshake, from where its time counts: nothing can be answered.
    let mut silent = site.hello();
    assert_eq!(silent.read(&mut [0]).expect("close_notify"), 0);
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!(ended.workers[0].timeouts.requests, 1);

    let limits = Limits { request: Some(Duration::from_millis(100)), ..Limits::default() };
    let site = Site::with_limits(Service::Page { engine: "sim".into() }, 1.0, limits);
    let mut half = site.connect();
    let answer = ask(&mut half, "GET / HTTP/1.1\r\nHost: loc");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    drop(half);
    site.end(StopOrder::Drain(LIMIT));
}

#[test]
fn bare_line_feeds_bodies_and_head_are_answered_on_one_connection() {
    let site = Site::page(1.0);
    let mut client = site.connect();
    assert!(ask(&mut client, "GET / HTTP/1.1\nHost: localhost\n\n").contains("engine      sim"));
    let posted = ask(&mut client, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("Allow: GET, HEAD"), "{posted}");
    assert!(ask(&mut client, "BREW / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 501 "));
    assert_eq!(ask(&mut client, "GET /health HTTP/1.1\r\n\r\n").lines().last(), Some("ok"));
    client.write_all(b"HEAD / HTTP/1.1\r\n\r\n").expect("it leaves");
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
    let page = ask(&mut client, "GET / HTTP/1.1\r\n\r\n");
    assert!(page.contains("\r\nDate: "), "{page}");
    drop(client);
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!(ended.workers[0].handshakes, 1);
}

#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let site = Site::page(1.0);
    for (head, status) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(9_000)), "414"),
        (format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(17_000)), "431"),
        ("POST / HTTP/1.1\r\nContent-Length: 999999\r\n\r\n".to_owned(), "413"),
    ] {
        let mut client = site.connect();
        client.write_all(head.as_bytes()).expect("the head leaves");
        client.write_all(&[b'x'; 100_000]).expect("the server reads on");
        let answer = answer(&mut client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(client.read(&mut [0]).expect("close_notify"), 0);
    }
    site.end(StopOrder::Drain(LIMIT));
}

#[test]
fn a_drain_answers_those_that_were_accepted_and_have_said_nothing_yet() {
    let site = Site::page(1.0);
    let mut late: Vec<_> = (0..20).map(|_| site.connect()).collect();
    site.server.tell(StopOrder::Drain(LIMIT)).expect("it hears");
    for client in &mut late {
        let answer = ask(client, "GET / HTTP/1.1\r\n\r\n");
        assert!(answer.contains("Connection: close"), "{answer}");
        assert_eq!(client.read(&mut [0]).expect("close_notify"), 0);
    }
    let (ended, _) = site.end(StopOrder::Drain(LIMIT));
    assert_eq!((ended.workers[0].handshakes, ended.workers[0].abandoned), (20, 0));
}

/// The fatal alert `internal_error`, in the clear.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
