//! The operations of a TLS handshake that an engine can carry to a device: what is to be done, by
//! which key, and whether the result is right.
//!
//! An operation owns all that a device needs, so it may travel anywhere. It names its key by a
//! handle, which knows the public half; the private half stays in its store or device. A result is
//! checked with the public half, and RSA results always are. The crate carries nothing itself: that
//! is `engine-core`'s part.
//!
//! ```text
//!    KeyHandle ------> SignOp --+
//!    name, public half          |
//!        |          AgreeOp ----+--> CryptoOp === engine ===> device
//!        |          TicketOp ---+       |                       |  private half: SoftwareKeys,
//!        |                              |                       |  a card, a token
//!        |                              v                       v
//!        +-- verifies with ----> CryptoOp::check <====== CryptoOutput
//!                                  right -- handed over
//!                                  wrong -- CheckFailed; the engine erases it
//! ```
//!
//! # Example
//!
//! Sign with a key in memory, check, and see that a wrong signature is rejected:
//!
//! ```
//! # #[cfg(feature = "aws-lc-rs")] {
//! use crypto_ops::{Algorithm, CryptoOp, CryptoOutput, Scheme, SignOp, SoftwareKeys, Work};
//!
//! # let pem = rcgen::KeyPair::generate()?.serialize_pem();
//! let store = SoftwareKeys::new();
//! let key = store.load_pem(&pem)?; // `pem` is the text of a PEM file with a P-256 key
//! assert_eq!(key.algorithm(), Algorithm::EcdsaP256);
//! assert_eq!(key.schemes(), [Scheme::EcdsaP256Sha256]);
//!
//! let op = CryptoOp::from(SignOp::new(key, Scheme::EcdsaP256Sha256, b"a transcript".to_vec())?);
//! assert_eq!(op.kind().to_string(), "sign-ecdsa-p256");
//!
//! let output = store.execute(&op)?;
//! assert_eq!(op.check(&output), Ok(()));
//! assert!(op.check(&CryptoOutput::Signature(vec![0; 70].into())).is_err());
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is served
//!
//! | operation | with | kind |
//! | --- | --- | --- |
//! | signature, ECDSA P-256 | `ecdsa_secp256r1_sha256` | `sign-ecdsa-p256` |
//! | signature, ECDSA P-384 | `ecdsa_secp384r1_sha384` | `sign-ecdsa-p384` |
//! | signature, Ed25519 | `ed25519` | `sign-ed25519` |
//! | signature, RSA of 2048 to 8192 bits | `rsa_pss_rsae_*`, `rsa_pkcs1_*` with SHA-256, -384, -512 | `sign-rsa` |
//! | key agreement | `x25519` | `agree-x25519` |
//! | key agreement | `secp256r1`, `secp384r1` | `agree-p256`, `agree-p384` |
//! | key agreement | `X25519MLKEM768` | `agree-x25519mlkem768` |
//! | session ticket, sealed or opened | AES-256-GCM | `ticket` |
//!
//! Private keys are read from PKCS #8 (DER or PEM), PKCS #1 and SEC 1 (PEM), unencrypted.
//!
//! # Checks
//!
//! A check of a signature is the whole verification that the peer will do, with the same public key. It costs
//! little for RSA, and for ECDSA more than the signature; so RSA is always checked, because one
//! faulty signature can give the private key away, and the others as the engine is told to.
//!
//! A shared secret and a ticket cannot be checked short of computing them again. Their form always is: lengths, the
//! encoding of points, and that a secret is not all zeros. A wrong secret of the right form ends the handshake at the
//! peer's `Finished`.
//!
//! # Secrets
//!
//! Private keys are wiped when they are forgotten, and results nobody takes are wiped too. Shared secrets, the state in
//! a ticket and ticket keys are wiped when they are dropped. `Debug` shows names and lengths only, and so does every
//! log line.
//!
//! # Features
//!
//! - `aws-lc-rs` (default): `SoftwareKeys`, and `KeyHandle::from_spki_der`. Without it, keys are named with
//!   [`KeyHandle::with_verifier`], and no cryptography is in the dependency tree.
//! - `testing`: the module `testing`, with outputs that are fake or wrong, for simulated devices and tests.
//!
//! # Threads and panics
//!
//! Everything here is `Send + Sync`. `SoftwareKeys::execute` blocks for as long as the computation
//! takes: run it on a device's or a pool's thread. Nothing panics, whatever bytes it is given.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// What travels.
mod agree;
mod op;
mod output;
mod secret;
mod sign;
mod ticket;

// Keys, as everybody knows them.
mod ephemeral;
mod group;
mod key;
mod key_id;
#[cfg(feature = "aws-lc-rs")]
mod parsed;
mod scheme;
mod verifier;

// Private keys: reading them, keeping them, working with them.
mod der;
#[cfg(feature = "aws-lc-rs")]
mod der_kind;
#[cfg(feature = "aws-lc-rs")]
mod pem;
#[cfg(feature = "aws-lc-rs")]
mod software;

mod error;
#[cfg(feature = "testing")]
pub mod testing;

pub use agree::{AgreeOp, AgreeStep, MalformedShare};
#[cfg(feature = "aws-lc-rs")]
pub use der_kind::DerKind;
pub use engine_core::{CheckFailed, Kind, Level, Work};
pub use ephemeral::{EphemeralKey, device_handles};
#[cfg(feature = "aws-lc-rs")]
pub use error::KeyFileError;
pub use error::{KeyError, OpError};
pub use group::Group;
pub use key::{KeyHandle, subject_public_key};
pub use key_id::KeyId;
pub use op::CryptoOp;
pub use output::CryptoOutput;
#[cfg(feature = "aws-lc-rs")]
pub use pem::{NotPem, PemBlock, PemError, PemFile};
pub use scheme::{Algorithm, Scheme};
pub use secret::Secret;
pub use sign::{SchemeMismatch, SignOp};
#[cfg(feature = "aws-lc-rs")]
pub use software::SoftwareKeys;
pub use ticket::{TicketKey, TicketOp, TicketRotation};
pub use verifier::Verifier;
