//! The computation behind a simulated card.

use core::fmt;

use crypto_ops::{CryptoOp, CryptoOutput, SoftwareKeys};
use engine_core::{DeviceError, Work};

/// Computes the results of a simulated card for one type of work, on the card's own thread or in its poll, when a
/// simulated unit has finished.
///
/// [`SoftwareKeys`] makes real signatures with real keys. A test or a large simulation can use results that cost nothing.
/// A panic fails the request and nothing else.
pub trait Compute: Send + Sync + fmt::Debug {
    /// The work that it computes.
    type Work: Work;

    /// The right result.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if it cannot do this work; the request fails with it.
    fn compute(&self, work: &Self::Work) -> Result<<Self::Work as Work>::Output, DeviceError>;

    /// Whether cancelled requests are computed, too, as by hardware that cannot be stopped. Not by default: the result would
    /// only be erased.
    fn computes_cancelled(&self) -> bool {
        false
    }

    /// The result of a unit that fails unnoticed: of the right form, and wrong.
    fn spoil(&self, output: <Self::Work as Work>::Output) -> <Self::Work as Work>::Output;
}

impl Compute for SoftwareKeys {
    type Work = CryptoOp;

    fn compute(&self, work: &CryptoOp) -> Result<CryptoOutput, DeviceError> {
        self.execute(work).map_err(|error| {
            tracing::debug!(kind = work.kind().name(), %error, "device.compute_failed");
            DeviceError::Failed("its key store could not do the operation")
        })
    }

    fn spoil(&self, output: CryptoOutput) -> CryptoOutput {
        crypto_ops::testing::flip_bit(output)
    }
}
