//! The descriptors of a context as `ASYNC_WAIT_CTX_*` reports them, for a C interface and for comparing with the
//! original. Native code uses [`WaitCtx::diff`](crate::WaitCtx::diff) instead.
//!
//! OpenSSL keeps one window per context, for all consumers: it opens when a paused job has been resumed, and nothing
//! else moves it, neither reading the changes nor the end of a job. From that follow three defects, which this view
//! reproduces and the native one does not have: a descriptor set after the last pause is reported as added again and
//! again; one that is set after the last pause and cleared before the next is never reported as removed; and a stable
//! one that is cleared and set again is reported as both.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::{AsRawFd, RawFd};

use crate::fd_handle::FdHandle;
use crate::fds::{FdTable, Key, WaitFd, clear};

/// OpenSSL's view of one context, from [`WaitCtx::openssl_view`](crate::WaitCtx::openssl_view).
#[derive(Clone, Copy)]
pub struct OpenSslView<'a> {
    table: &'a RefCell<FdTable>,
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
    pub(crate) const fn new(table: &'a RefCell<FdTable>) -> Self {
        Self { table }
    }

    /// `ASYNC_WAIT_CTX_set_wait_fd`: always adds. A key that is live already is shadowed until this one is cleared.
    pub fn set_wait_fd(&self, key: Key, wait_fd: WaitFd) {
        self.table.borrow_mut().add(key, wait_fd);
    }

    /// `ASYNC_WAIT_CTX_get_fd`: the newest live descriptor of the key.
    pub fn fd(&self, key: Key) -> Option<FdHandle> {
        self.table.borrow().find(key).map(|(fd, _data)| fd)
    }

    /// `ASYNC_WAIT_CTX_get_all_fds`: every live descriptor, newest first.
    pub fn all_fds(&self) -> Vec<RawFd> {
        self.table.borrow().handles().map(AsRawFd::as_raw_fd).collect()
    }

    /// `ASYNC_WAIT_CTX_get_changed_fds`. Reading changes nothing.
    pub fn changed_fds(&self) -> OpenSslChanges {
        let table = self.table.borrow();
        OpenSslChanges {
            added: table.new_in_window().collect(),
            removed: table.cleared_in_window().collect(),
        }
    }

    /// Calls `each` with what [`all_fds`](Self::all_fds) would return, without allocating. `each` must not change the context.
    #[inline]
    pub fn for_each_fd(&self, each: impl FnMut(RawFd)) {
        self.table.borrow().handles().map(AsRawFd::as_raw_fd).for_each(each);
    }

    /// Calls `added` and `removed` with what [`changed_fds`](Self::changed_fds) would return, without allocating. Neither may
    /// change the context.
    #[inline]
    pub fn for_each_changed_fd(&self, added: impl FnMut(RawFd), removed: impl FnMut(RawFd)) {
        let table = self.table.borrow();
        table.new_in_window().for_each(added);
        table.cleared_in_window().for_each(removed);
    }

    /// Whether [`all_fds`](Self::all_fds) would return any.
    #[inline]
    pub fn has_fds(&self) -> bool {
        self.table.borrow().handles().next().is_some()
    }

    /// `ASYNC_WAIT_CTX_clear_fd`: removes and returns the newest live registration of the key.
    pub fn clear_fd(&self, key: Key) -> Option<WaitFd> {
        clear(self.table, key)
    }

    /// Opens the next window. Call it after a paused job was resumed, and at no other time.
    #[inline]
    pub fn open_window(&self) {
        let mut table = self.table.borrow_mut();
        if !table.is_empty() {
            table.open_window();
        }
    }
}

impl fmt::Debug for OpenSslView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSslView").field("fds", &self.all_fds()).finish()
    }
}
