//! The operations of a TLS handshake that an engine can carry to a device: what is to be done, by
//! which key, and whether the result is right.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod der;
mod error;
mod key;
mod key_file;
mod op;
mod scheme;
mod sign;
mod software;
mod work;

pub use error::{KeyError, OpError};
pub use key::{KeyHandle, KeyId};
pub use op::{CryptoOp, CryptoOutput};
pub use scheme::{Algorithm, Scheme};
pub use sign::{SignOp, UnfitScheme};
pub use software::SoftwareKeys;
pub use work::{CheckFailed, Kind, Work};
