//! A rustls server handshake that waits for its key without a thread, a fiber or unsafe code: it is rehearsed, parked in
//! about 1 KiB, and run again with the signature.
//!
//! rustls computes a handshake in one synchronous call, and calls `Signer::sign` in its middle. If the key is in a remote
//! service or a hardware module, the thread waits. Here the call is made twice instead. The first pass runs up to
//! `sign`, which records what is to be signed and fails; its connection is thrown away. When the signature is there, a
//! second connection gets the same bytes and the same randomness, key exchange, certificate, tickets and time, so it
//! signs the same message and is handed the signature.
//!
//! ```text
//!  client's hello --> hear() --> rehearsal: rustls up to `sign` -- thrown away, nothing sent
//!                                    |          ^
//!                                    |          | random bytes, key exchange, certificate, tickets, time:
//!                                    v          v asked once, recorded
//!                     parked: the hello and the record, Send      Question::Signature { scheme, message }
//!                                    |                                      |
//!                                    |                            your key, wherever it is
//!                                    v                                      |
//!  server's flight <-- resume() <-- rustls again, from the record <-- signature
//!                                    |
//!                                    +-- same scheme, same message? otherwise an error, and nothing is sent
//! ```
//!
//! # Example
//!
//! A handshake in memory. The caller moves the bytes, so any executor, event loop or thread will do; the example
//! `tokio_server` is a whole server.
//!
//! ```
//! # use std::sync::Arc;
//! # use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
//! # use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject};
//! # use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, sign::{CertifiedKey, SingleCertAndKey}};
//! use tls_replay::{Question, ReplayConfig, ReplayKey, Session, SessionOptions, SessionStage, replayable};
//!
//! # let pair = rcgen::KeyPair::generate()?;
//! # let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&pair)?.der().clone();
//! # let key = any_supported_type(&PrivateKeyDer::from_pem_slice(pair.serialize_pem().as_bytes())?)?;
//! # let mut roots = RootCertStore::empty();
//! # roots.add(certificate.clone())?;
//! // A configuration as always, but of a provider that can be replayed and a key that postpones.
//! let postponed = Arc::new(ReplayKey::new(Arc::clone(&key)));
//! let certified = CertifiedKey::new(vec![certificate], postponed);
//! let config = ServerConfig::builder_with_provider(replayable(default_provider()).into())
//!     .with_safe_default_protocol_versions()?
//!     .with_no_client_auth()
//!     .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
//! let config = ReplayConfig::new(config)?;
//!
//! # let client = ClientConfig::builder_with_provider(default_provider().into())
//! #     .with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
//! # let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost")?)?;
//! # let mut hello = Vec::new();
//! # client.write_tls(&mut hello)?;
//! let mut session = Session::new(config, SessionOptions::default());
//! let mut flight = Vec::new();
//! assert_eq!(session.hear(&hello, &mut flight)?, SessionStage::Parked);
//! assert!(flight.is_empty());
//!
//! // Meanwhile the session is a value like any other: keep it, send it to another thread, drop it.
//! let Some(Question::Signature { scheme, message }) = session.question() else { panic!("no signature") };
//! let signature = key.choose_scheme(&[scheme]).ok_or("no such scheme")?.sign(message)?;
//!
//! assert_eq!(session.resume(signature, &mut flight)?, SessionStage::Established);
//! # client.read_tls(&mut &flight[..])?;
//! # client.process_new_packets()?;
//! assert!(!client.is_handshaking()); // `flight` was all that it needed
//! let connection = session.connection().ok_or("no connection")?; // rustls's own from here on
//! # assert!(connection.is_handshaking());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What can wait
//!
//! | what | how | parks |
//! | --- | --- | --- |
//! | the server's signature, TLS 1.3 and 1.2 | [`ReplayKey`] | yes |
//! | the choice of a certificate | [`postpone`] in the resolver | yes |
//! | opening a ticket, taking a session from a store | [`postpone`] in the ticketer or store, four times per hello | yes |
//! | the key exchange of TLS 1.3, the server's key pair of TLS 1.2 | [`postpone`] in the group | yes |
//! | sealing the ticket of a TLS 1.2 session that is resumed | [`postpone`] in the ticketer | yes |
//! | completing the key exchange of TLS 1.2, sealing other tickets, verifying client certificates, anything in a client | [`waits_later`] | no: rustls asks after bytes were sent, or outside of the replayed call |
//!
//! [`Session::waits_later`] says, before a byte of the flight is sent, whether something in the last row waits: then let the
//! connection process the client's last flight where it may wait, such as on a fiber.
//!
//! # Replay is invisible
//!
//! That is [law L16](https://github.com/layby-rs/layby/blob/main/docs/laws.md#l16-replay-is-invisible): a signature leaves
//! only for the identical scheme and message, no byte of a rehearsal is sent but a HelloRetryRequest, each hook is asked
//! once per hello, a rehearsal that did not sign is run again for real, and the client sees what plain rustls would have
//! sent. So
//!
//! - hooks that must give the same answer twice are checked by what is signed: the hints of a client-certificate
//!   verifier, certificate compressors, [`choose_scheme`](rustls::sign::SigningKey::choose_scheme). If one does not, the
//!   handshake ends with [`ReplayError::Differs`];
//! - the key log has each line once, at the end of the pass that succeeded;
//! - a client's bad key share fails before the key is asked for anything;
//! - a hello of more than [`MAX_HELLO`] bytes is refused, where rustls would take 64 KiB.
//!
//! # Secrets
//!
//! A parked session holds the shared secret of the key exchange (in TLS 1.2 the ephemeral key) and the plaintext of
//! offered tickets. Both are wiped when it is dropped. No cipher key exists yet.
//!
//! # Threads, panics, cost
//!
//! A [`Session`] is `Send` and may be polled by another thread each time. Rehearsal and replay find their record in a
//! thread-local variable while [`Session::hear`] or [`Session::resume`] runs. A hook or a wrapped key may make a handshake
//! of its own, which is not recorded. The hints of a client-certificate verifier, certificate compressors and loggers must
//! not: rustls calls them in the pass itself, where a handshake with the same provider would take part in the replay. A
//! panic in a hook unwinds to the caller, and the session answers [`ReplayError::Closed`].
//!
//! A rehearsal skips key schedule and encryption. Parsing the hello, building the flight and hashing the transcript happen
//! twice. A hello that offers a session to resume is rehearsed in full, since it usually needs no signature.
//!
//! # Features
//!
//! - `engine` (default): `EngineSession`, whose signatures come from an `engine_core::Engine`.
//! - `ring`: rustls's provider on ring, for tests of this crate only.
//! - `plant`: bugs planted on purpose, to show that law L16 is checked. For tests of this crate only.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod attempt;
mod config;
#[cfg(feature = "engine")]
mod engine;
mod error;
mod hello;
mod hooks;
mod key;
mod message;
mod mute;
mod pass;
#[cfg(feature = "plant")]
pub mod plant;
#[cfg(not(feature = "plant"))]
mod plant;
mod provider;
mod question;
mod record;
mod secret;
mod session;
mod started;

pub use config::ReplayConfig;
#[cfg(feature = "engine")]
pub use engine::{EngineSession, EngineSessionError};
pub use error::{NotReplayable, ReplayError};
pub use key::ReplayKey;
pub use message::Message;
pub use pass::{Asked, give_up, hand_on, is_asked, postpone, waits_later};
pub use provider::replayable;
pub use question::{Question, Reply};
pub use session::{MAX_HELLO, Session, SessionOptions, SessionStage};
