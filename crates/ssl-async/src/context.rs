//! What sessions have in common: their configuration, mode and callback.

use core::fmt;
use std::sync::Arc;

use wait_ctx::{CallbackArg, Notification};

use crate::rustls23::{ClientConfig, ServerConfig};
use crate::session::SslId;

/// Called when a session has a reason to be called again: with the session's id, and with why, the status of that
/// moment and the callback's argument. Runs on the thread that completed the operation, never on a fiber: it must be
/// short and must not block (`SSL_async_callback_fn`).
pub type AsyncCallback = Arc<dyn Fn(SslId, &Notification<'_>) + Send + Sync>;

/// What sessions are made from: the counterpart of `SSL_CTX`. Cheap to clone and shared freely between threads.
///
/// A session takes the mode, the callback and its argument when it is created; later changes to the context do not
/// reach it.
#[derive(Clone)]
pub struct SslContext {
    pub(crate) role: Role,
    pub(crate) async_mode: bool,
    pub(crate) callback: Option<AsyncCallback>,
    pub(crate) callback_arg: Option<CallbackArg>,
}

#[derive(Clone)]
pub(crate) enum Role {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}

impl SslContext {
    /// A context for servers, with async mode on and no callback.
    pub fn server(config: Arc<ServerConfig>) -> Self {
        Self::new(Role::Server(config))
    }

    /// A context for clients, with async mode on and no callback.
    pub fn client(config: Arc<ClientConfig>) -> Self {
        Self::new(Role::Client(config))
    }

    fn new(role: Role) -> Self {
        Self { role, async_mode: true, callback: None, callback_arg: None }
    }

    /// Whether sessions park while an engine works (`SSL_MODE_ASYNC`). When off, every operation blocks its thread.
    #[must_use]
    pub fn async_mode(mut self, on: bool) -> Self {
        self.async_mode = on;
        self
    }

    /// The callback that sessions start with (`SSL_CTX_set_async_callback`).
    #[must_use]
    pub fn async_callback(mut self, callback: AsyncCallback) -> Self {
        self.callback = Some(callback);
        self
    }

    /// The callback argument that sessions start with (`SSL_CTX_set_async_callback_arg`).
    #[must_use]
    pub fn async_callback_arg(mut self, arg: CallbackArg) -> Self {
        self.callback_arg = Some(arg);
        self
    }
}

impl fmt::Debug for SslContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Server(_) => "server",
            Role::Client(_) => "client",
        };
        f.debug_struct("SslContext")
            .field("role", &role)
            .field("async_mode", &self.async_mode)
            .field("callback", &self.callback.is_some())
            .finish_non_exhaustive()
    }
}
