//! The descriptors of a context as `ASYNC_WAIT_CTX_*` reports them, for a C interface and for comparing with the
//! original. Native code uses [`WaitCtx::diff`] instead.
//!
//! OpenSSL keeps one window per context, for all consumers: it opens when a paused job has been resumed, and nothing
//! else moves it, neither reading the changes nor the end of a job. From that follow three defects, which this view
//! reproduces and the native one does not have: a descriptor set after the last pause is reported as added again and
//! again; one that is set after the last pause and cleared before the next is never reported as removed; and a stable
//! one that is cleared and set again is reported as both.

use std::os::fd::{AsRawFd, RawFd};

use crate::ctx::WaitCtx;
use crate::wait_fd::{FdHandle, Key, WaitFd};

/// OpenSSL's view of one context, from [`WaitCtx::openssl_view`].
#[derive(Debug, Clone, Copy)]
pub struct OpenSslView<'a> {
    ctx: &'a WaitCtx,
}

/// What `ASYNC_WAIT_CTX_get_changed_fds` returns. Numbers only: a removed one may be closed already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSslChanges {
    /// Registered in this window and live, newest first.
    pub added: Vec<RawFd>,
    /// Registered before this window and cleared in it, newest first.
    pub removed: Vec<RawFd>,
}

impl<'a> OpenSslView<'a> {
    pub(crate) const fn new(ctx: &'a WaitCtx) -> Self {
        Self { ctx }
    }

    /// `ASYNC_WAIT_CTX_set_wait_fd`: always adds. A key that is live already is shadowed until this one is cleared.
    pub fn set_wait_fd(&self, key: Key, wait_fd: WaitFd) {
        self.ctx.table().borrow_mut().add(key, wait_fd);
    }

    /// `ASYNC_WAIT_CTX_get_fd`: the newest live descriptor of the key.
    pub fn fd(&self, key: Key) -> Option<FdHandle> {
        self.ctx.fd(key).map(|(fd, _data)| fd)
    }

    /// `ASYNC_WAIT_CTX_get_all_fds`: every live descriptor, newest first.
    pub fn all_fds(&self) -> Vec<RawFd> {
        self.ctx.table().borrow().handles().map(AsRawFd::as_raw_fd).collect()
    }

    /// `ASYNC_WAIT_CTX_get_changed_fds`. Reading changes nothing.
    pub fn changed_fds(&self) -> OpenSslChanges {
        let table = self.ctx.table().borrow();
        OpenSslChanges {
            added: table.new_in_window().collect(),
            removed: table.cleared_in_window().collect(),
        }
    }

    /// `ASYNC_WAIT_CTX_clear_fd`: takes the newest live registration of the key.
    pub fn clear_fd(&self, key: Key) -> Option<WaitFd> {
        self.ctx.clear_fd(key)
    }

    /// Opens the next window. To be called when a job that had paused has been resumed, and at no other time.
    pub fn open_window(&self) {
        self.ctx.table().borrow_mut().open_window();
    }
}
