//! TLS sessions over unmodified rustls that park, instead of blocking their thread, while an engine computes: OpenSSL's
//! `SSL_MODE_ASYNC`, `SSL_set_async_callback` and `SSL_get_all_async_fds`, with their defects mended.
//!
//! A session is a non-blocking state machine like any other, with one more answer, [`Outcome::WantAsync`]: a packet of
//! this session waits for a signature, a key exchange, a ticket or a verdict that is computed elsewhere. The thread
//! serves others, and calls again when the session is woken.
//!
//! ```text
//!   event loop -- do_handshake, read, write --> Ssl ---- the packet, with the connection ----> job on a fiber
//!       ^  <-- WantRead, WantWrite, WantAsync --|                                                   |
//!       |                                                                   rustls: process_new_packets
//!       |                                                                                           |
//!       |                                                                      a hook: Signer::sign, ...
//!       |                                                                                           |
//!       +--- wake: ready queue, callback or descriptor --- Engine <--- run(operation), pauses ------+
//!                                                            |
//!                                                         device
//! ```
//!
//! # Example
//!
//! A key that takes its time on a thread of its own, and a handshake that waits for it without blocking:
//!
//! ```
//! # #[cfg(feature = "aws-lc-rs")] {
//! use std::os::unix::net::UnixStream;
//! use std::sync::{Arc, Mutex, mpsc};
//!
//! use crypto_ops::{CryptoOp, SoftwareKeys};
//! use engine_core::{DeviceError, Engine, ThreadPoolBuilder};
//! use rustls::sign::{CertifiedKey, SingleCertAndKey};
//! use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
//! use ssl_async::{JobPool, Outcome, Ssl, SslContext, offload};
//!
//! // The slow key: a closure that may block. Here it waits until it is told to sign.
//! let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//! let keys = SoftwareKeys::new();
//! let key = keys.load_pem(&identity.signing_key.serialize_pem())?;
//! let (tell, told) = mpsc::channel();
//! let told = Mutex::new(told);
//! let pool = ThreadPoolBuilder::new().threads(1).build(move |op: &CryptoOp| {
//!     told.lock().unwrap().recv().map_err(|_| DeviceError::Lost)?;
//!     keys.execute(op).map_err(|_| DeviceError::Failed("no such key"))
//! });
//! let engine = Engine::builder(Arc::new(pool)).build();
//!
//! // rustls is configured as ever; the key is ours.
//! let provider = Arc::new(aws_lc_rs::default_provider());
//! let chain = vec![identity.cert.der().clone()];
//! let certified = CertifiedKey::new(chain.clone(), offload::key_handle(engine, key));
//! let config = ServerConfig::builder_with_provider(provider.clone())
//!     .with_safe_default_protocol_versions()?
//!     .with_no_client_auth()
//!     .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
//! # let mut roots = RootCertStore::empty();
//! # roots.add_parsable_certificates(chain);
//! # let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
//!
//! // A server's session that calls back, and a client's to talk to it.
//! let (wake, woken) = mpsc::channel();
//! let context = SslContext::server(Arc::new(config))
//!     .async_callback(Arc::new(move |id, _why| wake.send(id).unwrap()));
//! let (ours, theirs) = UnixStream::pair()?;
//! ours.set_nonblocking(true)?;
//! theirs.set_nonblocking(true)?;
//! let jobs = JobPool::new();
//! let mut server = Ssl::accept(&context, &jobs, ours)?;
//! let mut client =
//!     Ssl::connect(&SslContext::client(Arc::new(client)), &jobs, "localhost".try_into()?, theirs);
//!
//! assert_eq!(client.do_handshake()?, Outcome::WantRead);
//! assert_eq!(server.do_handshake()?, Outcome::WantAsync);
//! assert!(server.waiting_for_async());
//! tell.send(())?;                              // meanwhile this thread did something else
//! assert_eq!(woken.recv()?, server.id());
//! assert_eq!(server.do_handshake()?, Outcome::WantRead);
//! assert_eq!(client.do_handshake()?, Outcome::Ready(()));
//! assert_eq!(server.do_handshake()?, Outcome::Ready(()));
//!
//! assert_eq!(client.write(b"hello")?, Outcome::Ready(5));
//! let mut buffer = [0; 16];
//! assert_eq!(server.read(&mut buffer)?, Outcome::Ready(5));
//! assert_eq!(&buffer[..5], b"hello");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is offloaded
//!
//! | work | how |
//! | --- | --- |
//! | signatures of a key with a handle | [`offload::key_handle`] |
//! | signatures by a closure that blocks, an `async fn` or a device of your own | [`SlowKey`] |
//! | signatures of any rustls `SigningKey` | [`offload::signing_key`] |
//! | key exchange | [`offload::key_exchange`] and [`SslContext::key_exchange`] |
//! | session tickets | [`offload::tickets`] |
//! | the choice of a certificate | [`resolve::server_certificate`] or [`Acceptor`]; a client's: [`resolve::client_certificate`] |
//! | the verdict on the peer's certificate | [`verify::server_certificate`], [`verify::client_certificate`] |
//!
//! Each is chosen on its own. Whatever is not offloaded runs as in plain rustls.
//!
//! # Wakeups
//!
//! A wake is a hint to call again; calling without one is harmless and changes nothing. It goes to the session's
//! callback if there is one, else to its descriptor if that was asked for, else by the route of its
//! [wait context](Ssl::wait_ctx); with none of these, poll by calling again.
//!
//! # While a packet is parked
//!
//! Every call answers [`Outcome::WantAsync`], whichever it is: no call and no buffer of the caller is ever parked. The
//! connection is away with its packet, so its properties are not to be had and nothing can be sent. Call
//! [`Ssl::watch_peer`] when the transport becomes readable: it reads ahead, and notices that the peer has closed.
//!
//! A close is the end of what the peer says, and no more: its last flight, data or an alert may come before it, and after a
//! half-close it still reads. So the packet comes to its end, then what the peer has sent is processed, answered and readable,
//! and then the close counts, as in plain rustls. A packet is cancelled at once where its result can reach no peer: when the
//! transport has failed, and when the peer has closed before its last flight can have been sent, as a client that hangs up
//! while the server waits for its signature.
//!
//! Up to 64 KiB are read ahead, and for a server in addition twice what early data its configuration allows. A peer that sends
//! more before the `ServerHello` is refused, so a close is seen there whatever comes before it, over every transport. Later the
//! rest stays in the transport, and a reset behind it is seen when the packet is done.
//!
//! # Failure
//!
//! A failed operation ends its session, and the peer is told: the flight that needed the result has not left, so the alert
//! `internal_error` goes in its place, also when a hook panics ([`SslError::Failed`] has the exceptions, which are in TLS
//! 1.3). Every later call returns the same [`SslError`]. There is no way to cancel an operation and keep the session.
//!
//! A session has no clock. An event loop that finds that a handshake takes too long calls [`Ssl::time_out`]; the futures
//! of the module `task` do that by themselves.
//!
//! # Drop
//!
//! A session may be dropped while a packet is parked. The packet is cancelled, and what the device still computes for it
//! is wiped when it arrives. A hook of your own that waited gets an error and returns it; where it must not wait, so that
//! this stays sound, is in `docs/what-runs-in-a-job.md`.
//!
//! # Threads
//!
//! A session stays on its thread. Contexts, keys and engines are shared between threads freely.
//!
//! # Panics
//!
//! A panic in a hook reaches whoever called the session, which is then over; no other session is harmed.
//!
//! # Features
//!
//! - `aws-lc-rs` (default): rustls's provider over aws-lc, and the software implementation of all operations.
//! - `ring`: rustls's provider over ring. With it alone, results are checked by that provider's algorithms, and there is
//!   no aws-lc in the dependency tree.
//! - `tokio`: the module [`task`](https://docs.rs/ssl-async/latest/ssl_async/task), acceptor, connector and stream for
//!   tasks.
//!
//! Features are additive. With both providers, name the provider when a configuration is built, for rustls cannot guess it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod context;
mod error;
mod id;
mod outcome;

