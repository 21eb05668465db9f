//! One packet's worth of TLS work, run in a job: the only place where a session pauses.
//!
//! ```text
//!            start                    paused
//!   Idle -----------> (in a job) -------------> Parked
//!    ^  ^                 |                       | resume
//!    |  +-----------------+-----------------------+
//!    | retry              | no job to be had
//!    +---- Unstarted <----+
//! ```

use job_core::{Job, JobPool, StartRefused, Step};
use wait_ctx::WaitCtx;

use crate::rustls23::{Tls, TlsError};

/// The connection that a packet's work gives back, if there is one, and how the work ended.
pub(crate) struct Processed {
    pub(crate) tls: Option<Tls>,
    pub(crate) result: Result<(), TlsError>,
}

/// The work itself. It owns the connection, and gives it back when done.
pub(crate) type Work = Box<dyn FnOnce() -> Processed>;

/// Where a packet's work stands.
pub(crate) enum Packet {
    /// Done.
    Done(Processed),
    /// Paused inside a hook.
    Parked(Job<Processed>),
    /// Not begun: the pool of jobs is at its maximum.
    Unstarted(Work),
}

/// The work of processing what `tls` has read.
pub(crate) fn process(mut tls: Tls) -> Work {
    Box::new(move || {
        let result = tls.process();
        Processed { tls: Some(tls), result }
    })
}

/// The work of creating a connection.
pub(crate) fn create(make: impl FnOnce() -> Result<Tls, TlsError> + 'static) -> Work {
    Box::new(move || match make() {
        Ok(tls) => Processed { tls: Some(tls), result: Ok(()) },
        Err(error) => Processed { tls: None, result: Err(error) },
    })
}

/// Begins the work in a job, or on the spot where there can be none.
pub(crate) fn begin(work: Work, pool: &JobPool, ctx: &WaitCtx) -> Packet {
    match pool.start_with(ctx, work) {
        Ok(step) => Packet::from(step),
        Err(refused) => match refused.reason {
            StartRefused::NoJobs { .. } => Packet::Unstarted(refused.into_closure()),
            // No fibers here, or no memory for one: the operation blocks the thread, but it is done.
            reason => {
                tracing::debug!(%reason, "ssl.inline");
                Packet::Done(refused.into_closure()())
            }
        },
    }
}

impl From<Step<Processed>> for Packet {
    fn from(step: Step<Processed>) -> Self {
        match step {
            Step::Paused(job) => Self::Parked(job),
            Step::Finished(processed) => Self::Done(processed),
        }
    }
}
