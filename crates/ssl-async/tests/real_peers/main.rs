//! Sessions with everything offloaded against other implementations over TCP: OpenSSL's client and server, curl, GnuTLS.
//!
//! A peer that is not installed is skipped, unless `LAYBY_REQUIRE` (a list with commas) names it: then that is a failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout};
use std::time::Duration;

use job_core::JobPool;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use ssl_async::{Parking, Ssl, SslError};

use peers::{CURL, GNUTLS, OPENSSL, Peer, s_server};
use world::{Version, World};

mod peers;
mod world;

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

/// Each version and way of parking.
fn ways() -> impl Iterator<Item = (Version, Parking)> {
    let parkings = [Parking::Fiber, Parking::Auto, Parking::Replay];
    VERSIONS.into_iter().flat_map(move |version| parkings.map(|parking| (version, parking)))
}

/// Starts the client and takes its connection.
fn accept(
    world: &World,
    peer: &Peer,
    trusted: &str,
    (version, parking): (Version, Parking),
    options: &[&str],
) -> (Child, Ssl<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = peer.command(address, world.files.path(), trusted, version);
    let child = command.args(options).spawn().unwrap();
    let (io, _) = listener.accept().unwrap();
    io.set_nonblocking(true).unwrap();
    (child, Ssl::accept(&world.server(version, parking), &JobPool::new(), io).unwrap())
}

/// Starts OpenSSL's server and connects to it. Returns its output from there on.
fn connect(
    world: &World,
    trusted: &str,
    version: Version,
    options: &[&str],
) -> (Child, BufReader<ChildStdout>, Ssl<TcpStream>) {
    let mut child = s_server(world.files.path(), trusted, version).args(options).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ACCEPT") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the server says where it listens");
    }
    let io = TcpStream::connect(line.trim_start_matches("ACCEPT").trim()).unwrap();
    io.set_nonblocking(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let ssl = Ssl::connect(&world.client(version), &JobPool::new(), name, io);
    (child, lines, ssl)
}

/// Checks that every call after a failure returns the same error.
fn assert_has_failed(ssl: &mut Ssl<TcpStream>, first: &SslError) {
    let calls = [
        ssl.flush().unwrap_err(),
        ssl.shutdown().unwrap_err(),
        ssl.write(b"more").unwrap_err(),
        ssl.read(&mut [0; 8]).unwrap_err(),
        ssl.do_handshake().unwrap_err(),
    ];
    for again in calls {
        assert_eq!(again.to_string(), first.to_string());
    }
}

#[test]
fn openssls_client_completes_a_session() {
    if !OPENSSL.is_installed() {
        return;
    }
    for way in ways() {
        let world = World::new();
        let (mut peer, mut ssl) = accept(&world, &OPENSSL, "cert.pem", way, &["-quiet"]);
        let ((), parked) = world.done(&mut ssl, Ssl::do_handshake);
        if way.1 == Parking::Replay {
            assert_eq!(parked.last(), Some(&"sign-ecdsa-p256"), "{way:?}");
        } else {
            assert!(parked[0].starts_with("agree-"), "{parked:?}");
            assert_eq!((parked[1], parked.last()), ("sign-ecdsa-p256", Some(&"ticket")));
        }
        peer.stdin.take().unwrap().write_all(b"question\n").unwrap();
        let mut buffer = [0; 32];
        let (n, _) = world.done(&mut ssl, |ssl| ssl.read(&mut buffer));
        assert_eq!(&buffer[..n], b"question\n");
        world.done(&mut ssl, |ssl| ssl.write(b"answer\n"));
        world.done(&mut ssl, Ssl::shutdown);
        drop(ssl);
        let output = peer.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"answer\n");
    }
}

