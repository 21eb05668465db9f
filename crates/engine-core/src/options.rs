//! Options of a request: how long it may take, and what happens when that fails.

use core::time::Duration;

/// How long an operation may take, and what happens if the device does not carry it out. Set for a whole engine by
/// [`EngineBuilder::options`](crate::EngineBuilder::options), or for some of its operations by
/// [`Engine::with_options`](crate::Engine::with_options).
///
/// | policy | deadline | fallback | standby |
/// | --- | --- | --- | --- |
/// | wait for ever | none | [`Fail`](Fallback::Fail) | - |
/// | fail | some | [`Fail`](Fallback::Fail) | - |
/// | software key held for the purpose | some | [`Standby`](Fallback::Standby) | a [`ThreadPool`](crate::ThreadPool), or [`Inline`](crate::Inline) |
/// | other device | some | [`Standby`](Fallback::Standby) | any other [`Accelerator`](crate::Accelerator) |
///
/// Deadlines are kept by the thread that calls [`Engine::poll`](crate::Engine::poll): an event loop, a
/// [driver](crate::Engine::spawn_driver), or a thread that blocks in [`run`](crate::Engine::run).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// How long after its submission an operation may take. If the standby takes over, it has the same time again;
    /// then the operation ends with [`EngineError::Deadline`](crate::EngineError::Deadline). [`Duration::MAX`] means
    /// none. None by default.
    pub deadline: Option<Duration>,
    /// What happens when the device fails, refuses, answers wrongly, or is too slow.
    pub fallback: Fallback,
    /// How many times the device, and then the standby, is given an operation that it fails: 0 and 1 both mean once.
    /// Default 1. Only for operations that may be carried out twice.
    ///
    /// Not attempted again is what is [unsupported](crate::DeviceError::Unsupported), what the device refuses for
    /// [good](crate::DeviceError::Permanent), and a result that does not pass its check. The pause is that of
    /// [`DeviceError::Busy`](crate::DeviceError::Busy), or 10 ms at first and twice that each time, with jitter; no thread
    /// waits for it. If it would last beyond the deadline, or the breaker is open, the operation falls back or fails at
    /// once.
    ///
    /// A device that repeats a call by itself does so within each attempt: 3 attempts here of a device that makes 4 are up
    /// to 12 calls of its service.
    pub attempts: u32,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestOptions {
    /// No deadline, no fallback, one attempt.
    pub const fn new() -> Self {
        Self { deadline: None, fallback: Fallback::Fail, attempts: 1 }
    }

    /// With this number of attempts.
    pub const fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// With this deadline.
    pub const fn deadline(self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// With this fallback.
    pub const fn fallback(self, fallback: Fallback) -> Self {
        Self { fallback, ..self }
    }
}

/// What happens to an operation that the device does not carry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// It fails with the device's error.
    #[default]
    Fail,
    /// The engine's [standby](crate::EngineBuilder::standby) carries it out. If the device answers after all, the first
    /// good result wins and the other is erased. Without a standby, and while its breaker is open, this is
    /// [`Fail`](Self::Fail).
    ///
    /// A request that the device still holds can be sent a second time only if
    /// [`Work::duplicate`](crate::Work::duplicate) has made a copy of it.
    Standby,
}

/// What happens to an operation that finds the device's ring full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFull {
    /// The engine keeps it and submits it from the completion side. No job is woken before its result is stored.
    #[default]
    Queue,
    /// The job keeps it: it is woken once when there is room, with status `Again` while the callback runs, and submits
    /// it itself, as in steps 3 and 9 of the manual page SSL_set_async_callback. It costs a resume for each operation that
    /// found the ring full. A thread that blocks cannot be woken, so its request is queued.
    ///
    /// The room is reserved for the woken job for 100 ms: after that, or at once if the job waits for something else, the
    /// room goes to the next, and the job may submit whenever it comes. The thread that calls
    /// [`Engine::poll`](crate::Engine::poll) keeps that time, as it keeps deadlines.
    Notify,
}

/// Which operations go to the device, of those that may [fall back](Fallback::Standby) to the standby. The others always
/// go to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offload {
    /// All of them.
    #[default]
    Always,
    /// Those that begin while at least this number of others are under way: an idle machine computes by itself, at the
    /// latency of software, and the device is used as load builds up.
    ///
    /// Operations of the engine count as under way. A standby that computes on the calling thread never has one under way
    /// when the next begins: report the number of handshakes with [`Engine::set_active`](crate::Engine::set_active)
    /// then.
    Beyond(usize),
}
