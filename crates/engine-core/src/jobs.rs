//! The current fiber job, as far as a request concerns it. Without the feature `jobs` there never is one.

#[cfg(feature = "jobs")]
use core::task::Waker;

#[cfg(feature = "jobs")]
pub(crate) use job_core::on_job_stack;
use wait_ctx::WaitCtx;

/// How a call of [`pause`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "jobs"), expect(dead_code, reason = "a thread never pauses"))]
pub(crate) enum Paused {
    Resumed,
    Cancelled,
    /// There is no job, or it must not pause here: the thread has to block.
    Refused,
}

/// Pauses the current job until it is resumed.
#[cfg(feature = "jobs")]
pub(crate) fn pause() -> Paused {
    match job_core::pause() {
        job_core::Pause::Resumed => Paused::Resumed,
        job_core::Pause::Cancelled => Paused::Cancelled,
        _ => Paused::Refused,
    }
}

/// Whether [`pause`] would pause. Asked before a request is armed: a thread that blocks must not be woken as a session.
#[cfg(feature = "jobs")]
pub(crate) fn may_pause() -> bool {
    !std::thread::panicking() && job_core::current().is_some_and(|job| !job.is_blocked())
}

/// Whether the current job was cancelled.
#[cfg(feature = "jobs")]
pub(crate) fn is_cancelled() -> bool {
    job_core::current().is_some_and(|job| job.is_cancelled())
}

/// The wait context of the current job, if it has one.
#[cfg(feature = "jobs")]
pub(crate) fn wait_ctx() -> Option<WaitCtx> {
    job_core::current().and_then(|job| job.wait_ctx())
}

/// The waker of the current job: it takes the routes of the job's wait context, or wakes the task that awaits the job.
#[cfg(feature = "jobs")]
pub(crate) fn waker() -> Option<Waker> {
    let job = job_core::current()?;
    job.wait_ctx().map_or_else(|| job.waker(), |ctx| Some(ctx.notifier().waker()))
}

#[cfg(not(feature = "jobs"))]
mod none {
    use core::task::Waker;

    use super::{Paused, WaitCtx};

    pub(crate) const fn pause() -> Paused {
        Paused::Refused
    }

    pub(crate) const fn may_pause() -> bool {
        false
    }

    pub(crate) const fn is_cancelled() -> bool {
        false
    }

    pub(crate) const fn on_job_stack() -> bool {
        false
    }

    pub(crate) const fn wait_ctx() -> Option<WaitCtx> {
        None
    }

    pub(crate) const fn waker() -> Option<Waker> {
        None
    }
}

#[cfg(not(feature = "jobs"))]
pub(crate) use none::{is_cancelled, may_pause, on_job_stack, pause, wait_ctx, waker};
