//! The machine behind the calls: where the connection is, and how it gets back.

use core::mem;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use job_core::Job;

use crate::error::{ClosedDuring, SslError};
use crate::packet::{self, Packet, Processed, Work};
use crate::read_ahead::Peer;
use crate::rustls23::{Due, INTERNAL_ERROR, Tls};
use crate::session::{Origin, Ssl};

/// Where the connection is. The picture is in [`packet`].
pub(crate) enum State {
    /// Here.
    Idle(Tls),
    /// In a packet's job.
    Parked(Job<Processed>),
    /// In a packet that has no job yet.
    Unstarted(Work),
    /// Nowhere any more.
    Failed(SslError),
}

impl State {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Parked(_) => "parked",
            Self::Unstarted(_) => "unstarted",
            Self::Failed(_) => "failed",
        }
    }
}

/// The connection while it is here, or what the caller has to wait for.
pub(crate) enum Here<'a> {
    Tls(&'a mut Tls),
    WantAsync,
    WantAsyncJob,
}

impl<S: Read + Write> Ssl<S> {
    /// Looks after the peer while a packet is parked, without resuming it: reads at most one record ahead, and cancels
    /// the packet if the peer has closed the connection. What an event loop calls when the transport of a parked
    /// session becomes readable.
    ///
    /// # Errors
    ///
    /// [`SslError::PeerClosed`] or [`SslError::Io`]; the session is over then.
    pub fn watch_peer(&mut self) -> Result<(), SslError> {
        if !matches!(self.state, State::Parked(_) | State::Unstarted(_)) || self.peer_closed {
            return Ok(());
        }
        match self.ahead.watch(&mut self.io) {
            Ok(Peer::There) => Ok(()),
            // Its last flight may be in the packet, and data behind it: a close after those is no failure.
            Ok(Peer::Closed) if self.established || self.answered && self.is_server() => {
                self.peer_closed = true;
                Ok(())
            }
            Ok(Peer::Closed) => Err(self.fail(SslError::PeerClosed(ClosedDuring::Handshake))),
            Err(error) => Err(self.fail(error.into())),
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
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn is_server(&self) -> bool {
        matches!(self.origin, Origin::Server(_))
    }

    /// Runs a packet. Should a hook in it panic, the peer is told before the panic goes on to the caller (law L10).
    fn run(&mut self, step: impl FnOnce(&Self) -> Packet) -> Packet {
        catch_unwind(AssertUnwindSafe(|| step(self))).unwrap_or_else(|panic| {
            let told = self.tell_in_the_clear();
            self.log_unsent(told);
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
            Packet::Done(Ok(mut tls)) => {
                if !self.established {
                    self.is_early_accepted = tls.is_early_data_accepted();
                    tls.take_early(self.early.end());
                }
                self.established |= !tls.is_handshaking();
                self.state = State::Idle(tls);
            }
            Packet::Done(Err(broken)) => {
                let error = broken.dismiss(self.id, &mut self.io);
                return Err(self.fail(error));
            }
        }
        Ok(())
    }

    /// Ends the session; a parked packet is cancelled.
    pub(super) fn fail(&mut self, error: SslError) -> SslError {
        tracing::debug!(ssl = self.id.0, %error, "ssl.failed");
        self.state = State::Failed(error.clone());
        error
    }

    /// Ends the session, a parked packet with it, and tells the peer as far as the transport takes it.
    pub(super) fn give_up(&mut self, error: SslError) -> SslError {
        let told = match mem::replace(&mut self.state, State::Failed(SslError::Panicked)) {
            State::Failed(error) => {
                self.state = State::Failed(error.clone());
                return error;
            }
            State::Idle(tls) => self.part_from(tls),
            State::Parked(job) => match job.cancel() {
                // As the engine's answer that the operation was cancelled: the packet knows what the peer takes.
                Some(Err(broken)) => {
                    broken.dismiss(self.id, &mut self.io);
                    Ok(())
                }
                Some(Ok(tls)) => self.part_from(tls),
                None => self.tell_in_the_clear(),
            },
            State::Unstarted(_) => self.tell_in_the_clear(),
        };
        self.log_unsent(told);
        self.fail(error)
    }

    fn log_unsent(&self, told: io::Result<()>) {
        if let Err(unsent) = told {
            tracing::debug!(ssl = self.id.0, %unsent, "ssl.alert_unsent");
        }
    }

    fn part_from(&mut self, mut tls: Tls) -> io::Result<()> {
        tls.give_up();
        tls.flush(&mut self.io).and_then(|()| self.io.flush())
    }

    /// Tells the peer that something failed on this side, when the connection is lost; if a record in the clear is what it
    /// takes.
    fn tell_in_the_clear(&mut self) -> io::Result<()> {
        if !self.in_the_clear {
            return Ok(());
        }
        self.io.write_all(&INTERNAL_ERROR).and_then(|()| self.io.flush())
    }

    /// Reads once and processes it. False if the transport has nothing now.
    pub(super) fn fill_and_process(&mut self) -> Result<bool, SslError> {
        let State::Idle(tls) = &mut self.state else { return Ok(true) };
        let read = if !self.ahead.is_empty() {
            tls.fill(&mut self.ahead)
        } else if self.peer_closed {
            tls.fill(&mut io::empty())
        } else {
            tls.fill(&mut self.io)
        };
        let due = match read {
            Ok(0) if tls.is_handshaking() => {
                return Err(self.fail(SslError::PeerClosed(ClosedDuring::Handshake)));
            }
            Ok(n) => {
                // The end of the transport is looked at, too.
                let due = if n == 0 { Due::Packet } else { tls.due() };
                if due == Due::Nothing {
                    return Ok(true);
                }
                due
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(self.fail(error.into())),
        };
        if let State::Idle(tls) = mem::replace(&mut self.state, State::Failed(SslError::Panicked)) {
            // What a client's packet has made of the keys is not known until it is back.
            self.in_the_clear = self.is_server() && tls.speaks_in_the_clear();
            let work = packet::process(tls, self.exchange.clone());
            // Part of a message reaches no hook, and is not worth a job.
            let packet = match due {
                Due::Packet => self.run(|this| this.begin(work)),
                _ => Packet::Done(work()),
            };
            self.settle(packet)?;
        }
        Ok(true)
    }

    /// Sends what the connection has to send. False if the transport takes no more now.
    pub(super) fn flush_here(&mut self) -> Result<bool, SslError> {
        let State::Idle(tls) = &mut self.state else { return Ok(true) };
        self.answered |= tls.wants_write();
        match tls.flush(&mut self.io) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(self.fail(error.into())),
        }
    }
}