#[test]
fn curl_and_gnutls_fetch_with_their_certificates() {
    for peer in [CURL, GNUTLS].iter().filter(|peer| peer.is_installed()) {
        for way in ways() {
            let world = World::new();
            let (mut child, mut ssl) = accept(&world, peer, "cert.pem", way, &[]);
            // The input stays open, because GnuTLS ends the connection with it. Curl makes its own request.
            let mut stdin = child.stdin.take().unwrap();
            if peer.name == "gnutls" {
                stdin.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            }
            let ((), parked) = world.done(&mut ssl, Ssl::do_handshake);
            assert!(parked.contains(&"sign-ecdsa-p256"), "{way:?}: {parked:?}");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut buffer = [0; 512];
                let (n, _) = world.done(&mut ssl, |ssl| ssl.read(&mut buffer));
                assert!(n > 0, "{} asks before it closes", peer.name);
                request.extend_from_slice(&buffer[..n]);
            }
            assert!(request.starts_with(b"GET / HTTP/1.1\r\n"));
            let answer =
                b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nanswer\n";
            let (n, _) = world.done(&mut ssl, |ssl| ssl.write(answer));
            assert_eq!(n, answer.len());
            world.done(&mut ssl, Ssl::shutdown);
            drop(ssl);
            let output = child.wait_with_output().unwrap();
            let told = format!("{} {way:?}: {output:?}", peer.name);
            assert!(output.status.success(), "{told}");
            assert!(String::from_utf8_lossy(&output.stdout).contains("answer\n"), "{told}");
        }
    }
}

/// Shows that the peers verify: otherwise the tests above would prove nothing.
#[test]
fn no_client_accepts_a_server_that_it_does_not_trust() {
    for peer in [OPENSSL, CURL, GNUTLS].iter().filter(|peer| peer.is_installed()) {
        for way in ways() {
            let world = World::new();
            let (child, mut ssl) = accept(&world, peer, "stranger.pem", way, &[]);
            let refused = world.refused(&mut ssl);
            let output = child.wait_with_output().unwrap();
            assert!(!output.status.success(), "{} {way:?}: {refused}; {output:?}", peer.name);
        }
    }
}

#[test]
fn l15_every_client_gets_an_alert_when_an_operation_fails() {
    for peer in [OPENSSL, CURL, GNUTLS].iter().filter(|peer| peer.is_installed()) {
        for (way, kind) in ways().flat_map(|way| [(way, "agree-"), (way, "sign-")]) {
            if kind == "agree-" && way.0 == &TLS12 && way.1 == Parking::Replay {
                // Completing it waits behind the flight.
                continue;
            }
            let world = World::new();
            let options: &[&str] = if peer.name == "openssl" { &["-msg"] } else { &[] };
            let (mut child, mut ssl) = accept(&world, peer, "cert.pem", way, options);
            let stdin = child.stdin.take();
            let first = world.fail(&mut ssl, kind);
            assert!(matches!(first, SslError::Failed(_)), "{first}");
            assert_has_failed(&mut ssl, &first);
            drop(ssl);
            let output = child.wait_with_output().unwrap();
            drop(stdin);
            let told = format!("{} {way:?} {kind}: {output:?}", peer.name);
            assert!(!output.status.success(), "{told}");
            if peer.name == "openssl" {
                let seen = String::from_utf8_lossy(&output.stdout);
                assert_eq!(alerts(&seen), ["fatal internal_error"], "{told}");
                assert!(!seen.contains("Finished"), "no handshake: {told}");
            } else {
                let seen = String::from_utf8_lossy(&output.stderr).to_lowercase();
                let seen = seen + &String::from_utf8_lossy(&output.stdout).to_lowercase();
                assert!(seen.contains("internal error"), "{told}");
            }
        }
    }
}

#[test]
fn every_client_gets_an_alert_when_the_handshake_takes_too_long() {
    for peer in [OPENSSL, CURL, GNUTLS].iter().filter(|peer| peer.is_installed()) {
        for way in ways() {
            let world = World::new();
            let (mut child, mut ssl) = accept(&world, peer, "cert.pem", way, &[]);
            let stdin = child.stdin.take();
            world.parks(&mut ssl);
            assert!(matches!(ssl.time_out(Duration::from_secs(60)), SslError::TimedOut(_)));
            drop(ssl);
            let output = child.wait_with_output().unwrap();
            drop(stdin);
            let told = format!("{} {way:?}: {output:?}", peer.name);
            assert!(!output.status.success(), "{told}");
            let seen = String::from_utf8_lossy(&output.stderr).to_lowercase();
            let seen = seen + &String::from_utf8_lossy(&output.stdout).to_lowercase();
            assert!(seen.contains("internal error"), "{told}");
        }
    }
}

