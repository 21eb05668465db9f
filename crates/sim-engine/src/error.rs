//! The error of building a simulated card.

use std::io;

/// Why a simulated card could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] sim_device::ConfigError),
    /// The operating system gave no thread for the hardware queue.
    #[error("no thread for the hardware queue: {0}")]
    Thread(#[from] io::Error),
}
