//! Configuration, mode and callback shared by sessions.

use core::fmt;
use std::sync::Arc;

use crypto_ops::CryptoOp;
use engine_core::Engine;
use wait_ctx::{CallbackArg, Notification};

use crate::id::SslId;
use crate::parking::{Parking, ParkingChoice, ParkingWay};
use crate::rustls23::{ClientConfig, KeyExchange, ServerConfig};

/// Called when a session should be called again (`SSL_async_callback_fn`). Receives the session's id, and a notification
/// with the reason, the status at that moment and the callback's argument.
///
/// Runs on the thread that completed the operation, which may serve other sessions, but never on a job's stack. It must be
/// short and must not block; a pause in it returns [`Blocked`](job_core::Pause::Blocked).
pub type AsyncCallback = Arc<dyn Fn(SslId, &Notification<'_>) + Send + Sync>;

/// Makes sessions: the counterpart of `SSL_CTX`. Cheap to clone, and may be shared between threads.
///
/// The configuration `C` makes it a server's or a client's. A session copies the mode, the callback and its argument when
/// it is created; later changes to the context do not affect it.
#[derive(Clone)]
pub struct SslContext<C = ServerConfig> {
    config: Arc<C>,
    settings: Settings,
    parking: ParkingChoice,
}

/// The part of a context that does not depend on the role.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) async_mode: bool,
    pub(crate) callback: Option<AsyncCallback>,
    pub(crate) callback_arg: Option<CallbackArg>,
    pub(crate) exchange: KeyExchange,
}

impl SslContext<ServerConfig> {
    /// A context for servers, with async mode on and no callback.
    pub fn server(config: Arc<ServerConfig>) -> Self {
        Self::new(config)
    }

    /// Sets how sessions in async mode park. The default is [`Parking::Auto`].
    #[must_use]
    pub fn parking(mut self, parking: Parking) -> Self {
        self.parking.parking = parking;
        self
    }

    pub(crate) fn parking_way(&self) -> ParkingWay {
        self.parking.way(&self.config)
    }
}

impl SslContext<ClientConfig> {
    /// A context for clients, with async mode on and no callback.
    pub fn client(config: Arc<ClientConfig>) -> Self {
        Self::new(config)
    }
}

impl<C> SslContext<C> {
    fn new(config: Arc<C>) -> Self {
        let settings = Settings {
            async_mode: true,
            callback: None,
            callback_arg: None,
            exchange: KeyExchange::default(),
        };
        Self { config, settings, parking: ParkingChoice::default() }
    }

    /// Sets whether sessions park while an engine works (`SSL_MODE_ASYNC`). If not, every operation blocks the thread.
    #[must_use]
    pub fn async_mode(mut self, on: bool) -> Self {
        self.settings.async_mode = on;
        self
    }

    /// Sets the callback that sessions start with (`SSL_CTX_set_async_callback`).
    #[must_use]
    pub fn async_callback(mut self, callback: AsyncCallback) -> Self {
        self.set_async_callback(Some(callback));
        self
    }

    /// Sets the callback argument that sessions start with (`SSL_CTX_set_async_callback_arg`).
    #[must_use]
    pub fn async_callback_arg(mut self, arg: CallbackArg) -> Self {
        self.set_async_callback_arg(Some(arg));
        self
    }

    /// Sets the engine for the key exchange of sessions whose configuration was built with
    /// [`offload::key_exchange`](crate::offload::key_exchange). Without an engine they compute on their own thread.
    #[must_use]
    pub fn key_exchange(mut self, engine: Arc<Engine<CryptoOp>>) -> Self {
        self.settings.exchange = KeyExchange::by(engine);
        self
    }

    /// Sets, replaces or, with `None`, removes the callback that later sessions start with.
    pub fn set_async_callback(&mut self, callback: Option<AsyncCallback>) {
        self.settings.callback = callback;
    }

    /// Sets, replaces or, with `None`, removes the callback argument that later sessions start with.
    pub fn set_async_callback_arg(&mut self, arg: Option<CallbackArg>) {
        self.settings.callback_arg = arg;
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<C> {
        &self.config
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl<C> fmt::Debug for SslContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SslContext")
            .field("config", &core::any::type_name::<C>())
            .field("async_mode", &self.settings.async_mode)
            .field("callback", &self.settings.callback.is_some())
            .finish_non_exhaustive()
    }
}
