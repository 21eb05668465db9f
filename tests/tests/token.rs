//! `lab serve` with a key in a token of SoftHSM.

#[path = "../../crates/pkcs11-engine/tests/real/shim.rs"]
#[allow(dead_code, reason = "the tests of the crate use more of it")]
mod shim;

use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;
use std::{env, fs, thread};

use layby_tests::{Client, Identity, KeyType, LIMIT, lab_binary, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shim::{Page, Word};
use tempfile::TempDir;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A server whose key is in a token of its own.
struct TokenServer {
    dir: TempDir,
    identity: Identity,
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl TokenServer {
    /// Starts it with the module that `module` gives for a directory. `None` where something is not installed.
    fn start(module: impl Fn(&Path) -> Option<String>, more: &[&str]) -> Option<Self> {
        let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|name| name == "softhsm");
        if !Path::new(MODULE).exists() {
            assert!(!required, "softhsm is required and not installed");
            eprintln!("skipped: softhsm is not installed");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let module = module(dir.path())?;
        let conf = dir.path().join("softhsm2.conf");
        let tokens = dir.path().join("tokens");
        fs::create_dir(&tokens).expect("a directory");
        let text =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        fs::write(&conf, text).expect("a file");
        let pin = dir.path().join("pin");
        fs::write(&pin, "1234\n").expect("a file");
        let identity = Identity::new(KeyType::P256);
        let key = identity.key().display().to_string();
        let pins = ["--pin", "1234"];
        for args in [
            &["--init-token", "--free", "--label", "web", "--so-pin", "87654321"][..],
            &["--import", &key, "--token", "web", "--label", "shop", "--id", "01"],
        ] {
            let mut made = Command::new("softhsm2-util");
            let made = run(made.args(args).args(pins).env("SOFTHSM2_CONF", &conf), b"");
            assert!(made.status.success(), "{}", made.stderr);
        }
        let uri = format!(
            "pkcs11:token=web;object=shop?module-path={module}&pin-source=file:{}",
            pin.display()
        );
        let mut process = Command::new(lab_binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--engine", "pkcs11", "--key", &uri])
            .arg("--cert")
            .arg(identity.cert())
            .args(more)
            .env("SOFTHSM2_CONF", &conf)
            .env("LAYBY_SHIM", dir.path().join("page"))
            .env("LAYBY_SOFTHSM", MODULE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the lab can be started");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().expect("it says where it listens").expect("a line");
        let address =
            first.strip_prefix("listening on ").expect("an address").parse().expect("one");
        Some(Self { dir, identity, process, lines, address })
    }

    fn connect(&self) -> Client {
        Client::connect(self.address, &self.identity).expect("it listens")
    }

    /// Lets it drain, and returns its report.
    fn drain(&mut self) -> Value {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("the server runs");
        let report = self.lines.next().expect("a report").expect("a line");
        serde_json::from_str(&report).expect("one object")
    }
}

#[test]
fn a_server_with_a_key_in_a_token_serves_and_leaves_nothing() {
    let Some(mut server) = TokenServer::start(|_| Some(MODULE.to_owned()), &[]) else { return };
    for _ in 0..4 {
        let mut client = server.connect();
        client.finish_handshake().expect("a handshake");
        assert!(client.greeting().expect("a page").starts_with("Layby"));
    }
    let report = server.drain();
    assert_eq!((&report["handshakes"], &report["failed"]), (&4.into(), &0.into()), "{report}");
    assert_eq!(report["is_in_module"], false);
    assert!(server.process.wait().expect("it ends").success());
}

/// The library's handlers at exit would crash: they must not run during its calls.
#[test]
fn a_server_whose_token_does_not_answer_ends_without_the_handlers_of_its_library() {
    let module = |dir: &Path| {
        Page::new(dir);
        Some(shim::module(dir)?.display().to_string())
    };
    let bounds = ["--handshake-seconds", "1", "--drain-seconds", "1"];
    let Some(mut server) = TokenServer::start(module, &bounds) else { return };
    let page = Page::of(server.dir.path());
    page.set(Word::CrashAtExit, 1);
    page.set(Word::Block, 1);
    let _parked = server.connect();
    let until = Instant::now() + LIMIT;
    while page.get(Word::Inside) == 0 {
        assert!(Instant::now() < until, "the token is not asked");
        thread::yield_now();
    }
    let report = server.drain();
    assert_eq!(report["is_in_module"], true, "{report}");
    let status = server.process.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "{status}");
    assert_eq!((page.get(Word::Inside), page.get(Word::Finalizes)), (1, 0));
}
