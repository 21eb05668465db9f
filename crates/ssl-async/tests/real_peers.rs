//! Sessions with everything offloaded against OpenSSL's own client and server, over TCP.
//!
//! Skipped where there is no `openssl` command, unless `LAYBY_REQUIRE` (a list with commas) names `openssl`: then that is
//! a failure.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceError, Engine, Rejected, Request, Work};
use job_core::JobPool;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use ssl_async::{
    Outcome, Ssl, SslContext, SslError, offload_key, offload_key_exchange, offload_tickets,
};

/// Holds requests until the test answers them.
#[derive(Debug, Default)]
struct Device(Mutex<Vec<Request<CryptoOp>>>);

impl Accelerator<CryptoOp> for Device {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), Rejected<CryptoOp>> {
        self.0.lock().unwrap().push(request);
        Ok(())
    }
}

/// A key and certificate in files, and on a device.
struct World {
    files: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    keys: SoftwareKeys,
    device: Arc<Device>,
    engine: Arc<Engine<CryptoOp>>,
    certified: Arc<SingleCertAndKey>,
}

impl World {
    fn new() -> Self {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("cert.pem"), identity.cert.pem()).unwrap();
        let pem = identity.signing_key.serialize_pem();
        std::fs::write(files.path().join("key.pem"), &pem).unwrap();
        let certificate = CertificateDer::from_pem_slice(identity.cert.pem().as_bytes()).unwrap();
        let keys = SoftwareKeys::new();
        let key = keys.load_pem(&pem).unwrap();
        let device = Arc::new(Device::default());
        let engine = Engine::builder(device.clone()).build();
        let signer = offload_key(Arc::clone(&engine), key);
        let certified = CertifiedKey::new(vec![certificate.clone()], signer);
        let certified = Arc::new(SingleCertAndKey::from(certified));
        Self { files, certificate, keys, device, engine, certified }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    /// A server that wants a client's certificate.
    fn server(&self, version: &'static SupportedProtocolVersion) -> SslContext {
        let provider = Arc::new(offload_key_exchange(aws_lc_rs::default_provider()));
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let hour = Duration::from_secs(3600);
        let ticketer = offload_tickets(Arc::clone(&self.engine), &provider, hour).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(self.certified.clone());
        config.ticketer = ticketer;
        SslContext::server(Arc::new(config)).key_exchange(Arc::clone(&self.engine))
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> SslContext<ClientConfig> {
        let provider = Arc::new(offload_key_exchange(aws_lc_rs::default_provider()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_cert_resolver(self.certified.clone());
        SslContext::client(Arc::new(config)).key_exchange(Arc::clone(&self.engine))
    }

    /// Answers what the session is parked on; the kind.
    fn answer(&self, well: bool) -> &'static str {
        let request = self.device.0.lock().unwrap().pop().expect("the session is parked");
        let kind = request.work().kind().name();
        let failed = Err(DeviceError::Failed("told to"));
        let answer = match well {
            true => self.keys.execute(request.work()).or(failed),
            false => failed,
        };
        request.complete(answer);
        kind
    }

    /// Runs `call` until it is done. What the session was parked on meanwhile.
    fn done<T>(
        &self,
        ssl: &mut Ssl<TcpStream>,
        mut call: impl FnMut(&mut Ssl<TcpStream>) -> Result<Outcome<T>, SslError>,
    ) -> (T, Vec<&'static str>) {
        let mut parked = Vec::new();
        for _ in 0..100 {
            match call(ssl).unwrap() {
                Outcome::Ready(value) => return (value, parked),
                Outcome::WantAsync => parked.push(self.answer(true)),
                _ => wait_until_readable(ssl.io()),
            }
        }
        panic!("the call does not end: {ssl:?}")
    }
}

fn wait_until_readable(io: &TcpStream) {
    io.set_nonblocking(false).unwrap();
    io.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    io.peek(&mut [0]).expect("the peer says something within half a minute");
    io.set_nonblocking(true).unwrap();
}

/// `openssl`, verifying, with the certificate and key of `files` as its own.
fn openssl(command: &str, files: &Path, version: &'static SupportedProtocolVersion) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.arg(command).current_dir(files);
    openssl.args(["-cert", "cert.pem", "-key", "key.pem", "-CAfile", "cert.pem"]);
    openssl.arg(if version == &TLS12 { "-tls1_2" } else { "-tls1_3" });
    openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    openssl
}

fn is_installed() -> bool {
    let installed = Command::new("openssl").arg("version").output().is_ok();
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    assert!(installed || !required.split(',').any(|name| name == "openssl"), "no openssl here");
    installed
}

fn s_client(
    world: &World,
    version: &'static SupportedProtocolVersion,
    options: &[&str],
) -> (Child, Ssl<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = openssl("s_client", world.files.path(), version)
        .args(["-connect", &listener.local_addr().unwrap().to_string()])
        .args(["-servername", "localhost", "-verify_hostname", "localhost"])
        .arg("-verify_return_error")
        .args(options)
        .spawn()
        .unwrap();
    let (io, _) = listener.accept().unwrap();
    io.set_nonblocking(true).unwrap();
    (peer, Ssl::accept(&world.server(version), &JobPool::new(), io).unwrap())
}

#[test]
fn openssls_client_is_served_and_heard_to_the_end() {
    if !is_installed() {
        return;
    }
    for version in [&TLS12, &TLS13] {
        let world = World::new();
        let (mut peer, mut ssl) = s_client(&world, version, &["-quiet"]);
        let ((), parked) = world.done(&mut ssl, Ssl::do_handshake);
        assert!(parked[0].starts_with("agree-") && parked[1] == "sign-ecdsa-p256", "{parked:?}");
        assert_eq!(parked.last(), Some(&"ticket"));
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
fn l15_openssls_client_is_told_when_the_signature_fails() {
    if !is_installed() {
        return;
    }
    for version in [&TLS12, &TLS13] {
        let world = World::new();
        let (peer, mut ssl) = s_client(&world, version, &["-msg"]);
        loop {
            match ssl.do_handshake() {
                Ok(Outcome::WantAsync) => {
                    let kind = world.device.0.lock().unwrap()[0].kind();
                    world.answer(kind.name() != "sign-ecdsa-p256");
                }
                Ok(_) => wait_until_readable(ssl.io()),
                Err(error) => {
                    assert!(matches!(error, SslError::Failed(_)), "{error}");
                    break;
                }
            }
        }
        drop(ssl);
        let output = peer.wait_with_output().unwrap();
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains("<<<") && seen.contains("close_notify"), "{version:?}: {seen}");
        assert!(!seen.contains("Finished"), "no handshake: {seen}");
    }
}

#[test]
fn openssls_server_is_asked_and_answers() {
    if !is_installed() {
        return;
    }
    for version in [&TLS12, &TLS13] {
        let world = World::new();
        let mut peer = openssl("s_server", world.files.path(), version)
            .args(["-accept", "127.0.0.1:0", "-Verify", "1", "-verify_return_error", "-rev"])
            .args(["-naccept", "1"])
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(peer.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ACCEPT") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server says where it listens");
        }
        let address = line.trim_start_matches("ACCEPT").trim().to_owned();
        let io = TcpStream::connect(address).unwrap();
        io.set_nonblocking(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut ssl = Ssl::connect(&world.client(version), &JobPool::new(), name, io);
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
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        peer.wait().unwrap();
    }
}
