//! Keeps a mio registry in step with the descriptors of a context.

use std::io;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::ctx::WaitCtx;
use crate::seen::Seen;

/// One session's descriptors in one mio registry, all under the session's token, for reading.
///
/// ```
/// use mio::{Events, Poll, Token};
/// use wait_ctx::{Arm, MioFds, Ending, WaitCtx};
///
/// # fn main() -> std::io::Result<()> {
/// let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(8));
/// let ctx = WaitCtx::new();
/// let mut fds = MioFds::new(Token(5));
/// ctx.notify_fd()?;
/// fds.sync(&ctx, poll.registry())?;
///
/// let request = ctx.notifier().begin().expect("the first one");
/// assert_eq!(request.arm(), Arm::Armed);
/// request.claim(Ending::Done).expect("not cancelled").wake();
///
/// poll.poll(&mut events, None)?;
/// assert_eq!(events.iter().next().map(|event| event.token()), Some(Token(5)));
/// ctx.drain_notify();
/// # fds.clear(poll.registry())
/// # }
/// ```
#[derive(Debug)]
pub struct MioFds {
    token: Token,
    seen: Seen,
}

impl MioFds {
    /// Nothing is registered yet.
    pub const fn new(token: Token) -> Self {
        Self { token, seen: Seen::new() }
    }

    /// Applies the changes since the last call to the registry: removals first, then additions. Call it whenever the
    /// session pauses.
    ///
    /// mio is edge-triggered: call [`WaitCtx::drain_notify`] when the session is resumed, and let engines clear their own
    /// descriptors, before waiting for them again.
    ///
    /// # Errors
    /// The first error of the registry. Changes made until then are remembered; calling again continues from there.
    pub fn sync(&mut self, ctx: &WaitCtx, registry: &Registry) -> io::Result<()> {
        let diff = ctx.diff(&mut self.seen.clone());
        for handle in diff.removed.iter() {
            deregister(registry, handle.as_raw_fd())?;
            self.seen.forget(handle);
        }
        for handle in diff.added.iter() {
            registry.register(
                &mut SourceFd(&handle.as_raw_fd()),
                self.token,
                Interest::READABLE,
            )?;
            self.seen.note(handle.clone());
        }
        Ok(())
    }

    /// Removes every descriptor from the registry. Call it before the session's context is dropped.
    ///
    /// # Errors
    /// The first error of the registry.
    pub fn clear(&mut self, registry: &Registry) -> io::Result<()> {
        while let Some(handle) = self.seen.handles().last().cloned() {
            deregister(registry, handle.as_raw_fd())?;
            self.seen.forget(&handle);
        }
        Ok(())
    }
}

/// Ignores a borrowed descriptor that its owner closed too early: the system has removed it already.
fn deregister(registry: &Registry, fd: std::os::fd::RawFd) -> io::Result<()> {
    match registry.deregister(&mut SourceFd(&fd)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => Ok(()),
        done => done,
    }
}
