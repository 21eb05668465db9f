//! Why a scenario could not be run.

use crate::load::FileLimitError;

/// A scenario could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// More open files are needed than the system gives.
    #[error(transparent)]
    Files(#[from] FileLimitError),
    /// The simulated device cannot be built so.
    #[error("device: {0}")]
    Device(#[from] sim_engine::SimError),
    /// The key or the certificate.
    #[error("certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// The key store of the device refuses the key.
    #[error("load.key: {0}")]
    Key(#[from] crypto_ops::KeyFileError),
    /// The TLS configuration.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
    /// Sockets, threads or pollers.
    #[error("row {row:?}: {source}")]
    System {
        /// The row.
        row: String,
        /// What the system said.
        source: std::io::Error,
    },
}