/// A key that has failed one handshake serves the next.
#[test]
fn every_client_is_served_when_the_key_has_recovered() {
    for peer in [OPENSSL, CURL, GNUTLS].iter().filter(|peer| peer.is_installed()) {
        for way in ways() {
            let world = World::new();
            for well in [false, true] {
                let (mut child, mut ssl) = accept(&world, peer, "cert.pem", way, &[]);
                let stdin = child.stdin.take();
                if well {
                    world.done(&mut ssl, Ssl::do_handshake);
                } else {
                    let failed = world.fail(&mut ssl, "sign-");
                    assert!(matches!(failed, SslError::Failed(_)), "{failed}");
                }
                drop((ssl, stdin));
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}

/// The alerts that OpenSSL has received, from the output of `-msg`.
fn alerts(seen: &str) -> Vec<&str> {
    let received = seen.lines().filter(|line| line.starts_with("<<<") && line.contains("Alert"));
    received.filter_map(|line| line.split_once("], ")).map(|(_, alert)| alert).collect()
}

#[test]
fn openssls_server_completes_a_session() {
    if !OPENSSL.is_installed() {
        return;
    }
    for version in VERSIONS {
        let world = World::new();
        let (mut peer, mut lines, mut ssl) = connect(&world, "cert.pem", version, &[]);
        let ((), parked) = world.done(&mut ssl, Ssl::do_handshake);
        assert!(parked.contains(&"sign-ecdsa-p256") && parked.len() >= 3, "{parked:?}");
        world.done(&mut ssl, |ssl| ssl.write(b"stressed\n"));
        let mut answer = Vec::new();
        while answer.len() < 9 {
            let mut buffer = [0; 32];
            let (n, _) = world.done(&mut ssl, |ssl| ssl.read(&mut buffer));
            assert!(n > 0, "the server answers before it closes");
            answer.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(answer, b"desserts\n");
        world.done(&mut ssl, Ssl::shutdown);
        drop(ssl);
        drop(peer.stdin.take());
        lines.read_to_string(&mut String::new()).unwrap();
        peer.wait().unwrap();
    }
}

/// Shows that the server verifies the certificate whose key is on the device.
#[test]
fn openssls_server_refuses_a_client_that_it_does_not_trust() {
    if !OPENSSL.is_installed() {
        return;
    }
    for version in VERSIONS {
        let world = World::new();
        let (mut peer, mut lines, mut ssl) = connect(&world, "stranger.pem", version, &[]);
        let refused = world.refused(&mut ssl);
        assert!(refused.to_string().contains("alert"), "{version:?}: {refused}");
        drop(ssl);
        drop(peer.stdin.take());
        lines.read_to_string(&mut String::new()).unwrap();
        peer.wait().unwrap();
    }
}

#[test]
fn l15_openssls_server_gets_an_alert_when_the_clients_signature_fails() {
    if !OPENSSL.is_installed() {
        return;
    }
    for version in VERSIONS {
        let world = World::new();
        let (mut peer, mut lines, mut ssl) = connect(&world, "cert.pem", version, &["-msg"]);
        let first = world.fail(&mut ssl, "sign-");
        assert!(matches!(first, SslError::Failed(_)), "{first}");
        assert_has_failed(&mut ssl, &first);
        drop(ssl);
        drop(peer.stdin.take());
        let mut seen = String::new();
        lines.read_to_string(&mut seen).unwrap();
        peer.wait().unwrap();
        // With TLS 1.3 an alert must be encrypted, and rustls encrypts no other of ours.
        let alert = match version == &TLS12 {
            true => "fatal internal_error",
            false => "warning close_notify",
        };
        assert_eq!(alerts(&seen), [alert], "{version:?}: {seen}");
        let received = seen.lines().filter(|line| line.starts_with("<<<"));
        let verified = received.filter(|line| line.contains("CertificateVerify")).count();
        assert_eq!(verified, 0, "nothing was signed: {seen}");
    }
}
