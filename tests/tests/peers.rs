//! Other people's TLS fetch the page, verifying the certificate, from a server whose key takes 10 ms.
//!
//! A peer that is not installed is skipped and counted, unless `LAYBY_REQUIRE` (a list with commas)
//! names it: then its absence is a failure.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use layby_tests::{Client, Identity, KeyType, Run, Server, run};

/// A TLS implementation that somebody else wrote.
struct Peer {
    /// As `LAYBY_REQUIRE` calls it.
    name: &'static str,
    program: &'static str,
    /// The command that fetches the page; the request is its input.
    command: fn(SocketAddr, &Identity, Version) -> Command,
}

#[derive(Clone, Copy, Debug)]
enum Version {
    Tls12,
    Tls13,
}

const PEERS: &[Peer] = &[
    Peer { name: "openssl", program: "openssl", command: openssl },
    Peer { name: "curl", program: "curl", command: curl },
    Peer { name: "gnutls", program: "gnutls-cli", command: gnutls },
];

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn openssl(server: SocketAddr, identity: &Identity, version: Version) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"]);
    command.args(["-servername", "localhost", "-connect", &server.to_string()]);
    command.arg("-CAfile").arg(identity.ca());
    command.arg(match version {
        Version::Tls12 => "-tls1_2",
        Version::Tls13 => "-tls1_3",
    });
    command
}

fn curl(server: SocketAddr, identity: &Identity, version: Version) -> Command {
    let port = server.port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--http1.1", "--noproxy", "*"]);
    command.args(["--resolve", &format!("localhost:{port}:{}", server.ip())]);
    command.arg("--cacert").arg(identity.ca());
    command.args(match version {
        Version::Tls12 => ["--tlsv1.2", "--tls-max", "1.2"],
        Version::Tls13 => ["--tlsv1.3", "--tls-max", "1.3"],
    });
    command.arg(format!("https://localhost:{port}/"));
    command
}

fn gnutls(server: SocketAddr, identity: &Identity, version: Version) -> Command {
    let mut command = Command::new("gnutls-cli");
    command.args(["--sni-hostname", "localhost", "--verify-hostname", "localhost"]);
    command.arg("--x509cafile").arg(identity.ca());
    command.arg("--priority").arg(match version {
        Version::Tls12 => "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        Version::Tls13 => "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    });
    command.args(["--port", &server.port().to_string(), &server.ip().to_string()]);
    command
}

/// The peers that this machine has, and those that it has not.
fn peers() -> (Vec<&'static Peer>, Vec<&'static Peer>) {
    PEERS.iter().partition(|peer| is_installed(peer))
}

fn is_installed(peer: &Peer) -> bool {
    let mut command = Command::new(peer.program);
    let argument = if peer.program == "openssl" { "version" } else { "--version" };
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Why the fetch does not count, if it does not.
fn complaint(run: &Run, greeting: &str, version: Version) -> Option<String> {
    let protocol = match version {
        Version::Tls12 => "TLSv1_2",
        Version::Tls13 => "TLSv1_3",
    };
    // The page says by which protocol it was fetched.
    let words = [greeting, protocol];
    let fetched = run.status.success() && words.iter().all(|word| run.stdout.contains(word));
    (!fetched).then(|| format!("{}\n{}\n{}", run.status, run.stdout, run.stderr))
}

/// What other tests and the steps of the gate require.
const NO_PEERS: [&str; 26] = [
    "libcrypto",
    "libsqlite3",
    "libcurl",
    "libssl-dev",
    "softhsm",
    "p11-kit",
    "moto",
    "haproxy",
    "valgrind",
    "chromium",
    "nginx",
    "libasan",
    "api",
    "cargo-deny",
    "cargo-fuzz",
    "cargo-mutants",
    "cargo-semver-checks",
    "nightly",
    "qemu-aarch64",
    "aarch64-linux-gnu-gcc",
    "musl-gcc",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-freebsd",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-gnu",
];

#[test]
fn every_peer_fetches_the_page_in_both_versions_with_both_keys_from_both_engines() {
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    let required: Vec<&str> = required.split(',').filter(|name| !name.is_empty()).collect();
    for name in &required {
        let known = NO_PEERS.contains(name) || PEERS.iter().any(|peer| peer.name == *name);
        assert!(known, "LAYBY_REQUIRE names {name}, which no test knows");
    }
    let (present, missing) = peers();
    let mut complaints = Vec::new();
    for peer in &missing {
        if required.contains(&peer.name) {
            complaints.push(format!("{} is required and not installed", peer.program));
        }
    }
    let mut fetches = 0;
    let identities = [KeyType::P256, KeyType::Rsa2048].map(|key| (key, Identity::new(key)));
    let engines = ["sim", "threads"];
    for ((key_type, identity), engine) in
        identities.iter().flat_map(|identity| engines.map(|engine| (identity, engine)))
    {
        let server = Server::start(identity, &["--engine", engine, "--latency-ms", "10"]);
        let mut reference =
            Client::connect(server.address(), identity).expect("the server accepts");
        let greeting = reference.greeting().expect("the page");
        assert!(!greeting.trim().is_empty(), "there is something to fetch");
        for peer in &present {
            for version in [Version::Tls12, Version::Tls13] {
                let mut command = (peer.command)(server.address(), identity, version);
                let outcome = run(&mut command, REQUEST);
                fetches += 1;
                if let Some(complaint) = complaint(&outcome, &greeting, version) {
                    let name = peer.name;
                    complaints
                        .push(format!("{name} {engine} {key_type:?} {version:?}: {complaint}"));
                }
            }
        }
        drop(reference);
        let counters = server.stop();
        assert_eq!(counters["failed"], 0, "{counters}");
        // Every handshake had its signature from the engine, and nothing is left of any.
        assert_eq!(counters["ops"], counters["handshakes"], "{counters}");
        assert_eq!(counters["ledger"]["requests"]["now"], 0, "{counters}");
    }
    let (ran, skipped) = (present.len(), missing.len());
    // Not `println!`, which the test runner keeps to itself when a test passes.
    let _ = writeln!(io::stdout(), "peers: ran {ran}, skipped {skipped} ({fetches} fetches)");
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The twin of the test above: were verification off, the fetches there would prove nothing.
#[test]
fn no_peer_fetches_the_page_from_a_server_that_it_does_not_trust() {
    let identity = Identity::new(KeyType::P256);
    let stranger = Identity::new(KeyType::P256);
    let server = Server::start(&identity, &["--engine", "sim", "--latency-ms", "10"]);
    let mut reference = Client::connect(server.address(), &identity).expect("the server accepts");
    let greeting = reference.greeting().expect("the page");
    for peer in peers().0 {
        let mut command = (peer.command)(server.address(), &stranger, Version::Tls13);
        let outcome = run(&mut command, REQUEST);
        assert!(
            complaint(&outcome, &greeting, Version::Tls13).is_some(),
            "{} trusts anybody",
            peer.name
        );
        assert!(!outcome.stdout.contains(&greeting), "{} took the page all the same", peer.name);
    }
}
