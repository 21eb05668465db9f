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

use std::io::{self, Read, Write};

use job_core::{Job, JobPool, StartRefused, Step};
use wait_ctx::WaitCtx;

use crate::error::SslError;
use crate::read_ahead::{READ_AHEAD, ReadAhead};
use crate::rustls23::{self, KeyExchange, Tls, TlsError, openings};
use crate::session::SslId;

/// How a packet's work ended: with the connection back, or broken.
pub(crate) type Processed = Result<Back, Broken>;

/// A connection that can go on.
pub(crate) struct Back {
    pub(crate) tls: Tls,
    /// What came behind the record that completed the handshake, or behind `close_notify`.
    pub(crate) unprocessed: Vec<u8>,
    /// It has received `close_notify`: it processes nothing more.
    pub(crate) closed: bool,
}

impl From<Tls> for Back {
    fn from(tls: Tls) -> Self {
        Self { tls, unprocessed: Vec::new(), closed: false }
    }
}

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
    /// Why it is broken, and what the peer is to be told.
    pub(crate) fn into_alert(self) -> FinalAlert {
        let error = match rustls23::unwrap(&self.error) {
            Some(cause) => SslError::Failed(cause),
            None => SslError::Tls(self.error),
        };
        let bytes = match self.remains {
            Remains::Connection(mut tls) => tls.take_output(),
            Remains::Alert(alert) => alert,
        };
        FinalAlert::new(bytes, error)
    }
}

/// The end of a failed session: why it failed, and the records that tell the peer, an alert as a rule. A transport that takes
/// little at a time must not cut them off.
#[derive(Debug)]
pub(crate) struct FinalAlert {
    pub(crate) error: SslError,
    bytes: Vec<u8>,
    sent: usize,
    /// How much more of what the peer sends is read and forgotten.
    to_drain: usize,
}

impl FinalAlert {
    /// The records.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// No record: the peer does not listen, or knows.
    pub(crate) fn none(error: SslError) -> Self {
        Self::new(Vec::new(), error)
    }

    /// These records.
    pub(crate) fn new(bytes: Vec<u8>, error: SslError) -> Self {
        Self { error, bytes, sent: 0, to_drain: READ_AHEAD }
    }

    /// Sends the records. False if the transport takes no more now. A transport that fails ends it, too: the peer does not
    /// listen any more.
    ///
    /// What the transport has received is read and forgotten meanwhile: a peer may not read before it has sent everything,
    /// and a close with unread bytes before it would reset the connection, and with it the alert.
    pub(crate) fn send<S: Read + Write>(
        &mut self,
        id: SslId,
        io: &mut S,
        ahead: &mut ReadAhead,
    ) -> bool {
        if self.bytes.is_empty() {
            return true;
        }
        let sent = self.try_send(io);
        ahead.drain(io, &mut self.to_drain);
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(why) => tracing::debug!(ssl = id.as_u64(), %why, "ssl.alert_unsent"),
            Ok(()) => {}
        }
        self.bytes.clear();
        true
    }

    fn try_send(&mut self, io: &mut dyn Write) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            match io.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        io.flush()
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

/// The work of processing these records, up to the end of the handshake. Key exchanges in it find the engine of
/// `exchange`.
pub(crate) fn process(mut tls: Tls, records: Vec<u8>, exchange: KeyExchange) -> Work {
    create(
        move || match tls.process_records(&records) {
            Ok((n, closed)) => {
                let mut unprocessed = records;
                unprocessed.drain(..n);
                Ok(Back { tls, unprocessed, closed })
            }
            Err(error) => Err(Broken { error, remains: Remains::Connection(tls) }),
        },
        exchange,
    )
}

/// The work of processing what `tls` has read after its handshake.
pub(crate) fn process_data(mut tls: Tls, exchange: KeyExchange) -> Work {
    create(
        move || match tls.process_data() {
            Ok(()) => Ok(tls.into()),
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
