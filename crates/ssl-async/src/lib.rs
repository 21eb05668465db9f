//! TLS sessions over unmodified rustls that park, instead of blocking their thread, while an engine computes: OpenSSL's
//! `SSL_MODE_ASYNC`, `SSL_set_async_callback` and `SSL_get_all_async_fds`, without their defects.
//!
//! A session is a non-blocking state machine like any other, with one more outcome, [`Outcome::WantAsync`]: a packet of
//! this session waits for a signature, a key exchange, a ticket or a verdict that is computed elsewhere. The thread
//! serves other sessions, and calls again when this one is woken.
//!
//! ```text
//!   event loop -- do_handshake, read, write --> Ssl -- packet, connection --> job on a fiber
//!       ^  <-- WantRead, WantWrite, WantAsync --+                                  |
//!       |                                                         rustls: process_new_packets
//!       |                                                                          |
//!       |                                                            a hook: Signer::sign, ...
//!       |                                                                          |
//!       +-- wake: ready queue, callback or fd -- Engine <-- run(operation), pauses +
//!                                                  |
//!                                               device
//! ```
//!
//! # Example
//!
//! A key that takes 20 ms for a signature, and a handshake that waits for it without blocking. Besides this crate it
//! needs `rcgen = "0.14"`, for a certificate.
//!
#![cfg_attr(feature = "aws-lc-rs", doc = "```")]
#![cfg_attr(not(feature = "aws-lc-rs"), doc = "```text")]
//! use std::error::Error;
//! use std::os::unix::net::UnixStream;
//! use std::sync::{Arc, mpsc};
//! use std::time::Duration;
//!
//! use ssl_async::rustls::crypto::aws_lc_rs;
//! use ssl_async::rustls::pki_types::PrivateKeyDer;
//! use ssl_async::rustls::{ClientConfig, RootCertStore, ServerConfig};
//! use ssl_async::{JobPool, Outcome, SlowKey, Ssl, SslContext};
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     aws_lc_rs::default_provider().install_default().expect("no other provider");
//!
//!     // The key: a closure that may block. In place of the sleep, ask an HSM.
//!     let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//!     let certificate = identity.cert.der().clone();
//!     let pkcs8 = PrivateKeyDer::try_from(identity.signing_key.serialize_der())?;
//!     let signing_key = aws_lc_rs::sign::any_supported_type(&pkcs8)?;
//!     let key = SlowKey::builder(vec![certificate.clone()])?.blocking(move |scheme, message| {
//!         std::thread::sleep(Duration::from_millis(20));
//!         signing_key.choose_scheme(&[scheme]).expect("a scheme of the certificate").sign(message)
//!     })?;
//!
//!     // Ordinary configurations of rustls.
//!     let server = ServerConfig::builder().with_no_client_auth().with_cert_resolver(key);
//!     let mut roots = RootCertStore::empty();
//!     roots.add(certificate)?;
//!     let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
//!
//!     // A server's session that calls back when it is woken, and a client's session.
//!     let (wake, woken) = mpsc::channel();
//!     let server = SslContext::server(Arc::new(server))
//!         .async_callback(Arc::new(move |id, _why| wake.send(id).expect("the receiver is alive")));
//!     let client = SslContext::client(Arc::new(client));
//!     let (ours, theirs) = UnixStream::pair()?;
//!     ours.set_nonblocking(true)?;
//!     theirs.set_nonblocking(true)?;
//!     let jobs = JobPool::new();
//!     let mut server = Ssl::accept(&server, &jobs, ours)?;
//!     let mut client = Ssl::connect(&client, &jobs, "localhost".try_into()?, theirs);
//!
//!     assert_eq!(client.do_handshake()?, Outcome::WantRead);
//!     assert_eq!(server.do_handshake()?, Outcome::WantAsync);
//!     // The key is at work on its own thread; this one could serve other sessions.
//!     assert_eq!(woken.recv()?, server.id());
//!     assert_eq!(server.do_handshake()?, Outcome::WantRead);
//!     assert_eq!(client.do_handshake()?, Outcome::Ready(()));
//!     assert_eq!(server.do_handshake()?, Outcome::Ready(()));
//!
//!     assert_eq!(client.write(b"hello")?, Outcome::Ready(5));
//!     let mut buffer = [0; 16];
//!     assert_eq!(server.read(&mut buffer)?, Outcome::Ready(5));
//!     assert_eq!(&buffer[..5], b"hello");
//!     Ok(())
//! }
//! ```
//!
//! A server with an event loop on mio is
//! [`examples/bare_mio.rs`](https://github.com/layby-rs/layby/blob/main/crates/ssl-async/examples/bare_mio.rs); with
//! tokio, see the module [`task`](https://docs.rs/layby-ssl-async/latest/ssl_async/task).
//!
//! # Several certificates
//!
//! One pool of threads, with one queue, deadline and breaker, signs for any number of keys. Each client gets the certificate
//! that names its host, and the certificates can be replaced while handshakes are parked.
//!
//! ```
//! # #[cfg(feature = "aws-lc-rs")] {
//! use std::{sync::Arc, time::Duration};
//! use ssl_async::{CertSet, CertStore, KeyPool, SignError};
//! # use rustls::sign::SigningKey;
//! # use std::collections::HashMap;
//! # let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
//! # struct Token(HashMap<&'static str, Arc<dyn SigningKey>>);
//! # impl Token { fn sign(&self, key: &str, scheme: rustls::SignatureScheme, message: &[u8]) -> Result<Vec<u8>, SignError> {
//! #     let signer = self.0[key].choose_scheme(&[scheme]).unwrap();
//! #     signer.sign(message).map_err(SignError::transient) } }
//! # let mut keys: HashMap<&'static str, Arc<dyn SigningKey>> = HashMap::new();
//! # let [shop_chain, mail_chain] = [("shop", "shop.example"), ("mail", "*.mail.example")].map(|(key, host)| {
//! #     let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
//! #     let der = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
//! #     keys.insert(key, rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap());
//! #     vec![made.cert.der().clone()] });
//! # let token = Token(keys);
//!
//! // `token` has two keys, which it knows as "shop" and "mail"; each of its calls blocks.
//! let pool = KeyPool::builder()
//!     .threads(8)
//!     .deadline(Duration::from_secs(2))
//!     .blocking(move |request| token.sign(request.key_id(), request.scheme(), request.message()))?;
//! let shop = pool.key(shop_chain, "shop")?;
//! let mail = pool.key(mail_chain, "mail")?;
//! let hosts = CertSet::new()
//!     .certificate(shop.certified_key())? // shop.example
//!     .certificate(mail.certified_key())?; // *.mail.example
//! let certificates = Arc::new(CertStore::new(hosts));
//! let config = pool.server_config(certificates.clone());
//! # for (host, key) in [("shop.example", &shop), ("imap.mail.example", &mail)] {
//! #     assert!(Arc::ptr_eq(&certificates.get(Some(host)).unwrap(), key.certified_key()));
//! #     assert!(key.certified_key().key.choose_scheme(key.schemes()).unwrap().sign(b"a transcript").is_ok()); }
//! # let _ = config;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is offloaded
//!
//! | work | how |
//! | --- | --- |
//! | signatures | **[`SlowKey`]**: by a closure that blocks, an `async fn` or a device; **[`KeyPool`]** for several keys, or sessions of threads |
//! | signatures through an engine of your own | [`offload::signing_key`] for a rustls `SigningKey`, [`offload::key_handle`] for a key that a device knows by its handle |
//! | key exchange | [`offload::key_exchange`] and [`SslContext::key_exchange`] |
//! | session tickets | [`offload::tickets`] |
//! | the choice of the own certificate | [`CertStore`] by host; [`resolve::server_certificate`], [`resolve::client_certificate`], or [`Acceptor`] |
//! | the verdict on the peer's certificate | [`verify::server_certificate`], [`verify::client_certificate`] |
//!
//! Each is chosen on its own. What is not offloaded runs as in plain rustls.
//!
//! # Two ways to park
//!
//! On a *fiber*, as in the picture, any hook may wait. By *replay* a server's handshake waits without a fiber, in 2 to
//! 4 KiB: rustls runs up to what it waits for, its connection is dropped, and another one runs with the answer. That
//! serves all that comes before the server's flight. It takes a configuration whose provider was made by [`replayable`], as that of
//! [`SlowKey::server_config`]. [`Parking`] chooses; by default a handshake is replayed if its configuration allows it.
//!
//! # Wakeups
//!
//! A wake is a hint to call again; calling without one is harmless and changes nothing. It goes to the session's
//! callback if there is one, else to its descriptor if one was requested, else by the route of its
//! [wait context](Ssl::wait_ctx); with none of these, poll by calling again.
//!
//! # While a packet is parked
//!
//! Every call returns [`Outcome::WantAsync`]; no call and no buffer of the caller is ever parked. The packet owns the
//! connection, so its properties are not available and nothing can be sent. When the transport becomes readable, call
//! [`Ssl::watch_peer`]: it reads ahead, and notices that the peer has closed.
//!
//! A close ends only the peer's sending: its last flight, data or an alert may come before it, and after a half-close it
//! still reads. So the packet is finished, then the peer's bytes are processed, answered and readable, and then the close
//! counts, as in plain rustls. A packet is cancelled at once where its result can reach no peer: when the transport has
//! failed, and when the peer has closed before it can have sent its last flight, as a client that hangs up while the
//! server waits for its signature.
//!
//! A session reads ahead up to 64 KiB, and a server in addition twice the early data that its configuration allows. A peer
//! that sends more before the `ServerHello` is refused, so a close is seen there, over every transport. Later the rest
//! stays in the transport, and a reset behind it is seen when the packet is done.
//!
//! # Failure
//!
//! A failed operation ends its session, and the peer is told: the flight that needed the result has not left, so the alert
//! `internal_error` leaves in its place, also when a hook panics ([`SslError::Failed`] has the exceptions, which are in TLS
//! 1.3). Every later call returns the same [`SslError`]. An operation cannot be cancelled without ending its session.
//!
//! A session has no clock. An event loop that finds that a handshake takes too long calls [`Ssl::time_out`]; the futures
//! of the module `task` do that by themselves.
//!
//! # Drop
//!
//! A session may be dropped while a packet is parked. The packet is cancelled, and the device's result is wiped when it
//! arrives. A hook of your own that waited gets an error, and must return it; [the page about jobs] says where it must
//! not wait.
//!
//! [the page about jobs]: https://github.com/layby-rs/layby/blob/main/docs/what-runs-in-a-job.md
//!
//! # Threads
//!
//! A session stays on its thread. Contexts, keys and engines may be shared between threads.
//!
//! # Panics
//!
//! A panic in a hook reaches the caller of the session, which is then over; other sessions are not affected.
//!
//! # Features
//!
//! - `aws-lc-rs` (default): rustls's provider over aws-lc, and the software implementation of all operations.
//! - `ring`: rustls's provider over ring. With it alone, results are checked by that provider's algorithms, and there is
//!   no aws-lc in the dependency tree.
//! - `tokio`: the module [`task`](https://docs.rs/layby-ssl-async/latest/ssl_async/task), with acceptor, connector and stream for
//!   tasks.
//! - `metrics`: `EngineStats::publish`, which hands an engine's counters to the facade `metrics`.
//!
//! Features are additive. With both providers, name the provider when a configuration is built, because rustls cannot
//! choose one.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod context;
mod error;
mod id;
mod known;
mod outcome;
mod parking;

