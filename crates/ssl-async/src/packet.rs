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

use std::io::Write;

use job_core::{Job, JobPool, StartRefused, Step};
use wait_ctx::WaitCtx;

use crate::error::SslError;
use crate::rustls23::{self, KeyExchange, Tls, TlsError, openings};
use crate::session::SslId;

/// How a packet's work ended: with the connection back, or broken.
pub(crate) type Processed = Result<Tls, Broken>;

/// A connection that cannot go on.
pub(crate) struct Broken {
    pub(crate) error: TlsError,
    pub(crate) remains: Remains,
}

/// What is left of a broken connection, to tell the peer with.
pub(crate) enum Remains {
    /// The connection, with whatever it still has to send, the alert last.
    Connection(Tls),
    /// Nothing was sent yet but what is to be sent now: an alert.
    Alert(Vec<u8>),
}

impl Broken {
    /// Tells the peer with what is left of the connection, as far as the transport takes it, and says why it ended.
    pub(crate) fn dismiss(self, id: SslId, io: &mut dyn Write) -> SslError {
        let error = match rustls23::unwrap(&self.error) {
            Some(cause) => SslError::Failed(cause),
            None => SslError::Tls(self.error),
        };
        let sent = match self.remains {
            Remains::Connection(mut tls) => tls.flush(io),
            Remains::Alert(alert) => io.write_all(&alert),
        };
        if let Err(unsent) = sent.and_then(|()| io.flush()) {
            tracing::debug!(ssl = id.as_u64(), %unsent, "ssl.alert_unsent");
        }
        error
    }
}

/// The work itself. It owns the connection, and gives it back when done. It may travel to another thread before it is
/// begun; a job may not.
pub(crate) type Work = Box<dyn FnOnce() -> Processed + Send>;

/// Where a packet's work stands.
pub(crate) enum Packet {
    /// Done.
    Done(Processed),
    /// Paused inside a hook.
    Parked(Job<Processed>),
    /// Not begun: the pool of jobs is at its maximum.
    Unstarted(Work),
}

/// The work of processing what `tls` has read. Key exchanges in it find the engine of `exchange`.
pub(crate) fn process(mut tls: Tls, exchange: KeyExchange) -> Work {
    create(
        move || match tls.process() {
            Ok(()) => Ok(tls),
            Err(error) => Err(Broken { error, remains: Remains::Connection(tls) }),
        },
        exchange,
    )
}

/// The work of creating a connection.
pub(crate) fn create(
    make: impl FnOnce() -> Processed + Send + 'static,
    exchange: KeyExchange,
) -> Work {
    Box::new(move || openings::during(|| exchange.during(make)))
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
