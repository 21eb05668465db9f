//! tokio-rustls's names make an acceptor or a connector on the spot: what one handshake has started and found out serves the
//! next. A process of its own, in which no other test keeps the process's shards.

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{Acceptor, ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use ssl_async::task;
use ssl_async::task::compat::{LazyConfigAcceptor, TlsAcceptor, TlsConnector, server};
use ssl_async::{Parking, SslError, resolve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

/// A resolver of the user's, which records where it is called: on which thread, and whether on a fiber.
#[derive(Debug)]
struct Recording(Arc<dyn ResolvesServerCert>, Mutex<Vec<(ThreadId, bool)>>);

impl ResolvesServerCert for Recording {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.lock().unwrap().push((thread::current().id(), job_core::on_job_stack()));
        self.0.resolve(hello)
    }
}

/// Neither can be replayed: the server's provider is rustls's own.
fn configs(waits: bool) -> (Arc<ServerConfig>, Arc<ClientConfig>, Arc<Recording>) {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.clone_key())
        .unwrap();
    let mut resolver = Arc::clone(&server.cert_resolver);
    if waits {
        let chain = vec![certificate.clone()];
        let key = Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap());
        resolver = resolve::server_certificate(async move |_| {
            tokio::task::yield_now().await;
            Some(key)
        });
    }
    let recording = Arc::new(Recording(resolver, Mutex::default()));
    server.cert_resolver = Arc::clone(&recording) as _;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client), recording)
}

/// A handshake with an acceptor of its own; every other one reads the hello first.
async fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, lazy: bool) {
    let (ours, theirs) = duplex(1 << 16);
    let server = async {
        let config = Arc::clone(server);
        if !lazy {
            return TlsAcceptor::from(config).accept(ours).await;
        }
        LazyConfigAcceptor::new(Acceptor::default(), ours).await.unwrap().into_stream(config).await
    };
    let name = ServerName::try_from("localhost").unwrap();
    let client = TlsConnector::from(Arc::clone(client)).connect(name, theirs);
    let (server, client) = tokio::join!(server, client);
    server.unwrap();
    client.unwrap();
}

/// Seals no ticket before the test has dropped the sender.
#[derive(Debug)]
struct Gate(Mutex<Receiver<()>>);

impl ProducesTickets for Gate {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        60
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        let _ = self.0.lock().unwrap().recv();
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A server's stream, to which the client has sent `data` in one piece with its `Finished`, and then closed its side.
async fn with_data_behind_finished(data: &[u8]) -> (server::TlsStream<DuplexStream>, DuplexStream) {
    let (mut server, client, _) = configs(false);
    let (open, closed) = mpsc::channel();
    Arc::make_mut(&mut server).ticketer = Arc::new(Gate(Mutex::new(closed)));
    let (ours, mut theirs) = duplex(1 << 17);
    let plain = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(client, name).unwrap();
        client.set_buffer_limit(None);
        let mut out = Vec::new();
        loop {
            let is_done = !client.is_handshaking();
            if is_done {
                client.writer().write_all(data).unwrap();
            }
            while client.wants_write() {
                client.write_tls(&mut out).unwrap();
            }
            theirs.write_all(&core::mem::take(&mut out)).await.unwrap();
            if is_done {
                theirs.shutdown().await.unwrap();
                // The server has the `Finished` on a shard, and reads on meanwhile.
                tokio::task::yield_now().await;
                drop(open);
                return theirs;
            }
            let mut buffer = [0; 4096];
            let len = theirs.read(&mut buffer).await.unwrap();
            let mut unread = &buffer[..len];
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets().unwrap();
            }
        }
    };
    let (stream, theirs) = tokio::join!(TlsAcceptor::from(server).accept(ours), plain);
    (stream.unwrap(), theirs)
}

/// What the connection has, and then what it makes of the transport's bytes.
async fn rest(mut connection: ServerConnection, mut io: DuplexStream) -> Vec<u8> {
    let (mut all, mut last) = (Vec::new(), Vec::new());
    let end = connection.reader().read_to_end(&mut all).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::WouldBlock, "the stream has not ended");
    io.read_to_end(&mut last).await.unwrap();
    let mut unread = &*last;
    while !unread.is_empty() {
        connection.read_tls(&mut unread).unwrap();
        connection.process_new_packets().expect("no byte between is missing");
        let _ = connection.reader().read_to_end(&mut all);
    }
    all
}

