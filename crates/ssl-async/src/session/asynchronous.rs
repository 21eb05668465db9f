//! The calls of the manual pages SSL_set_async_callback and SSL_get_all_async_fds.

use std::io;
use std::os::fd::BorrowedFd;

use wait_ctx::{CallbackArg, FdDiff, FdList, Status, WaitCtx};

use crate::context::AsyncCallback;
use crate::session::Ssl;
use crate::session::state::State;

impl<S> Ssl<S> {
    /// Whether a packet is parked on an operation (`SSL_waiting_for_async`).
    pub fn waiting_for_async(&self) -> bool {
        matches!(self.state, State::Parked(_))
    }

    /// The status of the session's last operation (`SSL_get_async_status`): [`Status::Unsupported`] before the first. A
    /// future that a hook awaits does not count as an operation.
    pub fn async_status(&self) -> Status {
        self.wait_ctx.status()
    }

    /// Sets, replaces or, with `None`, removes the callback (`SSL_set_async_callback`). A wake that was not delivered yet goes
    /// to a new callback at once, on this thread.
    ///
    /// After a removal has returned no call begins; one that had begun may still be running.
    pub fn set_async_callback(&self, callback: Option<AsyncCallback>) {
        match callback {
            Some(callback) => {
                let id = self.id;
                self.wait_ctx.set_callback(move |why| callback(id, why));
            }
            None => drop(self.wait_ctx.unset_callback()),
        }
    }

    /// Sets or removes the callback's argument (`SSL_set_async_callback_arg`).
    pub fn set_async_callback_arg(&self, arg: Option<CallbackArg>) {
        self.wait_ctx.set_callback_arg(arg);
    }

    /// Switches async mode on or off (`SSL_MODE_ASYNC`), from the next packet on. A parked packet stays parked; a
    /// handshake by [replay](crate::Parking) that has asked for a second hello still parks.
    pub fn set_async_mode(&mut self, on: bool) {
        self.async_mode = on;
    }

    /// Whether async mode is on.
    pub fn async_mode(&self) -> bool {
        self.async_mode
    }

    /// Returns a descriptor of the session's own, made by the first call: readable when the session should be called again,
    /// unless a callback is set. It stays the same for the session's life.
    ///
    /// # Errors
    ///
    /// The system's error if it has no descriptor left.
    pub fn async_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.wait_ctx.notify_fd()
    }

    /// All descriptors to wait on, newest first (`SSL_get_all_async_fds`). None until [`async_fd`](Self::async_fd)
    /// was called or an engine registered one of its own.
    pub fn all_async_fds(&self) -> FdList {
        self.wait_ctx.all_fds()
    }

    /// The net change of [`all_async_fds`](Self::all_async_fds) since the last call (`SSL_get_changed_async_fds`). May be
    /// applied in any order.
    pub fn changed_async_fds(&self) -> FdDiff {
        self.wait_ctx.changed_fds()
    }

    /// The session's wait context: its routes, callback and descriptors.
    pub fn wait_ctx(&self) -> &WaitCtx {
        &self.wait_ctx
    }
}
