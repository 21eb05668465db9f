//! What an engine submits: work, its kind and its check; the number of a request, and the role of a device.

use core::fmt;

/// The kind of work of a request. Queues and threads are kept per kind, so that slow kinds never hold up fast ones.
///
/// Two kinds with the same name are the same kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(&'static str);

impl Kind {
    /// A kind by its name, for example `sign-rsa`.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name, as it stands in traces and counters.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({})", self.0)
    }
}

/// One operation that an accelerator can carry out.
///
/// A value of this type *owns* everything the device reads: it travels to the device and back, and holds no pointer into
/// the stack of the caller.
pub trait Work: Sized + Send + 'static {
    /// What the device computes.
    type Output: Send + 'static;

    /// The kind, which decides the queue. Called once, on the caller's stack: a panic is the caller's.
    fn kind(&self) -> Kind;

    /// Checks a result before the caller gets it. Runs on the thread that completes the request, on the stack of that
    /// thread even if a job submits or polls there; a pause in it is refused. A panic counts as a failed check.
    ///
    /// # Errors
    ///
    /// [`CheckFailed`] if the result is not what the device was asked for.
    fn check(&self, output: &Self::Output) -> Result<(), CheckFailed>;

    /// Whether [`check`](Self::check) runs whatever the engine's [`CheckPolicy`](crate::CheckPolicy) says. True where
    /// an unchecked wrong result does lasting harm: a faulty RSA-CRT signature gives the key away.
    fn must_check(&self) -> bool {
        false
    }

    /// A copy to send to the standby while the device still holds the original. Called only if the
    /// [options](crate::RequestOptions) name the standby. By default there is none, and then a request that the device does
    /// not answer fails at its deadline.
    fn duplicate(&self) -> Option<Self> {
        None
    }

    /// Erases a result that no caller collects, to wipe secrets. By default it is dropped. Runs where
    /// [`check`](Self::check) does; a panic is contained and logged.
    fn erase(output: Self::Output) {
        drop(output);
    }
}

/// A result did not pass its check; the text says which check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CheckFailed(pub &'static str);

/// The number of a request, unique within its engine. The field `request` of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

impl RequestId {
    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the engine's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Device,
    Standby,
}
