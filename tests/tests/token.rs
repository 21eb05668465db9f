//! `lab serve` with a key in a token of SoftHSM.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use layby_tests::{Client, Identity, KeyType, lab_binary, run};
use rustix::process::{Pid, Signal, kill_process};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

#[test]
fn a_server_with_a_key_in_a_token_serves_and_leaves_nothing() {
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|name| name == "softhsm");
    if !Path::new(MODULE).exists() {
        assert!(!required, "softhsm is required and not installed");
        return eprintln!("skipped: softhsm is not installed");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let conf = dir.path().join("softhsm2.conf");
    let tokens = dir.path().join("tokens");
    fs::create_dir(&tokens).expect("a directory");
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
    fs::write(&conf, text).expect("a file");
    let pin = dir.path().join("pin");
    fs::write(&pin, "1234\n").expect("a file");
    let identity = Identity::new(KeyType::P256);
    let key = identity.key().display().to_string();
    for args in [
        &["--init-token", "--free", "--label", "web", "--so-pin", "87654321", "--pin", "1234"][..],
        &["--import", &key, "--token", "web", "--label", "shop", "--id", "01", "--pin", "1234"],
    ] {
        let made = run(Command::new("softhsm2-util").args(args).env("SOFTHSM2_CONF", &conf), b"");
        assert!(made.status.success(), "{}", made.stderr);
    }
    let uri = format!(
        "pkcs11:token=web;object=shop?module-path={MODULE}&pin-source=file:{}",
        pin.display()
    );
    let mut server = Command::new(lab_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--engine", "pkcs11", "--key", &uri, "--cert"])
        .arg(identity.cert())
        .env("SOFTHSM2_CONF", &conf)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lab can be started");
    let mut lines = BufReader::new(server.stdout.take().expect("stdout is piped")).lines();
    let first = lines.next().expect("it says where it listens").expect("a line");
    let address = first.strip_prefix("listening on ").expect("an address").parse().expect("one");
    for _ in 0..4 {
        let mut client = Client::connect(address, &identity).expect("it listens");
        client.finish_handshake().expect("a handshake");
        assert!(client.greeting().expect("a page").starts_with("Layby"));
    }
    kill_process(Pid::from_child(&server), Signal::TERM).expect("the server runs");
    let report = lines.next().expect("a report").expect("a line");
    let report: serde_json::Value = serde_json::from_str(&report).expect("one object");
    assert_eq!((&report["handshakes"], &report["failed"]), (&4.into(), &0.into()), "{report}");
    assert!(server.wait().expect("it ends").success());
}
