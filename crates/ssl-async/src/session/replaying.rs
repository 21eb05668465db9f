//! A server's handshake by replay: it parks without a fiber.
//!
//! ```text
//!   Replaying -- hear --> Parked -- resume_replay --> Idle
//!     ^ |                 |  ^ +-- the next question    ^ ^
//!     +-- second hello ---+  +-----+                    | |
//!       +-- nothing waits ------------------------------+ |
//!       +-- needs a fiber: the bytes are read again ------+
//! ```

use core::task::{Context, Poll, Waker};
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::error::SslError;
use crate::packet::Packet;
use crate::rustls23::{Established, Replay, Replayed, Returned, Tls};
use crate::session::Ssl;
use crate::session::state::{Origin, Parked, Report, State, needs_fiber};

impl<S: Read + Write> Ssl<S> {
    /// Reads and processes bytes of the client's hello. Does nothing in other states.
    pub(super) fn hear(&mut self) -> Result<(), SslError> {
        while matches!(self.state, State::Replaying(_)) {
            // A transport that takes no more now does not keep the peer's bytes from being read.
            let _later_calls_send_the_rest = self.flush_output()?;
            let Some(records) = self.next_records()? else { break };
            let state = core::mem::replace(&mut self.state, State::TAKEN);
            if let State::Replaying(mut replay) = state {
                if !self.async_mode
                    && let Some(received) = replay.take_received()
                {
                    return self.go_on_without_replay([received, records].concat());
                }
                let heard = self.run(|_| replay.hear(&records));
                self.after_replay(replay, heard)?;
            }
        }
        Ok(())
    }

    /// Continues a parked handshake if its answer is available.
    pub(super) fn resume_replay(&mut self, mut replay: Box<Replay>) -> Result<(), SslError> {
        // It was asked for on the session's notifier, which wakes in place of this waker.
        let polled = self.run(|_| replay.poll_answer(&mut Context::from_waker(Waker::noop())));
        match polled {
            Poll::Ready(replayed) => self.after_replay(replay, replayed),
            Poll::Pending => {
                self.state = State::Parked(Parked::Replay(replay));
                Ok(())
            }
        }
    }

    fn after_replay(
        &mut self,
        mut replay: Box<Replay>,
        replayed: Replayed,
    ) -> Result<(), SslError> {
        match replayed {
            Replayed::NeedsPeer => {
                self.state = State::Replaying(replay);
                Ok(())
            }
            Replayed::Parked => {
                self.run(|this| replay.ask(Some(this.wait_ctx.notifier())));
                tracing::trace!(ssl = self.id.as_u64(), "ssl.parked");
                // A completion wakes only from the first poll on.
                self.resume_replay(replay)
            }
            Replayed::Established(Established { tls, unprocessed, waits_later }) => {
                self.progress.off_fibers = !waits_later;
                self.settle(Packet::Done(Ok(Returned { tls, unprocessed, closed: false })))
            }
            Replayed::NeedsFiber { received } => self.go_on_without_replay(received),
            Replayed::Refused(why) => match self.end_with(needs_fiber(why), Report::WhenSent) {
                error if matches!(self.state, State::Failed(_)) => Err(error),
                _told_later => Ok(()),
            },
            Replayed::Broken(broken) => self.broke(broken),
        }
    }

    /// Leaves a replay that has sent nothing to its client. Does nothing in other states.
    pub(super) fn leave_replay(&mut self) -> Result<(), SslError> {
        let State::Replaying(replay) = &mut self.state else { return Ok(()) };
        match replay.take_received() {
            Some(received) => self.go_on_without_replay(received),
            None => Ok(()),
        }
    }

    /// Makes the connection, which reads `received` again, on a fiber in async mode.
    fn go_on_without_replay(&mut self, received: Vec<u8>) -> Result<(), SslError> {
        let Origin::Server(config, _) = &self.origin else { return Ok(()) };
        self.ahead.unread(received);
        match Tls::server(Arc::clone(config)) {
            Ok(tls) => {
                self.state = State::Idle(tls);
                Ok(())
            }
            Err(error) => Err(self.fail(SslError::Tls(error))),
        }
    }

    /// Sends the output of a replay. False if the transport takes no more now. An error is reported once the peer's bytes
    /// were read.
    pub(super) fn flush_replay(&mut self) -> bool {
        let State::Replaying(replay) = &mut self.state else { return true };
        let output = replay.output();
        if output.is_empty() || self.progress.unsendable.is_some() {
            return true;
        }
        match send(output, &mut self.io) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.progress.unsendable = Some(Box::new(error.into()));
                true
            }
        }
    }
}

/// Sends `bytes`, and removes what the transport has taken.
fn send(bytes: &mut Vec<u8>, io: &mut impl Write) -> io::Result<()> {
    while !bytes.is_empty() {
        match io.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => drop(bytes.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    io.flush()
}
