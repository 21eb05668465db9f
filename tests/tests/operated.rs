//! `lab serve` as an operator runs it: signals, certificates that change, and logs that are not read.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use layby_tests::{Client, Identity, KeyType, LIMIT, Run, Server, Signal, run};

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

/// What openssl shows of a certificate's status that the server sends.
fn status_seen(server: &Server, identity: &Identity) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-status", "-verify_return_error", "-servername", "localhost"]);
    client.args(["-connect", &server.address().to_string(), "-CAfile"]).arg(identity.ca());
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let Run { status, stdout, stderr } = run(&mut client, request);
    assert!(status.success() && stdout.contains("Verification: OK"), "{stdout}{stderr}");
    stdout
}

/// A response of the identity's authority: its certificate is good, or was revoked.
fn ocsp_response(identity: &Identity, is_good: bool, response: &Path) {
    let openssl = |args: &[&str]| {
        let Run { status, stdout, stderr } =
            run(Command::new("openssl").args(args).current_dir(identity.dir()), b"");
        assert!(status.success(), "{stdout}{stderr}");
        stdout
    };
    let serial = openssl(&["x509", "-in", "cert.pem", "-serial", "-noout"]);
    let serial = serial.trim().strip_prefix("serial=").expect("a number");
    let state = if is_good { "V\t491231235959Z\t" } else { "R\t491231235959Z\t240101000000Z" };
    let index = format!("{state}\t{serial}\tunknown\t/CN=localhost\n");
    fs::write(identity.dir().join("index.txt"), index).expect("a file");
    let made = identity.dir().join("made.ocsp").display().to_string();
    openssl(
        &"ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert cert.pem -ndays 1 -respout"
            .split(' ')
            .chain([&*made])
            .collect::<Vec<_>>(),
    );
    fs::rename(made, response).expect("the file is renamed");
}

#[test]
fn a_client_sees_the_ocsp_response_of_the_file_and_the_next_one_without_a_signal() {
    if Command::new("openssl").arg("version").output().is_err() {
        let required = std::env::var("LAYBY_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|name| name == "openssl");
        assert!(!required, "openssl is required and not installed");
        return eprintln!("skipped: openssl is not installed");
    }
    let identity = Identity::new(KeyType::P256);
    let file = identity.cert().with_extension("ocsp");
    ocsp_response(&identity, true, &file);
    let server = Server::start(&identity, &["--engine", "threads"]);
    let seen = status_seen(&server, &identity);
    assert!(seen.contains("OCSP Response Status: successful"), "{seen}");
    assert!(seen.contains("Cert Status: good"), "{seen}");
    ocsp_response(&identity, false, &file);
    let until = Instant::now() + LIMIT;
    while !status_seen(&server, &identity).contains("Cert Status: revoked") {
        assert!(Instant::now() < until, "the new response is not sent");
    }
    drop(server);
    // Without a file there is none.
    fs::remove_file(file).expect("the file is removed");
    let server = Server::start(&identity, &["--engine", "threads"]);
    let seen = status_seen(&server, &identity);
    assert!(seen.contains("OCSP response: no response sent"), "{seen}");
}
