//! Carries an engine's error through rustls.

use std::sync::Arc;

use engine_core::EngineError;
use rustls::{Error, OtherError};

/// Wraps an engine's error for a hook to return. [`unwrap`] finds it again in what rustls returns.
pub(super) fn wrap(error: EngineError) -> Error {
    Error::Other(OtherError(Arc::new(error)))
}

/// The engine's error inside an error of rustls, if [`wrap`] made it.
pub(crate) fn unwrap(error: &Error) -> Option<EngineError> {
    match error {
        Error::Other(OtherError(inner)) => inner.downcast_ref::<EngineError>().cloned(),
        _ => None,
    }
}
