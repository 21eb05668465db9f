//! Asynchronous crypto offload for TLS: a rustls handshake whose key is in an HSM, a KMS or a token waits for the
//! signature without holding a thread.
//!
//! This crate is the front door. What is in it comes from Layby's other crates, each of which also stands alone.
//!
//! ```text
//!   your server --- tls::TlsAcceptor --- rustls, unmodified
//!                        |                     | Signer::sign
//!     parked: 4 KiB, no  |                     v
//!      thread waits      +--<-- wakes --- keys::SlowKey, keys::KeyPool
//!                                              |
//!                             engine::Engine: queue, deadline, attempts, breaker
//!                                              |
//!                          a closure on threads, an async fn, a token, a card
//! ```
//!
//! # Example
//!
//! A server on tokio whose key takes 20 ms for a signature, and a client that talks to it. Besides this crate with the
//! feature `tokio` it needs `tokio`, and `rcgen = "0.14"` for a certificate.
//!
#![cfg_attr(all(feature = "aws-lc-rs", feature = "tokio"), doc = "```")]
#![cfg_attr(not(all(feature = "aws-lc-rs", feature = "tokio")), doc = "```text")]
//! use std::{error::Error, sync::Arc, time::Duration};
//!
//! use layby::keys::SlowKey;
//! use layby::rustls::crypto::aws_lc_rs;
//! use layby::rustls::pki_types::PrivateKeyDer;
//! use layby::rustls::{ClientConfig, RootCertStore};
//! use layby::tls::{TlsAcceptor, TlsConnector};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//!     let certificate = identity.cert.der().clone();
//!     let pkcs8 = PrivateKeyDer::try_from(identity.signing_key.serialize_der())?;
//!     let signing_key = aws_lc_rs::sign::any_supported_type(&pkcs8)?;
//!
//!     // The key: a closure that may block. In place of the sleep, ask an HSM.
//!     let key = SlowKey::builder(vec![certificate.clone()])?.blocking(move |scheme, message| {
//!         std::thread::sleep(Duration::from_millis(20));
//!         signing_key.choose_scheme(&[scheme]).expect("a scheme of the certificate").sign(message)
//!     })?;
//!     let acceptor = TlsAcceptor::from(Arc::new(key.server_config()));
//!
//!     let mut roots = RootCertStore::empty();
//!     roots.add(certificate)?;
//!     let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
//!     let connector = TlsConnector::from(Arc::new(client));
//!
//!     let (ours, theirs) = tokio::io::duplex(16_384);
//!     let (server, client) =
//!         tokio::join!(acceptor.accept(ours), connector.connect("localhost".try_into()?, theirs));
//!     let (mut server, mut client) = (server?, client?);
//!     server.write_all(b"hello").await?;
//!     let mut greeting = [0; 5];
//!     client.read_exact(&mut greeting).await?;
//!     assert_eq!(&greeting, b"hello");
//!     Ok(())
//! }
//! ```
//!
//! # Where to look
//!
//! | you have | start at |
//! | --- | --- |
//! | a server on tokio, and a key that is slow | [`keys::SlowKey`], `tls::TlsAcceptor` |
//! | a program that uses tokio-rustls | `tls::compat`, which has its names |
//! | several certificates, or threads that hold a session with their token | [`keys::KeyPool`], [`keys::CertStore`] |
//! | an event loop of your own | [`tls::Ssl`] |
//! | a card with rings and completions | [`engine::Engine`] and [`engine::Accelerator`] |
//! | other synchronous code that has to wait | [`jobs::JobPool`] |
//!
//! Guides: <https://github.com/layby-rs/layby/tree/main/docs>. Begin with
//! [your first server](https://github.com/layby-rs/layby/blob/main/docs/first-server.md).
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `aws-lc-rs` (default) | rustls's provider over aws-lc |
//! | `ring` | rustls's provider over ring |
//! | `tokio` | acceptor, connector and stream for tokio in [`tls`], `TaskDevice` in [`keys`] |
//! | `pkcs11` | `keys::pkcs11`: keys in the token of a PKCS#11 module |
//! | `metrics` | `EngineStats::publish`, and with `pkcs11` `TokenStats::publish` |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// The rustls that the types of this crate belong to.
pub use ssl_async::rustls;

/// TLS sessions that park: for tokio, and for an event loop of your own.
pub mod tls {
    #[cfg(feature = "tokio")]
    pub use ssl_async::task::compat;
    #[cfg(feature = "tokio")]
    pub use ssl_async::task::{
        Accept, Connect, FallibleHandshake, Rewind, Shards, ShardsBuilder, StartHandshake,
        TlsAcceptor, TlsConnector, TlsEndpoint, TlsStream,
    };
    pub use ssl_async::{
        Accepted, Acceptor, AsyncCallback, ClosedDuring, Outcome, Parking, Ssl, SslContext,
        SslError, SslId, TlsError, replayable, resolve, verify,
    };
}

/// Keys that live elsewhere, and the certificates that they belong to.
pub mod keys {
    #[cfg(feature = "pkcs11")]
    pub use pkcs11_engine as pkcs11;
    #[cfg(feature = "tokio")]
    pub use ssl_async::task::TaskDevice;
    pub use ssl_async::{
        CertSet, CertSetError, CertStore, KeyPool, KeyPoolBuilder, SchemeFault, SelfTest,
        SignError, SignatureFault, SlowKey, SlowKeyBuilder, SlowKeyError, crypto_ops, offload,
    };
}

/// The engine between synchronous code and a slow device: submit, park, collect, backpressure.
pub mod engine {
    pub use engine_core::*;
}

/// Fiber jobs: synchronous code that pauses in the middle.
pub mod jobs {
    pub use job_core::*;
}
