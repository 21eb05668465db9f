//! The machine behind the calls: where the connection is, and how it gets back.
//!
//! What the peer's close means while a packet is parked is decided in [`read_ahead`](crate::read_ahead).

use core::mem;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use job_core::Job;

use crate::error::SslError;
use crate::packet::{self, Broken, FinalAlert, Packet, Processed, Remains, Work};
use crate::read_ahead::{Awaited, Next, PacketAt};
use crate::rustls23::{self, Due, Tls};
use crate::session::{Origin, Ssl};

/// Where the connection is. The picture is in [`packet`].
pub(crate) enum State {
    /// Here.
    Idle(Tls),
    /// In a packet's job.
    Parked(Job<Processed>),
    /// In a packet that has no job yet.
    Unstarted(Work),
    /// Lost, and the records that tell the peer have not all left.
    SendingAlert(FinalAlert, Report),
    /// Nowhere any more.
    Failed(SslError),
}

/// When the caller learns why the session has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// When the alert has left; until then calls want to write.
    WhenSent,
    /// At once; every later call sends what the transport takes.
    AtOnce,
}

impl State {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Parked(_) => "parked",
            Self::Unstarted(_) => "unstarted",
            Self::SendingAlert(..) => "sending its alert",
            Self::Failed(_) => "failed",
        }
    }
}

/// The connection while it is here, or what the caller has to wait for.
pub(crate) enum Here<'a> {
    Tls(&'a mut Tls),
    WantAsync,
    WantAsyncJob,
    WantWrite,
}

impl<S: Read + Write> Ssl<S> {
    /// Looks after the peer while a packet is parked, without resuming it: reads ahead, and cancels the packet if the peer
    /// has closed the connection so that the packet's result could reach no peer. What an event loop calls when the
    /// transport of a parked session becomes readable.
    ///
    /// A close that the peer's last flight may precede cancels nothing: the packet is finished, then what the peer has sent
    /// is processed, and then the close counts. A transport that has failed cancels in any case.
    ///
    /// # Errors
    ///
    /// [`SslError::PeerClosed`] or [`SslError::Io`]; [`SslError::Tls`] if the peer sends more than 64 KiB and what early
    /// data is allowed before it was answered. The session is over then.
    pub fn watch_peer(&mut self) -> Result<(), SslError> {
        let packet = match self.state {
            State::Parked(_) => PacketAt::Parked,
            State::Unstarted(_) => PacketAt::Waiting,
            State::Idle(_) | State::SendingAlert(..) | State::Failed(_) => return Ok(()),
        };
        let awaited = self.awaited();
        self.ahead.watch(&mut self.io, awaited);
        // After the handshake nothing is cancelled: the peer's data comes first.
        match self.ahead.reason_to_cancel(awaited, packet) {
            Some(error) if !self.established => {
                let alert = match error {
                    SslError::Tls(_)
                        if matches!(awaited, Awaited::ClientBeforeServerHello { .. }) =>
                    {
                        FinalAlert::new(rustls23::UNEXPECTED_MESSAGE.to_vec(), error)
                    }
                    _ => FinalAlert::none(error),
                };
                Err(self.end_with(alert, Report::AtOnce))
            }
            _ => Ok(()),
        }
    }

    fn awaited(&self) -> Awaited {
        match &self.origin {
            Origin::Server(config) if !self.answered => {
                Awaited::ClientBeforeServerHello { max_early_data: config.max_early_data_size }
            }
            Origin::Server(_) => Awaited::Client,
            Origin::Client(..) => Awaited::Server,
        }
    }

    /// Takes up a packet that is parked or had no job. Once a call, at its beginning: a packet that parks later in the
    /// same call has just begun to wait.
    pub(super) fn take_up(&mut self) -> Result<(), SslError> {
        // A failed state stands in while the job runs: if it panics, the session is over.
        let packet = match mem::replace(&mut self.state, State::Failed(SslError::Panicked)) {
            State::Idle(tls) => {
                self.state = State::Idle(tls);
                None
            }
            State::Parked(job) => {
                // Before the resume, or a wake that comes during it would be lost.
                self.wait_ctx.drain_notify();
                Some(self.run(|_| Packet::from(job.resume())))
            }
            State::Unstarted(work) => Some(self.run(|this| this.begin(work))),
            State::SendingAlert(mut alert, report) => {
                if alert.send(self.id, &mut self.io, &mut self.ahead) {
                    self.state = State::Failed(alert.error.clone());
                    return Err(alert.error);
                }
                let error = alert.error.clone();
                self.state = State::SendingAlert(alert, report);
                return if report == Report::WhenSent { Ok(()) } else { Err(error) };
            }
            State::Failed(error) => {
                self.state = State::Failed(error.clone());
                return Err(error);
            }
        };
        packet.map_or(Ok(()), |packet| self.settle(packet))
    }

