//! A real browser loads the page of a server whose key takes a while, over TLS that it verifies.
//!
//! Run by `cargo xtask ci --full`, or `cargo test --package layby-tests --test browser`. Without Chromium it says so and
//! passes, unless `LAYBY_REQUIRE` names `chromium`.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layby_tests::{Client, Identity, KeyType, Server, chromium, headless, run};
use rcgen::{KeyPair, PublicKeyData};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// The hash of the server's public key, as Chromium wants it of keys that it is to trust without an authority.
fn key_hash(identity: &Identity) -> String {
    let pem = fs::read_to_string(identity.key()).expect("the key");
    let key = KeyPair::from_pem(&pem).expect("a key");
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
        unreachable!("a suite of TLS 1.3")
    };
    STANDARD.encode(suite.common.hash_provider.hash(&key.subject_public_key_info()))
}

/// What the browser makes of the server's page if it trusts the key of `trusted`.
fn document(browser: &str, server: &Server, trusted: &Identity) -> String {
    let profile = tempfile::tempdir().expect("a directory");
    let mut command = headless(browser, profile.path());
    command.arg(format!("--ignore-certificate-errors-spki-list={}", key_hash(trusted)));
    command.arg("--host-resolver-rules=MAP localhost 127.0.0.1");
    command.arg(format!("https://localhost:{}/", server.address().port()));
    run(&mut command, b"").stdout
}

#[test]
fn a_browser_shows_the_page_of_a_server_whose_key_takes_a_while() {
    let Some(browser) = chromium() else { return };
    for key_type in [KeyType::P256, KeyType::Rsa2048] {
        let identity = Identity::new(key_type);
        let server = Server::start(&identity, &["--engine", "sim", "--latency-ms", "20"]);
        let mut reference = Client::connect(server.address(), &identity).expect("it accepts");
        let greeting = reference.greeting().expect("the page");
        drop(reference);

        let shown = document(browser, &server, &identity);
        assert!(shown.contains(&greeting) && shown.contains("TLSv1_3"), "{key_type:?}: {shown}");

        // The twin: it looks at the key. One that it does not trust shows nothing of the page.
        let refused = document(browser, &server, &Identity::new(key_type));
        let says_why = refused.contains("ERR_CERT_AUTHORITY_INVALID");
        assert!(says_why && !refused.contains(&greeting), "{key_type:?}: {refused}");

        let counters = server.stop();
        assert!(counters["handshakes"].as_u64() >= Some(2), "{counters}");
        assert!(counters["requests"].as_u64() >= Some(2), "{counters}");
    }
}
