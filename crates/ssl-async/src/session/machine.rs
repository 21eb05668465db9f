//! Moves the connection between the session and its packets.
//!
//! What the peer's close means while a packet is parked is decided in [`read_ahead`](crate::read_ahead).

use core::mem;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::SslError;
use crate::final_alert::FinalAlert;
use crate::outcome::Outcome;
use crate::packet::{self, Packet, PacketStack, Work};
use crate::parking::ParkingWay;
use crate::read_ahead::{Awaited, Next, PacketAt};
use crate::records::{INTERNAL_ERROR, UNEXPECTED_MESSAGE};
use crate::rustls23::{Broken, FinalOutput, Tls};
use crate::session::Ssl;
use crate::session::state::{Origin, Parked, Report, State};

/// The value of a finished step; returns any other outcome to the caller.
macro_rules! ready {
    ($step:expr) => {
        match $step? {
            $crate::outcome::Outcome::Ready(value) => value,
            waiting => return Ok(waiting.map(|_| unreachable!("Ready is matched above"))),
        }
    };
}
pub(super) use ready;

impl<S: Read + Write> Ssl<S> {
    /// Watches the peer while a packet is parked, without resuming it: reads ahead, and cancels the packet if the peer
    /// has closed the connection so that the packet's result could reach no peer. Call it when the transport of a parked
    /// session becomes readable.
    ///
    /// A close that the peer's last flight may precede cancels nothing: the packet is finished, then the peer's bytes are
    /// processed, and then the close counts. A transport that has failed cancels in any case.
    ///
    /// # Errors
    ///
    /// [`SslError::PeerClosed`] or [`SslError::Io`]; [`SslError::Tls`] if the peer sends more than 64 KiB plus the early
    /// data it may send before it was answered. The session is over then.
    pub fn watch_peer(&mut self) -> Result<(), SslError> {
        let packet = match self.state {
            State::Parked(_) => PacketAt::Parked,
            State::Unstarted(_) => PacketAt::Waiting,
            State::Replaying(_) | State::Idle(_) | State::SendingAlert(..) | State::Failed(_) => {
                return Ok(());
            }
        };
        let awaited = self.awaited();
        self.ahead.watch(&mut self.io, awaited);
        // After the handshake nothing is cancelled: the peer's data comes first.
        match self.ahead.reason_to_cancel(awaited, packet) {
            Some(error) if !self.progress.established => {
                let before_hello = matches!(awaited, Awaited::ClientBeforeServerHello { .. });
                let alert = match error {
                    SslError::Tls(_) if before_hello => {
                        FinalAlert::new(UNEXPECTED_MESSAGE.to_vec(), error)
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
            Origin::Server(config, _) if !self.progress.answered => {
                Awaited::ClientBeforeServerHello { max_early_data: config.max_early_data_size }
            }
            Origin::Server(..) => Awaited::Client,
            Origin::Client(..) => Awaited::Server,
        }
    }

    /// Resumes a parked packet, starts one that had no job, and sends more of a final alert. Called once per call, at its
    /// beginning: a packet that parks later in the same call has just begun to wait.
    pub(super) fn resume(&mut self) -> Result<(), SslError> {
        // Before the resume: a wake that comes during it would be lost. And in every state: that of a hook's future, or of a
        // completion on another thread, may come after its packet is done.
        self.wait_ctx.drain_notify();
        // If the job panics, the session is over: it stays in this state.
        let packet = match mem::replace(&mut self.state, State::TAKEN) {
            state @ (State::Replaying(_) | State::Idle(_)) => {
                self.state = state;
                return Ok(());
            }
            State::Parked(Parked::Job(job)) => self.run(|_| Packet::from(job.resume())),
            State::Parked(Parked::Replay(replay)) => return self.resume_replay(replay),
            State::Unstarted(work) => self.run(|this| this.start(work)),
            State::SendingAlert(mut alert, report) => {
                if alert.send(self.id, &mut self.io, &mut self.ahead) {
                    self.state = State::Failed(alert.error.clone().into());
                    return Err(alert.error);
                }
                let error = alert.error.clone();
                self.state = State::SendingAlert(alert, report);
                return if report == Report::WhenSent { Ok(()) } else { Err(error) };
            }
            State::Failed(failure) => {
                let error = failure.error().clone();
                self.state = State::Failed(failure);
                return Err(error);
            }
        };
        self.settle(packet)
    }

    /// The connection, or what to wait for until the session has it back.
    pub(super) fn tls(&mut self) -> Result<Outcome<&mut Tls>, SslError> {
        self.watch_peer()?;
        match &mut self.state {
            State::Replaying(replay) => Ok(match replay.output().is_empty() {
                true => Outcome::WantRead,
                false => Outcome::WantWrite,
            }),
            State::Idle(tls) => Ok(Outcome::Ready(tls)),
            State::Parked(_) => Ok(Outcome::WantAsync),
            State::Unstarted(_) => Ok(Outcome::WantAsyncJob),
            State::SendingAlert(..) => Ok(Outcome::WantWrite),
            State::Failed(failure) => Err(failure.error().clone()),
        }
    }

    /// Runs a packet or a step of a replay. If a hook in it panics, tells the peer before the panic goes on to the caller.
    pub(super) fn run<T>(&mut self, step: impl FnOnce(&Self) -> T) -> T {
        catch_unwind(AssertUnwindSafe(|| step(self))).unwrap_or_else(|panic| {
            let alert = FinalAlert::new(self.alert_in_the_clear(), SslError::Panicked);
            self.end_with(alert, Report::AtOnce);
            resume_unwind(panic)
        })
    }

    fn start(&self, work: Work) -> Packet {
        let stack = match &self.origin {
            _ if !self.async_mode || self.progress.off_fibers => PacketStack::Caller,
            Origin::Server(_, ParkingWay::Never) => PacketStack::CallerAtOnce,
            origin if origin.excludes_fibers() => PacketStack::Caller,
            _ => PacketStack::Fiber(&self.pool, &self.wait_ctx),
        };
        packet::start(work, stack)
    }

    pub(super) fn settle(&mut self, packet: Packet) -> Result<(), SslError> {
        match packet {
            Packet::Parked(job) => {
                tracing::trace!(ssl = self.id.as_u64(), job = %job.id(), "ssl.parked");
                self.state = State::Parked(Parked::Job(job));
            }
            Packet::Unstarted(work) => self.state = State::Unstarted(work),
            Packet::Done(Ok(mut returned)) => {
                let progress = &mut self.progress;
                if !progress.established {
                    progress.is_early_accepted = returned.tls.is_early_data_accepted();
                    progress.early.append(returned.tls.take_early());
                    progress.flight_unsent = returned.tls.wants_write();
                }
                self.ahead.unread(returned.unprocessed);
                if returned.closed {
                    self.ahead.close_by_tls();
                }
                progress.established |= !returned.tls.is_handshaking();
                self.state = State::Idle(returned.tls);
            }
            Packet::Done(Err(broken)) => self.broke(broken)?,
        }
        Ok(())
    }

    /// Called when a packet has broken the connection.
    pub(super) fn broke(&mut self, mut broken: Broken) -> Result<(), SslError> {
        if !self.progress.established {
            return match self.end_with(broken.into(), Report::WhenSent) {
                error if matches!(self.state, State::Failed(_)) => Err(error),
                _told_later => Ok(()),
            };
        }
        if let FinalOutput::Connection(tls) = &mut broken.output
            && tls.has_plaintext()
        {
            // Good data came before the bad: it is read first.
            let _unsent = tls.flush(&mut self.io);
            self.progress.broken_by = Some(Box::new(SslError::Tls(broken.error)));
            if let FinalOutput::Connection(tls) = broken.output {
                self.state = State::Idle(tls);
            }
            return Ok(());
        }
        Err(self.end_with(broken.into(), Report::AtOnce))
    }

    /// Ends the session; cancels a parked packet. Sends what the connection has queued, now and in later calls.
    pub(super) fn fail(&mut self, error: SslError) -> SslError {
        let bytes = match &mut self.state {
            State::Idle(tls) => tls.take_output(),
            State::Replaying(replay) => mem::take(replay.output()),
            _ => Vec::new(),
        };
        self.end_with(FinalAlert::new(bytes, error), Report::AtOnce)
    }

    /// Ends the session, cancels a parked packet, and tells the peer that this side has failed.
    pub(super) fn give_up(&mut self, error: SslError) -> SslError {
        let bytes = match mem::replace(&mut self.state, State::TAKEN) {
            State::Failed(failure) => {
                let error = failure.error().clone();
                self.state = State::Failed(failure);
                return error;
            }
            State::SendingAlert(alert, _) => return self.end_with(*alert, Report::AtOnce),
            State::Idle(tls) => output_of_abandoned(tls),
            State::Replaying(mut replay) | State::Parked(Parked::Replay(mut replay)) => {
                let unsent = mem::take(replay.output());
                [unsent, self.alert_in_the_clear()].concat()
            }
            State::Parked(Parked::Job(job)) => match job.cancel() {
                // The packet saw its operation cancelled, and knows which alert the peer accepts.
                Some(Err(broken)) => broken.output.into_bytes(),
                Some(Ok(returned)) => output_of_abandoned(returned.tls),
                None => self.alert_in_the_clear(),
            },
            State::Unstarted(_) => self.alert_in_the_clear(),
        };
        self.end_with(FinalAlert::new(bytes, error), Report::AtOnce)
    }

    /// The alert for a failure on this side when the connection is lost; empty if the peer expects encrypted records.
    fn alert_in_the_clear(&self) -> Vec<u8> {
        if self.progress.encrypted { Vec::new() } else { INTERNAL_ERROR.to_vec() }
    }

    /// Ends the session and tells the peer, as far as the transport takes it now.
    pub(super) fn end_with(&mut self, mut alert: FinalAlert, report: Report) -> SslError {
        tracing::debug!(ssl = self.id.as_u64(), error = %alert.error, "ssl.failed");
        let error = alert.error.clone();
        self.state = match alert.send(self.id, &mut self.io, &mut self.ahead) {
            true => State::Failed(error.clone().into()),
            false => State::SendingAlert(Box::new(alert), report),
        };
        error
    }

    /// The next input of a handshake. `None` if the transport has nothing now.
    pub(super) fn next_records(&mut self) -> Result<Option<Vec<u8>>, SslError> {
        let next = self.ahead.next(&mut self.io);
        if let Ok(Next::Records(records)) = next {
            return Ok(Some(records));
        }
        let error = match (self.progress.unsendable.take(), next) {
            (Some(error), _) => *error,
            (None, Ok(Next::End(error))) => error,
            (None, _would_block) => return Ok(None),
        };
        Err(self.fail(error))
    }

    /// Reads once and processes it. False if the transport has nothing now.
    pub(super) fn fill_and_process(&mut self) -> Result<bool, SslError> {
        let State::Idle(tls) = &mut self.state else { return Ok(true) };
        let mut records = None;
        if tls.is_handshaking() {
            records = self.next_records()?;
            if records.is_none() {
                return Ok(false);
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
        if let State::Idle(tls) = mem::replace(&mut self.state, State::TAKEN) {
            // A client's packet may agree on the keys, which is not known until the packet is done.
            let is_client = matches!(self.origin, Origin::Client(..));
            self.progress.encrypted = is_client || !tls.speaks_in_the_clear();
            let exchange = self.exchange.clone();
            let work = match records {
                Some(records) => Work::records(tls, records, exchange),
                None => Work::data(tls, exchange),
            };
            let packet = self.run(|this| this.start(work));
            self.settle(packet)?;
        }
        Ok(true)
    }

    /// Sends the connection's output. False if the transport takes no more now.
    ///
    /// A transport that fails to write may still hold an alert from the peer. So during a handshake the error is reported
    /// only after that was read.
    pub(super) fn flush_output(&mut self) -> Result<bool, SslError> {
        let tls = match &mut self.state {
            State::Idle(tls) => tls,
            State::Replaying(_) => return Ok(self.flush_replay()),
            _ => return Ok(true),
        };
        let progress = &mut self.progress;
        let handshaking = tls.is_handshaking();
        progress.answered |= tls.wants_write() && !tls.awaits_second_hello();
        if let Some(error) = progress.unsendable.take_if(|_| !handshaking) {
            return Err(self.fail(*error));
        }
        if progress.unsendable.is_some() {
            return Ok(true);
        }
        match tls.flush(&mut self.io) {
            Ok(()) => {
                progress.flight_unsent = false;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if handshaking => {
                progress.unsendable = Some(Box::new(error.into()));
                Ok(true)
            }
            Err(error) => Err(self.fail(error.into())),
        }
    }

    /// As [`flush_output`](Self::flush_output), before a read: after the handshake, a failed write does not keep the
    /// peer's data from being read, and the next write meets the same error.
    pub(super) fn flush_before_read(&mut self) -> Result<bool, SslError> {
        match &mut self.state {
            State::Idle(tls) if !tls.is_handshaking() => {
                let flushed = tls.flush(&mut self.io).is_ok();
                self.progress.flight_unsent &= !flushed;
                Ok(flushed)
            }
            _ => self.flush_output(),
        }
    }
}

/// The output of a connection that is given up, queued output included.
fn output_of_abandoned(mut tls: Tls) -> Vec<u8> {
    tls.give_up();
    tls.take_output()
}
