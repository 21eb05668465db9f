//! Descriptors of wait contexts, kept open by reference counts, and the process-wide count of open ones.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::signal::Signal;

static OPEN: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// How many descriptors the wait contexts of this process keep open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenFds {
    /// Open now.
    pub now: usize,
    /// The most that were open at once.
    pub peak: usize,
}

/// Counts the descriptors that the wait contexts of this process keep open: registered ones that they own, and their own
/// eventfds. Both counts are read separately, without a lock.
///
/// The count is 0 when no session and no [`Seen`](crate::Seen) is alive. The descriptor of a
/// [`ReadyQueue`](crate::ReadyQueue) belongs to a thread, not to a session, and is not counted.
pub fn open_fds() -> OpenFds {
    OpenFds { now: OPEN.load(Ordering::Relaxed), peak: PEAK.load(Ordering::Relaxed) }
}

fn count_opened(n: usize) {
    let now = OPEN.fetch_add(n, Ordering::Relaxed) + n;
    // The peak changes rarely; a plain read saves the second read-modify-write.
    if now > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
}

fn count_closed(n: usize) {
    OPEN.fetch_sub(n, Ordering::Relaxed);
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
    Owned(CountedFd),
    /// The context's own.
    #[expect(dead_code, reason = "held, not read")]
    Notify(Rc<CountedSignal>),
}

struct CountedFd(Option<OwnedFd>);

impl Drop for CountedFd {
    fn drop(&mut self) {
        count_closed(1);
    }
}

/// The context's own signal, counted in [`open_fds`].
pub(crate) struct CountedSignal(pub(crate) Arc<Signal>);

impl CountedSignal {
    pub(crate) fn new(signal: Arc<Signal>) -> Self {
        count_opened(signal.n_fds());
        Self(signal)
    }
}

impl Drop for CountedSignal {
    fn drop(&mut self) {
        count_closed(self.0.n_fds());
    }
}

impl FdHandle {
    pub(crate) fn owned(fd: OwnedFd) -> Self {
        count_opened(1);
        let number = fd.as_raw_fd();
        Self { number, keeper: Some(Rc::new(Keeper::Owned(CountedFd(Some(fd))))) }
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
        match self.keeper.as_mut().and_then(Rc::get_mut) {
            Some(Keeper::Owned(fd)) => Ok(fd.0.take().expect("taken only here, by value")),
            Some(Keeper::Notify(_)) | None => Err(self),
        }
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
            Some(Keeper::Owned(_)) => "owned",
            Some(Keeper::Notify(_)) => "notify",
            None => "borrowed",
        };
        write!(f, "FdHandle({}, {kind})", self.number)
    }
}
