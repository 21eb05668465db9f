//! One packet's worth of TLS work, and whether it runs on a fiber: the only place where a session pauses.
//!
//! ```text
//!            start                      paused
//!   Idle -----------> (on a fiber) -------------> Parked
//!    ^  ^                  |                        | resume
//!    |  +------------------+------------------------+
//!    | retry               | the pool has no job left
//!    +---- Unstarted <-----+
//! ```

use job_core::{Job, JobPool, StartRefused, Step};
use wait_ctx::WaitCtx;

use crate::rustls23::{KeyExchange, Processed, Tls, at_once, openings};

/// A packet to process. Owns the connection and returns it when done. May move to another thread before it starts; a job
/// may not.
pub(crate) struct Work {
    run: Box<dyn FnOnce() -> Processed + Send>,
    may_pause: bool,
}

impl Work {
    /// Creates a connection, which may pause.
    pub(crate) fn create(
        make: impl FnOnce() -> Processed + Send + 'static,
        exchange: KeyExchange,
    ) -> Self {
        let run = Box::new(move || openings::during(|| exchange.during(make)));
        Self { run, may_pause: true }
    }

    /// Processes these records, up to the end of the handshake. Key exchanges use the engine of `exchange`.
    pub(crate) fn records(tls: Tls, records: Vec<u8>, exchange: KeyExchange) -> Self {
        let may_pause = tls.may_reach_hook(&records);
        let work = Self::create(move || tls.into_processed(records), exchange);
        Self { may_pause, ..work }
    }

    /// Processes what `tls` has read after its handshake.
    pub(crate) fn data(tls: Tls, exchange: KeyExchange) -> Self {
        Self::create(move || tls.into_processed_data(), exchange)
    }

    /// Whether the work may reach a hook. Part of a handshake message reaches none.
    #[cfg(feature = "tokio")]
    pub(crate) fn may_pause(&self) -> bool {
        self.may_pause
    }

    /// Runs on the caller's stack: an operation blocks the thread, unless this is in a job.
    pub(crate) fn run(self) -> Processed {
        (self.run)()
    }

    /// Runs on the caller's stack. Fails if a hook of this crate would have to wait.
    pub(crate) fn run_at_once(self) -> Processed {
        at_once::during(self.run)
    }
}

/// Progress of a packet.
pub(crate) enum Packet {
    Done(Processed),
    /// Paused inside a hook.
    Parked(Job<Processed>),
    /// The pool of jobs is at its maximum.
    Unstarted(Work),
}

/// The stack on which a packet runs.
#[derive(Clone, Copy)]
pub(crate) enum PacketStack<'a> {
    /// A fiber of the pool, which pauses while an operation is computed.
    Fiber(&'a JobPool, &'a WaitCtx),
    /// The caller's stack: an operation blocks the thread.
    Caller,
    /// The caller's stack: an operation that is not done at once fails.
    CallerAtOnce,
}

/// Starts the work: on a fiber if it may pause and the session parks, else on the caller's stack.
pub(crate) fn start(work: Work, stack: PacketStack<'_>) -> Packet {
    let (pool, ctx) = match stack {
        PacketStack::Fiber(pool, ctx) if work.may_pause => (pool, ctx),
        PacketStack::Fiber(..) | PacketStack::Caller => {
            return Packet::Done(at_once::not_during(|| work.run()));
        }
        PacketStack::CallerAtOnce => return Packet::Done(work.run_at_once()),
    };
    let Work { run, may_pause } = work;
    match pool.start_with(ctx, run) {
        Ok(step) => Packet::from(step),
        Err(refused) => match refused.reason {
            StartRefused::NoJobs { .. } => {
                Packet::Unstarted(Work { run: refused.into_closure(), may_pause })
            }
            // No fibers on this system, or no memory for one.
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
