//! TLS keys in a PKCS#11 token, for rustls: an HSM, a smart card, a TPM, or SoftHSM. A handshake that waits for the token is
//! parked, and no thread that serves connections waits with it.
//!
//! A URI names the token and the key (RFC 7512), and a [`Token`] logs in and keeps sessions with it on a few threads. What it
//! gives is a [`SlowKey`](ssl_async::SlowKey), a certificate resolver for rustls. When a session, the login, the token or the
//! module is lost, the token recovers by itself; what cannot be mended by trying, such as a wrong PIN, is not tried twice.
//!
//! ```text
//!   connections              ssl_async::KeyPool              this crate                             C, through cryptoki
//!
//!   handshake --- parked --+                   +- thread --- session --+
//!   handshake --- parked --+-> queue, deadline +- thread --- session --+--> gate --> module --> token
//!   handshake --- parked --+   breaker         +- thread --- session --+
//!                                                               ^
//!                                    anchor session, the login -+- recovery: login, sessions, module
//! ```
//!
//! # Example
//!
//! All that a server needs in addition to what it does with a key from a file:
//!
//! ```no_run
//! use pkcs11_engine::{Chain, Token};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let token = Token::open(
//!     "pkcs11:token=web;object=shop?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin",
//! )?;
//! let key = token.key(Chain::File("shop.pem".into()))?;
//! let config = key.server_config(); // for the acceptors of ssl_async
//! # let _ = config;
//! # Ok(()) }
//! ```
//!
//! The example
//! [`https_token`](https://github.com/layby-rs/layby/blob/main/crates/pkcs11-engine/examples/https_token.rs) is the whole
//! server, with the commands that make a token. What is wrong is said before anything listens:
//!
//! ```
//! use pkcs11_engine::Token;
//!
//! let error = Token::open("pkcs11:token=web;pin=1234?module-path=/usr/lib/hsm.so").unwrap_err();
//! assert_eq!(error.to_string(), "the URI's attribute pin is unknown");
//! let error = Token::open("pkcs11:token=web?module-path=/absent/hsm.so").unwrap_err();
//! assert_eq!(error.to_string(), "module-path=/absent/hsm.so: No such file or directory (os error 2)");
//! ```
//!
//! [docs/key-in-a-token.md](https://github.com/layby-rs/layby/blob/main/docs/key-in-a-token.md) has SoftHSM, p11-kit, TPMs and
//! cloud HSMs, and what was measured.
//!
//! # At the start
//!
//! [`Token::open`] loads the module, finds the one token that is like the URI, and logs in. [`Token::key`] finds the one private
//! key, compares it with the certificate, and has it sign once in each of its TLS schemes, since what a token lists as its mechanisms
//! is not what it does. Schemes that it refuses are left out, with a line in the log. Each
//! error names what to change. All this blocks: do it before the runtime starts.
//!
//! # A wrong PIN
//!
//! A token locks after a few wrong PINs. So a PIN is given once, by one thread, and after a refusal nothing is tried until
//! [`Token::resume`]. After an error of a login that does not say whether the token counted a wrong PIN, it is given once more. A
//! token that says that it was given a wrong PIN since the last login, or that one try is left, is not given any: a service that
//! is restarted over and over does not lock it. Tokens need not say so (the flag `CKF_USER_PIN_COUNT_LOW`): with one that does not,
//! each start of the process with a wrong PIN costs a try.
//!
//! # Recovery
//!
//! | error | what is done |
//! | --- | --- |
//! | the session is closed, or in the middle of something | another session, and the signature once more |
//! | the login is gone, and with it all handles of keys | one thread logs in, all find their keys again |
//! | the token or the device is away | all sessions are closed and opened, then the module is finalized and initialized |
//! | nothing helps | requests fail at once; after a pause of 50 ms, twice as long each time up to 5 s, the next request tries again |
//! | an error that says nothing | another session, once; after eight such requests in a row, as if the token were away |
//! | the key or the mechanism is wrong | the request fails, and no other is disturbed |
//!
//! A signature of TLS may be computed twice, so that trying again is always safe. The module is finalized only while no thread is in
//! any of its functions, and never if another part of the process has initialized it, or while another token of the module signs.
//! If another part of the process finalizes it, its own or ours, it is initialized again, and is ours from then on.
//! That is only seen while it is finalized. If the other part finalizes *and* initializes it between two of our calls, all that is
//! seen are sessions that are gone, as after the removal of a token: we recover, take the module for ours still, and so may
//! finalize it, and may close a session of the other part that has the number of an old one of ours.
//!
//! # Calls that do not return
//!
//! A call of a module cannot be ended. At its deadline the handshake fails and the thread stays in the call; after twice the
//! deadline another thread takes its place, as long as the token has sessions. When no thread's call returns, a breaker opens and
//! handshakes fail at once, but for one now and then that tries. A module that may stall or crash is better in a process of its own, behind `p11-kit-server`: see
//! [the page](https://github.com/layby-rs/layby/blob/main/docs/key-in-a-token.md#in-this-process-or-in-another).
//!
//! # The end of the process
//!
//! Many modules crash when a process ends during a call. Call [`Token::shutdown_blocking`] before `main` returns; after
//! [`Ended::Stuck`] only `_exit` or `abort` is safe. Without a shutdown the login lasts until the process ends.
//!
//! # Limits
//!
//! - One token has one login in a process. Another part of the process that logs out is noticed and made good; that it logs in
//!   is taken as it is.
//! - Keys that want the PIN for each signature (`CKA_ALWAYS_AUTHENTICATE`) are refused.
//! - A token is opened in the process that uses it, after a fork.
//! - RSA, ECDSA on P-256, P-384 and P-521, and Ed25519. P-521 was not tried with a token.
//! - A module is C code in this process: what it writes where it should not, no Rust can prevent. The library `cryptoki` believes the
//!   lengths that a module tells.
//!
//! # Features
//!
//! - `aws-lc-rs` (default) and `ring`: rustls's provider. With both, or another one, name it: [`TokenBuilder::provider`].
//! - `metrics`: `TokenStats::publish`, which hands a token's counters to the facade `metrics`.
//!
//! # Threads and panics
//!
//! All types are `Send + Sync`. Functions panic only where they say so.

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
mod threads;
mod token;
mod uri;

pub use error::OpenError;
pub use journal::{Failures, TokenStats};
pub use token::{Chain, Ended, Token, TokenBuilder};
pub use uri::{KeyUri, UriError};
