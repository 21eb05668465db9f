//! Descriptors of wait contexts, kept open by reference counts, and the process-wide count of open ones.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use crate::gauge::{Gauge, LiveGauge};
use crate::signal::Signal;

static OPEN: LiveGauge = LiveGauge::new();

/// Counts the descriptors that the wait contexts of this process keep open: registered ones that they own, and their own
/// eventfds. Both numbers are read separately, without a lock.
///
/// The count is 0 when no session and no [`Seen`](crate::Seen) is alive. The descriptor of a
/// [`ReadyQueue`](crate::ReadyQueue) belongs to a thread, not to a session, and is not counted.
pub fn open_fds() -> Gauge {
    OPEN.read()
}

/// Counts this number of descriptors as open, while it exists.
struct Counted(u64);

impl Counted {
    fn new(n: u64) -> Self {
        OPEN.add(n);
        Self(n)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.sub(self.0);
    }
}

/// An open descriptor of a wait context. It stays open while any clone of an owned handle exists, so a consumer that
/// keeps its handles (see [`Seen`](crate::Seen)) never takes a reused number for the descriptor it knew.
#[derive(Clone)]
pub struct FdHandle {
    number: RawFd,
    /// Keeps the descriptor open; `None` for a borrowed one.
    keeper: Option<Rc<Keeper>>,
}

enum Keeper {
    Owned(OwnedFd, #[expect(dead_code, reason = "held, not read")] Counted),
    /// The context's own.
    #[expect(dead_code, reason = "held, not read")]
    Notify(Rc<CountedSignal>),
}

/// The context's own signal, counted in [`open_fds`].
pub(crate) struct CountedSignal(
    pub(crate) Arc<Signal>,
    #[expect(dead_code, reason = "held, not read")] Counted,
);

impl CountedSignal {
    pub(crate) fn new(signal: Arc<Signal>) -> Self {
        let counted = Counted::new(signal.n_fds());
        Self(signal, counted)
    }
}

impl FdHandle {
    pub(crate) fn owned(fd: OwnedFd) -> Self {
        let number = fd.as_raw_fd();
        Self { number, keeper: Some(Rc::new(Keeper::Owned(fd, Counted::new(1)))) }
    }

    #[inline]
    pub(crate) const fn borrowed(number: RawFd) -> Self {
        Self { number, keeper: None }
    }

    pub(crate) fn notify(signal: Rc<CountedSignal>) -> Self {
        Self { number: signal.0.as_raw_fd(), keeper: Some(Rc::new(Keeper::Notify(signal))) }
    }

    /// Moves the handle out, and leaves a borrowed one of the same number.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self { number: self.number, keeper: self.keeper.take() }
    }

    /// Returns the descriptor itself, if it is owned and this is its last handle.
    ///
    /// # Errors
    /// The handle, while another handle exists (a consumer has not seen the removal yet), or if the descriptor was never
    /// owned.
    pub fn into_owned(mut self) -> Result<OwnedFd, Self> {
        let Some(keeper) = self.keeper.take() else { return Err(self) };
        match Rc::try_unwrap(keeper) {
            Ok(Keeper::Owned(fd, _)) => return Ok(fd),
            Ok(notify) => self.keeper = Some(Rc::new(notify)),
            Err(shared) => self.keeper = Some(shared),
        }
        Err(self)
    }
}

impl AsRawFd for FdHandle {
    #[inline]
    fn as_raw_fd(&self) -> RawFd {
        self.number
    }
}

impl PartialEq for FdHandle {
    /// Whether both have the same number. While both handles exist, that means the same open descriptor.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl fmt::Debug for FdHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.keeper.as_deref() {
            Some(Keeper::Owned(..)) => "owned",
            Some(Keeper::Notify(_)) => "notify",
            None => "borrowed",
        };
        write!(f, "FdHandle({}, {kind})", self.number)
    }
}