    /// The connection, or what to wait for until it is back.
    pub(super) fn here(&mut self) -> Result<Here<'_>, SslError> {
        self.watch_peer()?;
        match &mut self.state {
            State::Idle(tls) => Ok(Here::Tls(tls)),
            State::Parked(_) => Ok(Here::WantAsync),
            State::Unstarted(_) => Ok(Here::WantAsyncJob),
            State::SendingAlert(..) => Ok(Here::WantWrite),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Runs a packet. Should a hook in it panic, the peer is told before the panic goes on to the caller (law L10).
    fn run(&mut self, step: impl FnOnce(&Self) -> Packet) -> Packet {
        catch_unwind(AssertUnwindSafe(|| step(self))).unwrap_or_else(|panic| {
            let alert = FinalAlert::new(self.alert_in_the_clear(), SslError::Panicked);
            self.end_with(alert, Report::AtOnce);
            resume_unwind(panic)
        })
    }

    fn begin(&self, work: Work) -> Packet {
        if self.async_mode {
            packet::begin(work, &self.pool, &self.wait_ctx)
        } else {
            Packet::Done(work())
        }
    }

    fn settle(&mut self, packet: Packet) -> Result<(), SslError> {
        match packet {
            Packet::Parked(job) => {
                tracing::trace!(ssl = self.id.0, job = %job.id(), "ssl.parked");
                self.state = State::Parked(job);
            }
            Packet::Unstarted(work) => self.state = State::Unstarted(work),
            Packet::Done(Ok(mut back)) => {
                if !self.established {
                    self.is_early_accepted = back.tls.is_early_data_accepted();
                    back.tls.take_early(self.early.end());
                }
                self.ahead.unread(back.unprocessed);
                if back.closed {
                    self.ahead.close_by_tls();
                }
                self.established |= !back.tls.is_handshaking();
                self.state = State::Idle(back.tls);
            }
            Packet::Done(Err(broken)) => self.broke(broken)?,
        }
        Ok(())
    }

    /// A packet has broken the connection.
    fn broke(&mut self, mut broken: Broken) -> Result<(), SslError> {
        if !self.established {
            return match self.end_with(broken.into_alert(), Report::WhenSent) {
                error if matches!(self.state, State::Failed(_)) => Err(error),
                _told_later => Ok(()),
            };
        }
        if let Remains::Connection(tls) = &mut broken.remains
            && tls.has_plaintext()
        {
            // Good data came before the bad: it is read first.
            let _unsent = tls.flush(&mut self.io);
            let Broken { error, remains: Remains::Connection(tls) } = broken else {
                unreachable!()
            };
            self.broken_by = Some(SslError::Tls(error));
            self.state = State::Idle(tls);
            return Ok(());
        }
        Err(self.end_with(broken.into_alert(), Report::AtOnce))
    }

    /// Ends the session; a parked packet is cancelled. What the connection had to say is sent, now and by later calls.
    pub(super) fn fail(&mut self, error: SslError) -> SslError {
        let bytes = match &mut self.state {
            State::Idle(tls) => tls.take_output(),
            _ => Vec::new(),
        };
        self.end_with(FinalAlert::new(bytes, error), Report::AtOnce)
    }

    /// Ends the session, a parked packet with it, and tells the peer.
    pub(super) fn give_up(&mut self, error: SslError) -> SslError {
        let bytes = match mem::replace(&mut self.state, State::Failed(SslError::Panicked)) {
            State::Failed(error) => {
                self.state = State::Failed(error.clone());
                return error;
            }
            State::SendingAlert(alert, _) => return self.end_with(alert, Report::AtOnce),
            State::Idle(tls) => give_up(tls),
            State::Parked(job) => match job.cancel() {
                // As the engine's answer that the operation was cancelled: the packet knows what the peer takes.
                Some(Err(broken)) => broken.into_alert().into_bytes(),
                Some(Ok(back)) => give_up(back.tls),
                None => self.alert_in_the_clear(),
            },
            State::Unstarted(_) => self.alert_in_the_clear(),
        };
        self.end_with(FinalAlert::new(bytes, error), Report::AtOnce)
    }

    /// What tells the peer that something failed on this side, when the connection is lost; if a record in the clear is
    /// what it takes (law L15).
    fn alert_in_the_clear(&self) -> Vec<u8> {
        if self.in_the_clear { rustls23::INTERNAL_ERROR.to_vec() } else { Vec::new() }
    }

    /// Ends the session and tells the peer, as far as the transport takes it now.
    fn end_with(&mut self, mut alert: FinalAlert, report: Report) -> SslError {
        tracing::debug!(ssl = self.id.0, error = %alert.error, "ssl.failed");
        let error = alert.error.clone();
        if alert.send(self.id, &mut self.io, &mut self.ahead) {
            self.state = State::Failed(error.clone());
        } else {
            self.state = State::SendingAlert(alert, report);
        }
        error
    }

    /// Reads once and processes it. False if the transport has nothing now.
    pub(super) fn fill_and_process(&mut self) -> Result<bool, SslError> {
        let State::Idle(tls) = &mut self.state else { return Ok(true) };
        let mut records = None;
        if tls.is_handshaking() {
            match self.ahead.next(&mut self.io) {
                Ok(Next::Records(bytes)) => records = Some(bytes),
                Ok(Next::End(error)) => {
                    let error = self.unsendable.take().unwrap_or(error);
                    return Err(self.fail(error));
                }
                // Only a transport that would block is an error here.
                Err(_would_block) => match self.unsendable.take() {
                    Some(error) => return Err(self.fail(error)),
                    None => return Ok(false),
                },
            }
        } else {
            let read = tls.fill(&mut self.ahead.established(&mut self.io));
            match read {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
                Err(error) => return Err(self.fail(error.into())),
            }
        }
        if let State::Idle(tls) = mem::replace(&mut self.state, State::Failed(SslError::Panicked)) {
            // What a client's packet has made of the keys is not known until it is back.
            let is_server = matches!(self.origin, Origin::Server(_));
            self.in_the_clear = is_server && tls.speaks_in_the_clear();
            let exchange = self.exchange.clone();
            let packet = match records {
                Some(records) => {
                    let due = tls.due(&records);
                    let work = packet::process(tls, records, exchange);
                    // Part of a message reaches no hook, and is not worth a job.
                    match due {
                        Due::Packet => self.run(|this| this.begin(work)),
                        Due::Fragment | Due::Nothing => Packet::Done(work()),
                    }
                }
                None => {
                    let work = packet::process_data(tls, exchange);
                    self.run(|this| this.begin(work))
                }
            };
            self.settle(packet)?;
        }
        Ok(true)
    }

    /// Sends what the connection has to send. False if the transport takes no more now.
    ///
    /// A transport that takes nothing any more may still hold what the peer has said, an alert perhaps. So in a handshake
    /// its error waits until that is read.
    pub(super) fn flush_here(&mut self) -> Result<bool, SslError> {
        let State::Idle(tls) = &mut self.state else { return Ok(true) };
        let handshaking = tls.is_handshaking();
        self.answered |= tls.wants_write() && !tls.awaits_second_hello();
        if let Some(error) = self.unsendable.take_if(|_| !handshaking) {
            return Err(self.fail(error));
        }
        if self.unsendable.is_some() {
            return Ok(true);
        }
        match tls.flush(&mut self.io) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if handshaking => {
                self.unsendable = Some(error.into());
                Ok(true)
            }
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// As [`flush_here`](Self::flush_here), before a read: a transport that takes nothing any more does not keep what the
    /// peer has sent from being read.
    pub(super) fn flush_before_read(&mut self) -> Result<(), SslError> {
        match &mut self.state {
            State::Idle(tls) if !tls.is_handshaking() => {
                // The next write meets the same error.
                let _written = tls.flush(&mut self.io);
                Ok(())
            }
            _ => self.flush_here().map(drop),
        }
    }
}

/// What a connection that is given up says to its peer, what it had to say before included.
fn give_up(mut tls: Tls) -> Vec<u8> {
    tls.give_up();
    tls.take_output()
}
