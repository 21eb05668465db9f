//! Who computes what the card pretends to.

use core::fmt;

use crypto_ops::{CryptoOp, CryptoOutput, SoftwareKeys};
use engine_core::{DeviceError, Work};

/// The inside of a simulated card: computes the results of one sort of work, on the card's own thread or in its poll,
/// when a simulated unit has finished.
///
/// [`SoftwareKeys`] is one: real signatures with real keys. A test or a simulation of many requests can bring another,
/// whose results cost nothing. A panic fails the request and nothing else.
pub trait Compute: Send + Sync + fmt::Debug {
    /// What it computes.
    type Work: Work;

    /// The right result.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if it cannot do this work; the request fails with it.
    fn compute(&self, work: &Self::Work) -> Result<<Self::Work as Work>::Output, DeviceError>;

    /// Whether it computes also for requests that nobody waits for any more, as hardware does that cannot be called back.
    /// Not by default: the result would only be wiped.
    fn computes_cancelled(&self) -> bool {
        false
    }

    /// The result as a unit gives it that has failed without noticing: of the right form, and wrong.
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
