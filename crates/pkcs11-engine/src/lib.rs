//! TLS keys in a PKCS#11 token, for rustls: an HSM, a smart card, a TPM, or SoftHSM. A handshake that waits for the token is
//! parked, and no thread that serves connections waits with it.
//!
//! ```text
//!                                  ssl_async::KeyPool                        pkcs11-engine
//!   handshakes -- sign, parked --> queue, deadline --> thread -- session --+
//!                                  breaker             thread -- session --+--> gate --> module --> token
//!                                                      thread -- session --+     ^       (C, by cryptoki)
//!                                                                                |
//!                              anchor session: keeps the login; recovery: login, sessions, module
//! ```
//!
//! # Example
//!
//! ```no_run
//! use pkcs11_engine::{Chain, Token};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let token = Token::open(
//!     "pkcs11:token=web;object=shop?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=env:WEB_PIN",
//! )?;
//! let key = token.key(Chain::File("shop.pem".into()))?;
//! let config = key.server_config(); // for ssl_async's acceptors
//! # let _ = config;
//! # Ok(()) }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod account;

mod error;
mod fault;
mod gate;
mod journal;
mod ladder;
mod mechanism;
mod module;
mod objects;
mod percent;
mod pin;
mod service;
mod sessions;
mod token;
mod uri;

pub use error::OpenError;
pub use journal::{Failures, TokenStats};
pub use token::{Chain, Ended, Token, TokenBuilder};
pub use uri::{KeyUri, UriError};
