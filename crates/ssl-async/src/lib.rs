//! TLS sessions over unmodified rustls that park, instead of blocking their thread, while an engine computes a
//! signature: OpenSSL's `SSL_MODE_ASYNC` and `SSL_set_async_callback`, with their defects mended.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod context;
mod error;
mod outcome;
mod packet;
mod read_ahead;
mod rustls23;
mod session;

pub use context::{AsyncCallback, SslContext};
pub use error::{ClosedDuring, SslError};
pub use outcome::Outcome;
pub use rustls23::{Accepted, Acceptor, TlsError, offload_key};
pub use session::{Ssl, SslId};
