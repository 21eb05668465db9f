//! Our side: a device that answers on command, and sessions that offload everything to it.

use std::fs;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceError, DeviceRefused, Engine, Request, Work};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use ssl_async::{Outcome, Parking, Ssl, SslContext, SslError, offload, replayable};

pub(crate) type Version = &'static SupportedProtocolVersion;

/// Holds requests until the test answers them.
#[derive(Debug, Default)]
pub(crate) struct Device(Mutex<Vec<Request<CryptoOp>>>);

impl Accelerator<CryptoOp> for Device {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), DeviceRefused<CryptoOp>> {
        self.0.lock().unwrap().push(request);
        Ok(())
    }
}

/// A key and certificate in files, and on a device; both sides have the same. In `stranger.pem` is a certificate that
/// neither has.
pub(crate) struct World {
    pub(crate) files: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    keys: SoftwareKeys,
    device: Arc<Device>,
    engine: Arc<Engine<CryptoOp>>,
    certified: Arc<SingleCertAndKey>,
}

impl World {
    pub(crate) fn new() -> Self {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = identity.signing_key.serialize_pem();
        for (name, text) in [
            ("cert.pem", identity.cert.pem()),
            ("key.pem", pem.clone()),
            ("stranger.pem", stranger.cert.pem()),
        ] {
            fs::write(files.path().join(name), text).unwrap();
        }
        let certificate = CertificateDer::from_pem_slice(identity.cert.pem().as_bytes()).unwrap();
        let keys = SoftwareKeys::new();
        let key = keys.load_pem(&pem).unwrap();
        let device = Arc::new(Device::default());
        let engine = Engine::builder(device.clone()).build();
        let signer = offload::key_handle(Arc::clone(&engine), key);
        let certified = CertifiedKey::new(vec![certificate.clone()], signer);
        let certified = Arc::new(SingleCertAndKey::from(certified));
        Self { files, certificate, keys, device, engine, certified }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    /// A server that requests a client's certificate. By replay alone it offloads what waits before its flight.
    pub(crate) fn server(&self, version: Version, parking: Parking) -> SslContext {
        let everything = parking != Parking::Replay;
        let provider = replayable(offload::key_exchange(aws_lc_rs::default_provider()));
        let provider = Arc::new(provider);
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let hour = Duration::from_secs(3600);
        let ticketer = offload::tickets(Arc::clone(&self.engine), &provider, hour).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(self.certified.clone());
        if everything {
            config.ticketer = ticketer;
        }
        let context = SslContext::server(Arc::new(config)).parking(parking);
        match everything || version == &TLS13 {
            true => context.key_exchange(Arc::clone(&self.engine)),
            false => context,
        }
    }

    pub(crate) fn client(&self, version: Version) -> SslContext<ClientConfig> {
        let provider = Arc::new(offload::key_exchange(aws_lc_rs::default_provider()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_cert_resolver(self.certified.clone());
        SslContext::client(Arc::new(config)).key_exchange(Arc::clone(&self.engine))
    }

    /// Completes or fails the operation that the session is parked on. Returns its kind.
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

    /// Advances the handshake until it fails: the device fails the first operation of this kind.
    pub(crate) fn fail(&self, ssl: &mut Ssl<TcpStream>, kind: &str) -> SslError {
        for _ in 0..100 {
            match ssl.do_handshake() {
                Ok(Outcome::WantAsync) => {
                    let next = self.device.0.lock().unwrap()[0].kind().name();
                    self.answer(!next.starts_with(kind));
                }
                Ok(Outcome::Ready(())) => panic!("{kind} is not needed: {ssl:?}"),
                Ok(_) => wait_until_readable(ssl.io()),
                Err(error) => return error,
            }
        }
        panic!("the handshake does not end: {ssl:?}")
    }

    /// Advances the handshake until the session is parked.
    pub(crate) fn parks(&self, ssl: &mut Ssl<TcpStream>) {
        for _ in 0..100 {
            match ssl.do_handshake().unwrap() {
                Outcome::WantAsync => return,
                outcome => assert_eq!(outcome, Outcome::WantRead),
            }
            wait_until_readable(ssl.io());
        }
        panic!("the handshake does not park: {ssl:?}")
    }

    /// Answers everything until the peer, which does not trust us, closes; with TLS 1.3 possibly after the handshake.
    pub(crate) fn refused(&self, ssl: &mut Ssl<TcpStream>) -> SslError {
        for _ in 0..100 {
            match ssl.read(&mut [0; 32]) {
                Ok(Outcome::WantAsync) => {
                    self.answer(true);
                }
                Ok(Outcome::Ready(n)) => panic!("{n} bytes of a peer that does not trust us"),
                Ok(_) => wait_until_readable(ssl.io()),
                Err(error) => return error,
            }
        }
        panic!("the peer does not end it: {ssl:?}")
    }

    /// Repeats `call` until it is done. Returns the kinds of the operations that parked the session.
    pub(crate) fn done<T>(
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
    io.peek(&mut [0]).expect("the peer sends something within half a minute");
    io.set_nonblocking(true).unwrap();
}