// The session, and the one packet of it that may be parked.
mod accept;
mod final_alert;
mod hook_runtime;
mod packet;
mod packet_local;
mod read_ahead;
mod records;
mod session;

// Everything that depends on the version of rustls.
mod rustls23;

// Sessions for tasks that move between threads.
#[cfg(feature = "tokio")]
pub mod task;

pub use accept::{Accepted, Acceptor};
pub use context::{AsyncCallback, SslContext};
pub use error::{ClosedDuring, SslError};
pub use id::SslId;
pub use job_core::JobPool;
pub use outcome::Outcome;
pub use parking::Parking;
pub use rustls23::{
    CertSet, CertSetError, CertStore, KeyPool, KeyPoolBuilder, SchemeFault, SelfTest, SignError,
    SignatureFault, SlowKey, SlowKeyBuilder, SlowKeyError, TlsError, replayable,
};
pub use session::Ssl;

// The crates whose types stand in the signatures above, so that one dependency is enough.
pub use {crypto_ops, engine_core, job_core, rustls, wait_ctx};

/// Hooks of rustls whose work an [`Engine`](engine_core::Engine) of yours computes. For a signing key alone,
/// [`SlowKey`] is the short way, and for several [`KeyPool`]: they make the engine too.
pub mod offload {
    pub use crate::rustls23::key_exchange::key_exchange;
    pub use crate::rustls23::public_key::{PublicKeyError, handle_of_certificate};
    pub use crate::rustls23::sign::key_handle;
    pub use crate::rustls23::signing_key::{
        SigningWork, signing_key, signing_key_with_certificate,
    };
    pub use crate::rustls23::ticketer::tickets;
}

/// Choosing the own certificate with an `async fn`.
pub mod resolve {
    pub use crate::rustls23::resolve::{
        CertificateRequest, ClientOffer, client_certificate, server_certificate,
    };
}

/// Judging the peer's certificate with an `async fn`.
pub mod verify {
    pub use crate::rustls23::verify::{PeerCertificate, client_certificate, server_certificate};
}
