//! The owner half: what the session and its job hold.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;

use crate::callback::{Callback, CallbackArg, InsideCallback, Notification};
use crate::fd_handle::{CountedSignal, FdHandle};
use crate::fds::{FdTable, Key, KeyInUse, WaitFd, clear, run_cleanups};
use crate::notifier::Notifier;
use crate::openssl_view::OpenSslView;
use crate::request::Status;
use crate::seen::{FdDiff, FdList, Seen};
use crate::signal::Signal;

/// The wait context of one session. Clones are the same context; dropping the last one cleans up.
///
/// It is neither `Send` nor `Sync`: it lives on the session's thread. Other threads hold its [`Notifier`]. So a callback
/// can look at its session, but not resume, pause or drop it:
///
/// ```
/// # let ctx = wait_ctx::WaitCtx::new();
/// let session = ctx.notifier().clone();
/// ctx.set_callback(move |_| assert!(session.status() as i32 <= 3));
/// ```
/// ```compile_fail
/// # let ctx = wait_ctx::WaitCtx::new();
/// let session = ctx.clone();
/// ctx.set_callback(move |_| assert!(session.status() as i32 <= 3));
/// ```
#[derive(Clone, Default)]
pub struct WaitCtx {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Made by the first call that needs it.
    notifier: OnceCell<Notifier>,
    fds: RefCell<FdTable>,
    /// Of [`WaitCtx::changed_fds`]. Boxed, because every parked session has room for it.
    seen: OnceCell<Box<RefCell<Seen>>>,
    signal: OnceCell<Rc<CountedSignal>>,
    leased: Cell<bool>,
}

/// The context already belongs to a live job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the wait context already belongs to a live job: give each concurrent job its own")]
#[non_exhaustive]
pub struct WaitCtxBusy;

impl WaitCtx {
    /// A context without descriptors, callback or requests.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// The waker half.
    #[inline]
    pub fn notifier(&self) -> &Notifier {
        self.inner.notifier.get_or_init(Notifier::new)
    }

    /// The status of the session's request, or of its last one.
    #[inline]
    pub fn status(&self) -> Status {
        self.inner.notifier.get().map_or(Status::Unsupported, Notifier::status)
    }

    /// Takes the context for one job, until the lease is dropped. It keeps the context alive.
    ///
    /// # Errors
    /// [`WaitCtxBusy`] while another lease exists.
    pub fn lease(&self) -> Result<Lease, WaitCtxBusy> {
        if self.inner.leased.replace(true) {
            Err(WaitCtxBusy)
        } else {
            Ok(Lease { ctx: self.clone() })
        }
    }

    /// Registers a descriptor under an engine's key.
    ///
    /// # Errors
    /// [`KeyInUse`] if the key has a live descriptor; the registration comes back.
    #[inline]
    pub fn set_wait_fd(&self, key: Key, wait_fd: WaitFd) -> Result<(), KeyInUse> {
        let mut fds = self.inner.fds.borrow_mut();
        if fds.contains(key) {
            return Err(KeyInUse { refused: wait_fd });
        }
        fds.add(key, wait_fd);
        Ok(())
    }

    /// The live descriptor of a key, with its owner's data.
    pub fn fd(&self, key: Key) -> Option<(FdHandle, Option<Rc<dyn Any>>)> {
        self.inner.fds.borrow().find(key)
    }

    /// Every live descriptor, newest first.
    #[inline]
    pub fn all_fds(&self) -> FdList {
        FdList::of(self.inner.fds.borrow().list())
    }

    /// Removes a registration and returns its descriptor and data. Its cleanup is dropped, not run.
    #[inline]
    pub fn clear_fd(&self, key: Key) -> Option<WaitFd> {
        clear(&self.inner.fds, key)
    }

    /// The net changes since this was last called: [`diff`](Self::diff) for the usual single consumer.
    pub fn changed_fds(&self) -> FdDiff {
        let seen = self.inner.seen.get_or_init(Box::default);
        self.diff(&mut seen.borrow_mut())
    }

    /// The net changes since this consumer last called it with the same [`Seen`].
    #[inline]
    pub fn diff(&self, seen: &mut Seen) -> FdDiff {
        seen.advance(&self.inner.fds.borrow())
    }

    /// The same descriptors under OpenSSL's rules for windows, order and duplicate keys.
    pub fn openssl_view(&self) -> OpenSslView<'_> {
        OpenSslView::new(&self.inner.fds)
    }

    /// The context's own descriptor, made by the first call. Wakes without a callback go there from then on; it is one
    /// of [`all_fds`](Self::all_fds) as long as the context lives.
    ///
    /// # Errors
    /// The system's error, when it has no descriptor left.
    pub fn notify_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if self.inner.signal.get().is_none() {
            let signal = Arc::new(Signal::new()?);
            let counted = Rc::new(CountedSignal::new(Arc::clone(&signal)));
            let handle = FdHandle::notify(Rc::clone(&counted));
            self.inner.fds.borrow_mut().add(Key::NOTIFY, WaitFd::again(handle));
            let _first = self.inner.signal.set(counted);
            self.notifier().shared().set_signal(signal);
        }
        Ok(self.inner.signal.get().expect("set above").0.as_fd())
    }

    /// Makes the context's own descriptor unreadable again. Call it before the job is resumed: drained after the request
    /// was looked at, it would swallow a wake. Costs nothing while there is no such descriptor.
    #[inline]
    pub fn drain_notify(&self) {
        if self.inner.signal.get().is_some() {
            self.notifier().shared().drain_signal();
        }
    }

    /// Sets the callback, or replaces it. A wake that is still owed is delivered to it at once, on this thread.
    pub fn set_callback(&self, callback: impl Fn(&Notification<'_>) + Send + Sync + 'static) {
        self.notifier().shared().set_callback(Arc::new(callback));
    }

    /// Sets or removes the argument that every notification carries.
    pub fn set_callback_arg(&self, arg: Option<CallbackArg>) {
        self.notifier().shared().set_callback_arg(arg);
    }

    /// The callback and its argument.
    pub fn callback(&self) -> Option<(Callback, Option<CallbackArg>)> {
        self.notifier().shared().callback()
    }

    /// Removes the callback and returns it. No call begins after this has returned; one that has begun may still be running.
    pub fn unset_callback(&self) -> Option<Callback> {
        self.notifier().shared().unset_callback()
    }

    /// Removes the callback, waits until no call is running, and returns it.
    ///
    /// # Errors
    /// [`InsideCallback`] if this thread is inside a callback of this context; nothing is changed then.
    pub fn unset_and_wait(&self) -> Result<Option<Callback>, InsideCallback> {
        self.notifier().shared().unset_and_wait()
    }

    /// Whether both are the same context.
    pub fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }
}

impl fmt::Debug for WaitCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitCtx")
            .field("status", &self.status())
            .field("fds", &self.all_fds())
            .field("leased", &self.inner.leased.get())
            .finish_non_exhaustive()
    }
}

/// Reserves a context for one live job, until dropped.
#[derive(Debug)]
pub struct Lease {
    ctx: WaitCtx,
}

impl Lease {
    /// The context.
    pub const fn ctx(&self) -> &WaitCtx {
        &self.ctx
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ctx.inner.leased.set(false);
    }
}

impl Drop for Inner {
    #[inline]
    fn drop(&mut self) {
        if let Some(notifier) = self.notifier.get() {
            notifier.shared().shut();
        }
        if !self.fds.get_mut().is_empty() {
            run_cleanups(&self.fds);
        }
    }
}
