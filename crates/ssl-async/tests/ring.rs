//! The provider over ring alone: no aws-lc in the dependency tree, and signatures checked with ring's algorithms.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crypto_ops::{Scheme, SignOp};
use engine_core::{Accelerator, CheckPolicy, DeviceRefused, Engine, Request};
use job_core::JobPool;
use rustls::crypto::ring;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use ssl_async::{
    Outcome, Ssl, SslContext,
    offload::{self, SigningWork},
};

/// Holds requests until the test answers them.
#[derive(Debug, Default)]
struct Device(Mutex<Vec<Request<SigningWork>>>);

impl Accelerator<SigningWork> for Device {
    fn submit(&self, request: Request<SigningWork>) -> Result<(), DeviceRefused<SigningWork>> {
        self.0.lock().unwrap().push(request);
        Ok(())
    }
}

impl Device {
    fn answer(&self) {
        let request = self.0.lock().unwrap().pop().expect("the device holds a request");
        let signature = request.work().sign();
        request.complete(signature);
    }
}

fn identity(
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> (CertificateDer<'static>, Arc<dyn SigningKey>) {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap().der().clone();
    let der = PrivateKeyDer::from_pem_slice(pair.serialize_pem().as_bytes()).unwrap();
    (certificate, any_supported_type(&der).unwrap())
}

#[test]
fn a_handshake_parks_in_its_signature_and_the_signature_is_checked() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256]
    {
        let (certificate, key) = identity(algorithm);
        let provider = Arc::new(ring::default_provider());
        let device = Arc::new(Device::default());
        let engine = Engine::builder(device.clone()).checks(CheckPolicy::Always).build();
        let key = offload::signing_key(engine.clone(), key, &provider).unwrap();
        let certified = CertifiedKey::new(vec![certificate.clone()], key);
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let context = SslContext::server(Arc::new(server));
        let mut ssl = Ssl::accept(&context, &JobPool::new(), ours).unwrap();
        client.write_tls(&mut theirs).unwrap();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        device.answer();
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
        theirs.set_nonblocking(true).unwrap();
        step(&mut client, &mut theirs);
        assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
        assert_eq!(ssl.write(b"checked").unwrap(), Outcome::Ready(7));
        step(&mut client, &mut theirs);
        let mut received = [0; 7];
        client.reader().read_exact(&mut received).unwrap();
        assert_eq!((&received, engine.stats().checked), (b"checked", 1));
    }
}

fn step(client: &mut ClientConnection, io: &mut UnixStream) {
    while client.read_tls(io).map_err(would_block).is_ok() {
        client.process_new_packets().expect("the client is content");
    }
    while client.wants_write() {
        client.write_tls(io).unwrap();
    }
    io.flush().unwrap();
}

fn would_block(error: io::Error) {
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn l12_a_handle_made_from_a_certificate_accepts_only_valid_signatures() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256] {
        let (certificate, key) = identity(algorithm);
        let named =
            offload::handle_of_certificate(&certificate, &ring::default_provider()).unwrap();
        for &scheme in named.schemes() {
            let signer = key.choose_scheme(&[scheme.to_u16().into()]).unwrap();
            let mut signature = signer.sign(b"message").unwrap();
            let op = SignOp::new(named.clone(), scheme, b"message".to_vec()).unwrap();
            assert_eq!(op.key().check(scheme, b"message", &signature), Ok(()));
            *signature.last_mut().unwrap() ^= 1;
            assert!(op.key().check(scheme, b"message", &signature).is_err());
        }
        assert!(named.check(Scheme::Ed25519, b"message", b"").is_err());
    }
}

#[test]
fn there_is_no_aws_lc_in_the_tree() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "layby-ssl-async", "--edges", "normal,build"])
        .args(["--no-default-features", "--features", "ring", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.lines().any(|line| line.starts_with("ring v")), "{tree}");
    assert!(!tree.contains("aws-lc"), "{tree}");
}
