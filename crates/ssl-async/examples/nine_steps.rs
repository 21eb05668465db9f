//! The nine steps of the manual page SSL_set_async_callback, in the order in which they happen.

use std::error::Error;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};

use crypto_ops::{CryptoOp, SoftwareKeys};
use engine_core::{Accelerator, DeviceRefused, Engine, OnFull, Request};
use job_core::JobPool;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, sign};
use ssl_async::{Outcome, Ssl, SslContext, offload};

/// A device whose ring is a channel with one entry. The example signs and completes its requests by hand.
#[derive(Debug)]
struct Device(SyncSender<Request<CryptoOp>>);

impl Accelerator<CryptoOp> for Device {
    fn submit(&self, request: Request<CryptoOp>) -> Result<(), DeviceRefused<CryptoOp>> {
        self.0.try_send(request).map_err(|full| match full {
            TrySendError::Full(back) | TrySendError::Disconnected(back) => {
                DeviceRefused::Full(back)
            }
        })
    }
}

pub(crate) fn run(mut out: impl Write) -> Result<(), Box<dyn Error>> {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let keys = SoftwareKeys::new();
    let key = keys.load_pem(&identity.signing_key.serialize_pem())?;
    let (ring, requests) = sync_channel(1);
    let engine = Engine::builder(Arc::new(Device(ring))).on_full(OnFull::Notify).build();
    let chain = vec![identity.cert.der().clone()];
    let certified = sign::CertifiedKey::new(chain.clone(), offload::key_handle(engine, key));
    let _in_place_already = aws_lc_rs::default_provider().install_default();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(sign::SingleCertAndKey::from(certified)));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain);
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    writeln!(out, "1. set a callback")?;
    let (wake, woken) = channel();
    let context = SslContext::server(Arc::new(server))
        .async_callback(Arc::new(move |id, why| wake.send((id, why.status)).unwrap()));
    let client = SslContext::client(Arc::new(client)).async_mode(false);
    let (pool, mut sessions) = (JobPool::new(), Vec::new());
    for n in 0..2 {
        let (ours, theirs) = UnixStream::pair()?;
        [&ours, &theirs].into_iter().try_for_each(|end| end.set_nonblocking(true))?;
        let mut peer = Ssl::connect(&client, &pool, "localhost".try_into()?, theirs);
        let _hello = peer.do_handshake()?;
        let mut ssl = Ssl::accept(&context, &pool, ours)?;
        writeln!(out, "2. session {n}: {:?}", ssl.do_handshake()?)?;
        writeln!(out, "3. status {:?}", ssl.async_status())?;
        sessions.push((ssl, peer));
    }
    writeln!(out, "4. the jobs have paused: {}", pool.stats().paused)?;
    while sessions.iter().any(|(ssl, _)| ssl.waiting_for_async()) {
        let request = requests.recv()?;
        let signature = keys.execute(request.work())?;
        writeln!(out, "5. the device is done with one")?;
        request.complete(Ok(signature));
        for (id, status) in woken.try_iter() {
            let n = sessions.iter().position(|(ssl, _)| ssl.id() == id).expect("ours");
            let (ssl, peer) = &mut sessions[n];
            let outcome = ssl.do_handshake()?;
            writeln!(out, "6. and 7. the callback was called\n8. session {n}: {outcome:?}")?;
            writeln!(out, "9. it saw {status:?}; now {:?}", ssl.async_status())?;
            if outcome == Outcome::WantRead {
                assert!(peer.do_handshake()?.is_ready() && ssl.do_handshake()?.is_ready());
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(io::stdout())
}
