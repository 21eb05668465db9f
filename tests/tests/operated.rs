//! `lab serve` as an operator runs it: signals, certificates that change, and logs that are not read.

use std::fs;

use layby_tests::{Client, Identity, KeyType, Server, Signal};

#[test]
fn sigterm_drains_as_sigint_does() {
    let identity = Identity::new(KeyType::P256);
    let server = Server::start(&identity, &["--engine", "threads"]);
    let mut client = Client::connect(server.address(), &identity).expect("the server accepts");
    client.greeting().expect("the page");
    let counters = server.stop_by(Signal::TERM);
    assert_eq!((&counters["handshakes"], &counters["requests"]), (&1.into(), &1.into()));
}

#[test]
fn a_second_signal_of_either_kind_ends_the_process_at_once() {
    let identity = Identity::new(KeyType::P256);
    for (first, second) in [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        // A handshake that is not done before this test has failed.
        let server = Server::start(&identity, &["--engine", "threads", "--latency-ms", "60000"]);
        let mut parked = Client::connect(server.address(), &identity).expect("the server accepts");
        server.signal(first);
        server.wait_until_it_says("draining");
        assert!(!parked.is_done_by_now().expect("it is still there"));
        server.signal(second);
        assert_eq!(server.wait().code(), Some(130));
    }
}

#[test]
fn sighup_changes_the_certificate_and_bad_files_change_nothing() {
    let (ours, next) = (Identity::new(KeyType::P256), Identity::new(KeyType::Rsa2048));
    let server = Server::start(&ours, &["--engine", "sim", "--latency-ms", "10"]);
    let mut old = Client::connect(server.address(), &ours).expect("the server accepts");
    let greeting = old.greeting().expect("the page");

    fs::copy(next.cert(), ours.cert()).expect("the file is copied");
    server.signal(Signal::HUP);
    // The key is still the old one.
    server.wait_until_it_says("not reloaded, certificate and key stay as they were");
    let mut same = Client::connect(server.address(), &ours).expect("the server accepts");
    assert_eq!(same.greeting().expect("the page"), greeting);

    fs::copy(next.key(), ours.key()).expect("the file is copied");
    server.signal(Signal::HUP);
    server.wait_until_it_says("reloaded: new handshakes use");
    let mut new = Client::connect(server.address(), &next).expect("the server accepts");
    assert_eq!(new.greeting().expect("the page"), greeting);
    assert_eq!(old.greeting().expect("the open connection is answered"), greeting);
    drop((old, same, new));
    assert_eq!(server.stop()["handshakes"], 3);
}

#[test]
fn a_standard_error_that_is_not_read_stops_nothing() {
    let identity = Identity::new(KeyType::P256);
    // Everything is logged: far more than a pipe holds.
    let server = Server::start_unread(&identity, &["--engine", "threads"], "trace");
    for _ in 0..150 {
        let mut client = Client::connect(server.address(), &identity).expect("the server accepts");
        client.greeting().expect("the page");
    }
    assert_eq!(server.stop()["handshakes"], 150);
}
