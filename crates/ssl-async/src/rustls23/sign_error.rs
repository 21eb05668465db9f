//! What a key says when it does not sign, and what is to be done about it.

use core::any::Any;
use core::fmt;
use core::time::Duration;
use std::error::Error;
use std::io;
use std::sync::Arc;

use engine_core::DeviceError;

/// Why the closure or the `async fn` of a key did not sign, sorted by what helps. A closure may also return any other error
/// that can be displayed: that counts as [`Transient`](Self::Transient). A `SignError` in a `Box<dyn Error + Send + Sync>` or
/// in an [`io::Error`] counts as what it is.
///
/// ```
/// use std::time::Duration;
/// use ssl_async::SignError;
///
/// fn sort(status: u16, text: &str) -> SignError {
///     match status {
///         429 => SignError::retry_after(Duration::from_secs(1), text),
///         400..500 => SignError::permanent(text),
///         _ => SignError::transient(text),
///     }
/// }
/// assert_eq!(sort(403, "denied").to_string(), "denied");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignError {
    /// Another attempt would end the same way: no such key, no right to use it. The handshake fails, or the standby signs.
    /// It does not count for the breaker.
    Permanent(Arc<str>),
    /// Another attempt may succeed: see [`KeyPoolBuilder::attempts`](crate::KeyPoolBuilder::attempts).
    Transient(Arc<str>),
    /// As [`Transient`](Self::Transient), but not before this time.
    RetryAfter(Duration, Arc<str>),
    /// The thread's state is of no use any more: a session that was closed, a connection that was lost. It is dropped, opened
    /// anew, and the signature is tried once more at once. With a key that has no state of its own this is
    /// [`Transient`](Self::Transient).
    Reopen(Arc<str>),
}

impl SignError {
    /// [`Permanent`](Self::Permanent), with the text of `error`.
    pub fn permanent(error: impl fmt::Display) -> Self {
        Self::Permanent(error.to_string().into())
    }

    /// [`Transient`](Self::Transient), with the text of `error`.
    pub fn transient(error: impl fmt::Display) -> Self {
        Self::Transient(error.to_string().into())
    }

    /// [`RetryAfter`](Self::RetryAfter), with the text of `error`.
    pub fn retry_after(time: Duration, error: impl fmt::Display) -> Self {
        Self::RetryAfter(time, error.to_string().into())
    }

    /// [`Reopen`](Self::Reopen), with the text of `error`.
    pub fn reopen(error: impl fmt::Display) -> Self {
        Self::Reopen(error.to_string().into())
    }

    /// Sorts the error of a closure.
    pub(crate) fn of<E: fmt::Display + 'static>(error: &E) -> Self {
        let any: &dyn Any = error;
        let boxed = any.downcast_ref::<Box<dyn Error + Send + Sync>>().map(|boxed| &**boxed);
        let in_io = any.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let within = boxed.or(in_io).and_then(|error| error.downcast_ref());
        match any.downcast_ref::<Self>().or(within) {
            Some(sorted) => sorted.clone(),
            None => Self::transient(error),
        }
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent(text)
            | Self::Transient(text)
            | Self::RetryAfter(_, text)
            | Self::Reopen(text) => f.write_str(text),
        }
    }
}

impl Error for SignError {}

impl From<SignError> for DeviceError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Permanent(text) => Self::permanent(&text),
            SignError::RetryAfter(time, text) => Self::busy(time, &text),
            SignError::Transient(text) | SignError::Reopen(text) => Self::reported(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_sorted_however_it_is_wrapped() {
        let denied = SignError::permanent("denied");
        assert_eq!(SignError::of(&denied), denied);
        let boxed: Box<dyn Error + Send + Sync> = Box::new(denied.clone());
        assert_eq!(SignError::of(&boxed), denied);
        assert_eq!(SignError::of(&io::Error::other(denied.clone())), denied);
        assert_eq!(SignError::of(&"lost"), SignError::transient("lost"));
        let other: Box<dyn Error + Send + Sync> = "lost".into();
        assert_eq!(SignError::of(&other), SignError::transient("lost"));
    }
}