// The session, and the one packet of it that may be parked.
mod accept;
mod final_alert;
#[cfg(feature = "tokio")]
mod hook_runtime;
mod packet;
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
pub use rustls23::{SlowKey, SlowKeyBuilder, TlsError};
pub use session::Ssl;

// The crates whose types stand in the signatures above, so that one dependency is enough.
pub use {crypto_ops, engine_core, job_core, rustls, wait_ctx};

/// Hooks of rustls that an engine computes. For a signing key, start with [`SlowKey`]; these are the parts, for an engine of
/// your own.
pub mod offload {
    pub use crate::rustls23::key_exchange::key_exchange;
    pub use crate::rustls23::public_key::{PublicKeyError, handle_of_certificate};
    pub use crate::rustls23::sign::key_handle;
    pub use crate::rustls23::signing_key::{
        SigningWork, signing_key, signing_key_with_certificate,
    };
    pub use crate::rustls23::ticketer::tickets;
}

/// The choice of the own certificate as an `async fn`.
pub mod resolve {
    pub use crate::rustls23::resolve::{
        CertificateRequest, client_certificate, server_certificate,
    };
}

/// The verdict on the peer's certificate as an `async fn`.
pub mod verify {
    pub use crate::rustls23::verify::{PeerCertificate, client_certificate, server_certificate};
}
