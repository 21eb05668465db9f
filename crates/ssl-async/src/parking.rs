//! How a server's handshake waits.

use std::sync::{Arc, OnceLock};

use crate::known::Known;
use crate::rustls23::{ReplayConfig, ServerConfig, Tls};

/// How a server's handshake is parked while something is computed elsewhere.
///
/// By *replay* the handshake is rehearsed up to what it waits for, thrown away, and run again with the answer. It needs a
/// configuration whose provider was made by [`replayable`](crate::replayable), as that of
/// [`SlowKey::server_config`](crate::SlowKey::server_config). It parks in 2 to 4 KiB, and hooks run on the thread that
/// drives the handshake. It serves everything up to the server's flight: certificate, tickets, key exchange, signature.
/// On a *fiber* any hook may wait, on a stack of its own. The client sees the same either way
/// ([law L16]: replay is invisible).
///
/// [law L16]: https://github.com/layby-rs/layby/blob/main/docs/laws.md
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parking {
    /// By replay if the configuration allows it, and on a fiber behind the server's flight if a hook of this crate waits
    /// there: for the verdict on a client's certificate, the seal of a ticket, the key exchange of TLS 1.2. Also on a fiber
    /// if a hook of the user's calls one of this crate's that waits; the user's is then asked again there.
    #[default]
    Auto,
    /// Always on a fiber.
    Fiber,
    /// Always by replay. A handshake that needs a fiber fails with [`SslError::NeedsFiber`](crate::SslError::NeedsFiber).
    Replay,
    /// Not at all: the handshake runs on the thread or task that drives it, with whatever configuration, and costs what it
    /// costs in plain rustls. For servers whose key, tickets and hooks answer at once.
    ///
    /// If one of this crate's would have to wait, the handshake fails with
    /// [`SslError::WouldWait`](crate::SslError::WouldWait); one whose device answers as soon as it is asked, such as
    /// [`Inline`](engine_core::Inline), serves. A hook of the user's that waits blocks the thread, as in tokio-rustls. Key
    /// exchanges are computed by the provider, also where an engine was named for them.
    Never,
}

/// The way of parking that a handshake begins with.
#[derive(Clone)]
pub(crate) enum ParkingWay {
    Fiber,
    Never,
    /// By replay, and on a fiber unless `only`.
    Replay {
        config: ReplayConfig,
        only: bool,
    },
    /// Only replay is allowed, and the configuration excludes it for this reason.
    Refused(Arc<str>),
}

/// The setting of a context or an acceptor, and its configuration wrapped for replay.
#[derive(Clone, Default)]
pub(crate) struct ParkingChoice {
    pub(crate) parking: Parking,
    pub(crate) known: Arc<Known>,
    /// Made with the first handshake; the error says why handshakes need a fiber.
    replayable: Arc<OnceLock<Result<ReplayConfig, Arc<str>>>>,
}

impl ParkingChoice {
    pub(crate) fn way(&self, config: &Arc<ServerConfig>) -> ParkingWay {
        match self.parking {
            Parking::Fiber => return ParkingWay::Fiber,
            Parking::Never => return ParkingWay::Never,
            Parking::Auto | Parking::Replay => {}
        }
        let only = self.parking == Parking::Replay;
        match self.replayable.get_or_init(|| self.make_replayable(config)).clone() {
            Ok(config) => ParkingWay::Replay { config, only },
            Err(why) if only => ParkingWay::Refused(why),
            Err(_) => ParkingWay::Fiber,
        }
    }

    fn make_replayable(&self, config: &Arc<ServerConfig>) -> Result<ReplayConfig, Arc<str>> {
        let make = || ReplayConfig::new((**config).clone()).map_err(|why| why.to_string().into());
        let mut made = None;
        let found = self.known.replayable.get_or_init(|| {
            // A replay makes its connection with the hello. On a fiber, an unfit configuration is refused before that.
            Tls::server(Arc::clone(config)).map_err(|unfit| unfit.to_string())?;
            made = Some(make()?);
            Ok(())
        });
        found.clone()?;
        made.map_or_else(make, Ok)
    }
}
