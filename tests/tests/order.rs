//! One worker with a key that takes two seconds goes on serving connections that need no key.

use layby_tests::{Client, Identity, KeyType, Server};

const NEWCOMERS: usize = 20;

/// More than one round trip, so that the worker has certainly seen the newcomers before the last.
const REQUESTS: usize = 10;

#[test]
fn an_open_connection_is_answered_before_any_of_twenty_newcomers_has_its_signature() {
    let identity = Identity::new(KeyType::P256);
    let args = ["--engine", "sim", "--workers", "1", "--latency-ms", "2000"];
    let server = Server::start(&identity, &args);
    let connect = || Client::connect(server.address(), &identity).expect("the server accepts");

    let mut open = connect();
    open.finish_handshake().expect("the handshake succeeds");
    let greeting = open.greeting().expect("the page");

    let mut newcomers: Vec<Client> = (0..NEWCOMERS).map(|_| connect()).collect();
    for _ in 0..REQUESTS {
        assert_eq!(open.greeting().expect("the page again"), greeting);
    }
    for newcomer in &mut newcomers {
        assert!(!newcomer.is_done_by_now().expect("the handshake goes on"), "answered too late");
    }
    for newcomer in &mut newcomers {
        newcomer.finish_handshake().expect("every newcomer is served");
        assert_eq!(newcomer.greeting().expect("the page"), greeting);
    }
    drop((open, newcomers));
    let counters = server.stop();
    assert_eq!(counters["handshakes"], NEWCOMERS + 1, "{counters}");
    assert_eq!(counters["failed"], 0, "{counters}");
}
