//! How a server's handshake waits for its key.

/// How a server's handshake is parked while its key signs elsewhere.
///
/// By *replay* the handshake is rehearsed up to its signature, thrown away, and run again with the signature. It needs a
/// configuration whose provider was made by [`replayable`](crate::replayable), as that of
/// [`SlowKey::server_config`](crate::SlowKey::server_config). It parks in about a kilobyte, and hooks run on the thread that
/// drives the handshake. On a *fiber* any hook may wait, on a stack of its own. The client sees the same either way
/// ([law L16]: replay is invisible).
///
/// [law L16]: https://github.com/layby-rs/layby/blob/main/docs/laws.md
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parking {
    /// By replay if the configuration allows it, and on a fiber for a hello in which a hook of this crate waits for
    /// something else than the signature.
    #[default]
    Auto,
    /// Always on a fiber.
    Fiber,
    /// Always by replay. A handshake that needs a fiber fails with [`SslError::NeedsFiber`](crate::SslError::NeedsFiber).
    Replay,
}
