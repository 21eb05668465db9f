//! Clients that send nonsense, half a hello, or hang up cost only their own connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use layby_tests::{Client, Identity, KeyType, LIMIT, Server};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;

/// Each kind of misbehaviour happens this often, between well-behaved clients.
const ROUNDS: usize = 8;

#[test]
fn l8_misbehaving_clients_cost_only_their_own_connection() {
    let identity = Identity::new(KeyType::P256);
    let args = ["--engine", "sim", "--workers", "1", "--latency-ms", "20"];
    let server = Server::start(&identity, &args);
    let mut witness = Client::connect(server.address(), &identity).expect("the server accepts");
    let greeting = witness.greeting().expect("the page");

    let hello = client_hello();
    let half = &hello[..hello.len() / 2];
    let mut tampered = hello.clone();
    // The legacy version, just after the record and handshake headers.
    tampered[9] ^= 0xff;
    for _ in 0..ROUNDS {
        let to = server.address();
        say_and_hang_up(to, b"");
        say_and_hang_up(to, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        say_and_hang_up(to, &[0xff; 4096]);
        // A handshake record that claims more than a record can hold.
        say_and_hang_up(to, &[22, 3, 1, 0xff, 0xff, 1, 2, 3]);
        say_and_hang_up(to, half);
        say_and_hang_up(to, &tampered);
        // The worker parks for the signature; the client does not wait for it.
        say_and_hang_up(to, &hello);
        say_and_wait_for_the_end(to, &[hello.as_slice(), b"nonsense after a good hello"].concat());
        say_and_wait_for_the_end(to, b"nonsense");
        assert_eq!(witness.greeting().expect("the open connection is answered"), greeting);
    }
    let mut newcomer = Client::connect(server.address(), &identity).expect("the server accepts");
    assert_eq!(newcomer.greeting().expect("the page"), greeting);

    drop((witness, newcomer));
    let counters = server.stop();
    assert_eq!(counters["handshakes"], 2, "{counters}");
    let ledger = counters["ledger"].as_object().expect("the counters have a ledger");
    assert!(ledger.len() >= 4, "jobs, stacks, requests, waiters: {counters}");
    for (entry, value) in ledger {
        assert_eq!(now(value), Some(0), "{entry} is left over: {counters}");
    }
    assert!(ledger["jobs"]["peak"].as_u64() >= Some(1), "handshakes were parked: {counters}");
}

fn now(entry: &Value) -> Option<u64> {
    entry["now"].as_u64()
}

/// What an ordinary client says first.
fn client_hello() -> Vec<u8> {
    let roots = RootCertStore::empty();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a DNS name");
    let mut client = ClientConnection::new(config.into(), name).expect("the configuration");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("writing to memory");
    hello
}

fn say(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(to).expect("the server accepts");
    socket.set_read_timeout(Some(LIMIT)).expect("a read timeout");
    // The server may have hung up by now, which is its right.
    let _ = socket.write_all(bytes);
    socket
}

fn say_and_hang_up(to: SocketAddr, bytes: &[u8]) {
    drop(say(to, bytes));
}

/// Says all, half-closes, and reads until the server has had enough.
fn say_and_wait_for_the_end(to: SocketAddr, bytes: &[u8]) {
    let mut socket = say(to, bytes);
    let _ = socket.shutdown(Shutdown::Write);
    // A reset is an end too; only a timeout is not.
    if let Err(e) = socket.read_to_end(&mut Vec::new()) {
        let hangs =
            matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!hangs, "the server leaves the connection open");
    }
}
