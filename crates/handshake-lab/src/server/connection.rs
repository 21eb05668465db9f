//! One connection: its TLS session and what it is doing.

use std::{
    io::{self, Read, Write},
    os::fd::{AsRawFd as _, BorrowedFd},
    rc::Rc,
    time::Duration,
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use ssl_async::{Outcome, Ssl, SslError};

use super::{
    page::{Conversation, ConversationEnd, ready},
    phase::{Cause, Milestone, Phase, SessionProgress},
    service::{LiveCounters, Service},
    session::Session,
};

/// A connection of a worker over the transport `T`.
#[derive(Debug)]
pub(crate) struct Connection<T> {
    ssl: Ssl<T>,
    service: Service,
    /// The poller that is to watch the session's own descriptor, until it does.
    watch: Option<FdWatch>,
    stage: ConnectionStage,
    draining: bool,
}

/// A poller that watches a session's own descriptor from the first time that it parks.
#[derive(Debug)]
pub(crate) struct FdWatch {
    pub(crate) registry: Rc<Registry>,
    pub(crate) token: Token,
}

impl FdWatch {
    fn begin(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&fd.as_raw_fd()), self.token, Interest::READABLE)
    }
}

#[derive(Debug)]
enum ConnectionStage {
    Handshake,
    Page(Conversation),
    /// Saying goodbye.
    Closing(ConversationEnd),
    /// Reading on, after the goodbye, until the peer is done; the bytes read.
    Lingering(usize),
}

/// The most bytes that are read after our `close_notify` from a peer that still sends.
const LONGEST_GOODBYE: usize = 1024 * 1024;

impl<T: Read + Write> Connection<T> {
    pub(crate) fn new(ssl: Ssl<T>, service: Service, watch: Option<FdWatch>) -> Self {
        Self { ssl, service, watch, stage: ConnectionStage::Handshake, draining: false }
    }
}

impl<T: Read + Write> Session for Connection<T> {
    type Failure = SslError;

    fn advance(&mut self, live: &LiveCounters) -> Result<SessionProgress, SslError> {
        loop {
            match &mut self.stage {
                ConnectionStage::Handshake => {
                    if let Err(waits) = ready(self.ssl.do_handshake()?) {
                        return Ok(waits);
                    }
                    live.handshake();
                    self.stage = match self.service {
                        Service::HandshakeOnly => {
                            ConnectionStage::Closing(ConversationEnd::Complete)
                        }
                        Service::Page { .. } => {
                            let mut page = Conversation::default();
                            if self.draining {
                                page.drain();
                            }
                            ConnectionStage::Page(page)
                        }
                    };
                }
                ConnectionStage::Page(page) => {
                    match page.advance(&mut self.ssl, &self.service, live)? {
                        Ok(end) => self.stage = ConnectionStage::Closing(end),
                        Err(waits) => return Ok(waits),
                    }
                }
                ConnectionStage::Closing(end) => {
                    if let Err(waits) = ready(self.ssl.shutdown()?) {
                        return Ok(waits);
                    }
                    if *end == ConversationEnd::Complete {
                        return Ok(SessionProgress::Ended);
                    }
                    self.stage = ConnectionStage::Lingering(0);
                }
                ConnectionStage::Lingering(read) => {
                    let mut buffer = [0; 4096];
                    match self.ssl.read(&mut buffer) {
                        Ok(Outcome::Ready(n)) if n > 0 && *read < LONGEST_GOODBYE => *read += n,
                        // However the peer ends, everything has been said.
                        Ok(Outcome::Ready(_)) | Err(_) => return Ok(SessionProgress::Ended),
                        Ok(Outcome::WantAsyncJob) => return Ok(SessionProgress::WaitsForJob),
                        Ok(_) => return Ok(SessionProgress::Waits),
                    }
                }
            }
        }
    }

    fn parked(&mut self) -> Result<(), SslError> {
        if let Some(watch) = self.watch.take() {
            watch.begin(self.ssl.wait_ctx().notify_fd()?)?;
        }
        Ok(())
    }

    fn is_parked(&self) -> bool {
        self.ssl.waiting_for_async()
    }

    fn watch_peer(&mut self) -> Result<(), SslError> {
        self.ssl.watch_peer()
    }

    fn time_out(&mut self, limit: Duration) -> bool {
        match &mut self.stage {
            ConnectionStage::Handshake => {
                let _timed_out = self.ssl.time_out(limit);
                false
            }
            ConnectionStage::Page(page) => {
                if !page.time_out() {
                    self.stage = ConnectionStage::Closing(ConversationEnd::Complete);
                }
                true
            }
            ConnectionStage::Closing(_) | ConnectionStage::Lingering(_) => false,
        }
    }

    fn milestone(&self) -> Milestone {
        if !matches!(self.stage, ConnectionStage::Handshake) {
            return Milestone::Established;
        }
        match self.ssl.connection() {
            // It is inside a packet.
            None => Milestone::Signing,
            Some(tls) if tls.negotiated_cipher_suite().is_some() => Milestone::Answered,
            Some(_) => Milestone::Accepted,
        }
    }

    fn phase(&self) -> Phase {
        match &self.stage {
            ConnectionStage::Handshake => Phase::Handshake,
            ConnectionStage::Page(page) => page.phase(),
            ConnectionStage::Closing(_) | ConnectionStage::Lingering(_) => Phase::Closing,
        }
    }

    fn drain(&mut self) -> bool {
        self.draining = true;
        if let ConnectionStage::Page(page) = &mut self.stage
            && page.drain()
        {
            self.stage = ConnectionStage::Closing(ConversationEnd::Complete);
            return true;
        }
        false
    }

    fn id(&self) -> Option<u64> {
        Some(self.ssl.id().as_u64())
    }

    fn has_hung_up(failure: &SslError) -> bool {
        match failure {
            SslError::PeerClosed(_) => true,
            SslError::Io(error) => is_hang_up(error),
            _ => false,
        }
    }

    fn cause(failure: &SslError) -> Cause {
        match failure {
            failure if Self::has_hung_up(failure) => Cause::HungUp,
            SslError::Tls(_) => Cause::Tls,
            SslError::Failed(_) => Cause::Key,
            SslError::TimedOut(_) => Cause::TimedOut,
            _ => Cause::Other,
        }
    }
}

/// Whether an error of the transport means that the peer went away.
fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
}