#[test]
fn into_inner_gives_the_connection_32_kib_that_came_behind_finished() {
    let _alone = ALONE.lock();
    runtime().block_on(async {
        let data = data(32 << 10);
        let (stream, _theirs) = with_data_behind_finished(&data).await;
        let (io, connection) = stream.into_inner();
        assert!(rest(connection, io).await == data);
    });
}

#[test]
fn a_stream_of_task_has_all_that_came_behind_finished() {
    let _alone = ALONE.lock();
    runtime().block_on(async {
        let data = data(40 << 10);
        let (stream, _theirs) = with_data_behind_finished(&data).await;
        let mut stream = task::TlsStream::from(stream);
        let mut all = vec![0; data.len()];
        stream.read_exact(&mut all).await.unwrap();
        assert!(all == data);
    });
}

/// A server that takes early data, and a client that has its ticket.
async fn ticketed() -> Arc<ClientConfig> {
    let (mut server, mut client, _) = configs(false);
    Arc::make_mut(&mut server).max_early_data_size = 1024;
    Arc::make_mut(&mut client).enable_early_data = true;
    let (ours, theirs) = duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let connect = TlsConnector::from(Arc::clone(&client)).connect(name, theirs);
    let (ours, theirs) = tokio::join!(TlsAcceptor::from(server).accept(ours), connect);
    let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
    ours.write_all(b"a ticket comes with it").await.unwrap();
    ours.flush().await.unwrap();
    theirs.read_exact(&mut [0; 22]).await.unwrap();
    client
}

#[test]
fn a_handshake_with_early_data_has_a_deadline_and_its_reader_hears_of_it() {
    let _alone = ALONE.lock();
    runtime().block_on(async {
        let client = ticketed().await;
        // From here on it advances when nothing else can happen.
        tokio::time::pause();
        let (_silent, theirs) = duplex(1 << 16);
        let name = ServerName::try_from("localhost").unwrap();
        let connect = TlsConnector::from(client).early_data(true).connect(name, theirs);
        let (mut reader, mut writer) = tokio::io::split(connect.await.unwrap());
        writer.write_all(b"early").await.unwrap();
        let mut byte = [0];
        let (read, flushed) = tokio::join!(reader.read(&mut byte), writer.flush());
        assert_eq!(flushed.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(writer.write(b"late").await.unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// Held by a test: another one's handshakes would keep the shards.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn handshakes_one_after_the_other_run_on_the_same_threads() {
    let _alone = ALONE.lock();
    let runtime = runtime();
    let (server, client, recording) = configs(false);
    let n_shards = thread::available_parallelism().map_or(1, NonZero::get);
    // One on each shard, and again.
    for n in 0..2 * n_shards {
        runtime.block_on(handshake(&server, &client, n % 2 == 0));
    }
    let calls = recording.1.lock().unwrap();
    let threads: HashSet<ThreadId> = calls.iter().map(|(thread, _)| *thread).collect();
    assert_eq!(calls.len(), 2 * n_shards);
    assert!(threads.len() <= n_shards, "{calls:?}");
    assert!(!threads.contains(&thread::current().id()));
}

#[test]
fn that_a_hook_waits_is_found_out_once() {
    let _alone = ALONE.lock();
    let runtime = runtime();
    let (server, client, recording) = configs(true);
    for n in 0..4 {
        runtime.block_on(handshake(&server, &client, n % 2 == 0));
    }
    let on_fiber: Vec<bool> = recording.1.lock().unwrap().iter().map(|call| call.1).collect();
    assert_eq!(on_fiber, [false, true, true, true]);
}

#[test]
fn a_handshake_that_is_to_be_parked_by_replay_alone_takes_no_fiber_for_a_closure() {
    let (server, ..) = configs(false);
    let only = task::TlsAcceptor::from(server).parking(Parking::Replay);
    let acceptor = TlsAcceptor::from(only);
    let (ours, _theirs) = duplex(1024);
    let runtime = Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(acceptor.accept_with(ours, |_| ())).unwrap_err();
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    assert!(matches!(cause, Some(SslError::NeedsFiber(_))), "{error:?}");
}
