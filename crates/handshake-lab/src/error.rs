//! Why a scenario could not be run.

use crate::load::FileLimitError;

/// A scenario could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Files(#[from] FileLimitError),
    #[error("device: {0}")]
    Device(#[from] sim_engine::SimError),
    #[error("certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error("load.key: {0}")]
    Key(#[from] crypto_ops::KeyFileError),
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
    #[error("row {row:?}: {source}")]
    System { row: String, source: std::io::Error },
}
