//! The operations of a TLS handshake that a device can compute: signatures, key agreement and session tickets, with
//! their keys, their results and the checks of those.
//!
//! An operation owns all the data that a device needs, so it can be sent to any thread. It names its key by a
//! [`KeyHandle`], which holds the public key; the private key stays in its store or device. The handle verifies
//! signatures, and RSA signatures are always verified. `engine-core` submits operations to devices and collects the
//! results; this crate only defines them.
//!
//! ```text
//!    KeyHandle ------> SignOp --+
//!    name, public key           |
//!        |          AgreeOp ----+--> CryptoOp === engine ===> device
//!        |          TicketOp ---+       |                       |  private key: SoftwareKeys,
//!        |                              |                       |  a card, a token
//!        |                              v                       v
//!        +-- verifies with ----> CryptoOp::check <====== CryptoOutput
//!                                  passed -- returned to the caller
//!                                  failed -- CheckFailed; the engine erases the output
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
//! # Supported operations
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
//! A signature is checked as the peer will check it, with the same public key. For RSA that is cheap and always done,
//! because one faulty signature can reveal the private key. For ECDSA the check costs more than the signature;
//! [`CheckPolicy`](engine_core::CheckPolicy) decides whether it is done.
//!
//! A shared secret or a ticket could only be checked by computing it again. Its form is always checked: lengths, the
//! encoding of points, and that a secret is not all zeros. With a wrong secret of the right form the handshake fails
//! at the peer's `Finished`.
//!
//! # Secrets
//!
//! Private keys, signatures, shared secrets, ticket keys and the state in a ticket are wiped when they are dropped.
//! `Debug` shows names and lengths only, and so does every log line.
//!
//! # Features
//!
//! - `aws-lc-rs` (default): `SoftwareKeys`, `KeyHandle::from_spki_der` and the reading of PEM files. Without it, handles
//!   are made with [`KeyHandle::with_verifier`], and the dependency tree contains no crypto library.
//! - `testing`: the module `testing`, with outputs that are fake or wrong, for simulated devices and tests.
//!
//! # Threads and panics
//!
//! All types are `Send + Sync`. `SoftwareKeys::execute` blocks while it computes: call it on a thread of a device or a
//! pool. No input makes a function panic.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// Operations and their results.
mod agree;
mod op;
mod output;
mod secret;
mod sign;
mod ticket;

// Public keys and algorithms.
mod ephemeral;
mod group;
mod key;
mod key_id;
#[cfg(feature = "aws-lc-rs")]
mod parsed;
mod scheme;

// Private keys: reading, storing and using them.
#[cfg_attr(
    not(feature = "aws-lc-rs"),
    allow(dead_code, unreachable_pub, reason = "it also reads key files")
)]
mod der;
pub mod encoding;
#[cfg(feature = "aws-lc-rs")]
mod pem;
#[cfg(feature = "aws-lc-rs")]
mod software;

mod error;
#[cfg(feature = "testing")]
pub mod testing;

pub use agree::{AgreeOp, AgreeStep, MalformedShare};
#[cfg(feature = "aws-lc-rs")]
pub use der::DerKind;
pub use engine_core::{CheckFailed, Gauge, Kind, Work};
pub use ephemeral::{EphemeralKey, device_handles};
#[cfg(feature = "aws-lc-rs")]
pub use error::KeyFileError;
pub use error::{KeyError, OpError};
pub use group::Group;
pub use key::{KeyHandle, key_algorithm, subject_public_key};
pub use key_id::KeyId;
pub use op::CryptoOp;
pub use output::CryptoOutput;
#[cfg(feature = "aws-lc-rs")]
pub use pem::{NotPem, PemBlock, PemError, PemFile};
pub use scheme::{Algorithm, Scheme, Verifier};
pub use secret::Secret;
pub use sign::{SchemeMismatch, SignOp};
#[cfg(feature = "aws-lc-rs")]
pub use software::SoftwareKeys;
pub use ticket::{TicketKey, TicketOp, TicketRotation};
