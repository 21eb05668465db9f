//! Other people's TLS fetches a page over a socket, verifying the certificate, from a server whose handshakes park in the
//! signature.
//!
//! A peer that is not installed is skipped and counted, unless `LAYBY_REQUIRE` (a list with commas) names it: then its
//! absence is a failure.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::aws_lc_rs::{Ticketer, default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{HandshakeKind, ServerConfig};
use tls_replay::{
    Question, ReplayConfig, ReplayKey, Session, SessionOptions, SessionStage, replayable,
};

const PAGE: &str = "Signed elsewhere.";

/// Fetches the page, given the address, the file of the root certificate and the version, 12 or 13.
type Fetch = fn(SocketAddr, &Path, u8) -> Command;

/// By the name that `LAYBY_REQUIRE` has, and the program.
const PEERS: &[(&str, &str, Fetch)] =
    &[("openssl", "openssl", openssl), ("curl", "curl", curl), ("gnutls", "gnutls-cli", gnutls)];

fn openssl(server: SocketAddr, root: &Path, version: u8) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"]);
    command.args(["-servername", "localhost", "-connect", &server.to_string()]);
    command.arg("-CAfile").arg(root);
    command.arg(if version == 12 { "-tls1_2" } else { "-tls1_3" });
    command
}

fn curl(server: SocketAddr, root: &Path, version: u8) -> Command {
    let port = server.port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--http1.1", "--noproxy", "*"]);
    command.args(["--resolve", &format!("localhost:{port}:{}", server.ip()), "--cacert"]);
    command.arg(root);
    command.args(if version == 12 {
        ["--tlsv1.2", "--tls-max", "1.2"]
    } else {
        ["--tlsv1.3", "--tls-max", "1.3"]
    });
    // Twice: over another connection, which may resume.
    let url = format!("https://localhost:{port}/");
    command.args([&url, &url]);
    command
}

fn gnutls(server: SocketAddr, root: &Path, version: u8) -> Command {
    let mut command = Command::new("gnutls-cli");
    command.args(["--sni-hostname", "localhost", "--verify-hostname", "localhost", "--x509cafile"]);
    command.arg(root).arg("--priority");
    command.arg(if version == 12 {
        "NORMAL:-VERS-ALL:+VERS-TLS1.2"
    } else {
        "NORMAL:-VERS-ALL:+VERS-TLS1.3"
    });
    command.args(["--port", &server.port().to_string(), &server.ip().to_string()]);
    command
}

/// Serves one connection. Returns whether it parked in a signature, and the kind of handshake.
fn serve(
    socket: &mut TcpStream,
    config: &ReplayConfig,
    key: &dyn SigningKey,
) -> Result<(bool, HandshakeKind), Box<dyn std::error::Error>> {
    let mut session = Session::new(config.clone(), SessionOptions::default());
    let (mut buffer, mut out, mut signed) = ([0; 4096], Vec::new(), false);
    loop {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Err("the peer hung up".into());
        }
        let mut stage = session.hear(&buffer[..read], &mut out);
        if let Some(Question::Signature { scheme, message }) = session.question() {
            let signature = key.choose_scheme(&[scheme]).ok_or("no such scheme")?.sign(message)?;
            stage = session.resume(signature, &mut out);
            signed = true;
        }
        socket.write_all(&out)?;
        out.clear();
        if stage? != SessionStage::Established {
            continue;
        }
        let tls = session.connection().ok_or("no connection")?;
        if !matches!(tls.reader().read(&mut buffer), Ok(1..)) {
            continue;
        }
        let length = PAGE.len();
        write!(tls.writer(), "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{PAGE}")?;
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(socket)?;
        }
        return Ok((signed, tls.handshake_kind().ok_or("no handshake")?));
    }
}

fn is_installed(program: &str) -> bool {
    let argument = if program == "openssl" { "version" } else { "--version" };
    let mut command = Command::new(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn every_peer_fetches_the_page_in_both_versions_with_both_keys() {
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    let (mut fetched, mut complaints) = (0, Vec::new());
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap();
        let root = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(root.path(), certificate.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.serialize_pem().as_bytes()).unwrap();
        let key = any_supported_type(&key).unwrap();
        let postponed = Arc::new(ReplayKey::new(Arc::clone(&key)));
        let certified = CertifiedKey::new(vec![certificate.der().clone()], postponed);
        let mut config = ServerConfig::builder_with_provider(replayable(default_provider()).into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.ticketer = Ticketer::new().unwrap();
        let config = ReplayConfig::new(config).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let signed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&signed);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                match serve(&mut socket.unwrap(), &config, &*key) {
                    Ok((true, HandshakeKind::Resumed)) | Ok((false, HandshakeKind::Full)) => {
                        panic!("a signature exactly for what is not resumed");
                    }
                    Ok(_) => counted.fetch_add(1, Ordering::SeqCst),
                    Err(error) => panic!("{error}"),
                };
            }
        });
        for (name, program, fetch) in PEERS {
            if !is_installed(program) {
                if required.split(',').any(|required| required == *name) {
                    complaints.push(format!("{program} is required and not installed"));
                }
                continue;
            }
            for version in [12, 13] {
                let mut command = fetch(address, root.path(), version);
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = command.spawn().unwrap();
                let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
                // Held open until the end: a peer may stop at the end of its input.
                let mut input = child.stdin.take().unwrap();
                let _ = input.write_all(request);
                let output = child.wait_with_output().unwrap();
                drop(input);
                if String::from_utf8_lossy(&output.stdout).contains(PAGE) {
                    fetched += 1;
                } else {
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    complaints.push(format!("{name} {version}: {}\n{stderr}", output.status));
                }
            }
        }
        assert!(signed.load(Ordering::SeqCst) >= fetched / 2);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    println!("{fetched} pages fetched");
}
