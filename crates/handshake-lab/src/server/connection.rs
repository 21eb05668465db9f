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
    page::{End, Page, ready},
    phase::{Cause, Milestone, Phase, Progress},
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
    stage: Stage,
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
enum Stage {
    Handshake,
    Page(Page),
    /// Saying goodbye.
    Closing(End),
    /// Reading on, after the goodbye, until the peer is done; the bytes read.
    Lingering(usize),
}

/// The most bytes that are read after our `close_notify` from a peer that still sends.
const LONGEST_GOODBYE: usize = 1024 * 1024;

impl<T: Read + Write> Connection<T> {
    pub(crate) fn new(ssl: Ssl<T>, service: Service, watch: Option<FdWatch>) -> Self {
        Self { ssl, service, watch, stage: Stage::Handshake, draining: false }
    }
}

impl<T: Read + Write> Session for Connection<T> {
    type Failure = SslError;

    fn advance(&mut self, live: &LiveCounters) -> Result<Progress, SslError> {
        loop {
            match &mut self.stage {
                Stage::Handshake => {
                    if let Err(waits) = ready(self.ssl.do_handshake()?) {
                        return Ok(waits);
                    }
                    live.handshake();
                    self.stage = match self.service {
                        Service::HandshakeOnly => Stage::Closing(End::Complete),
                        Service::Page { .. } => {
                            let mut page = Page::default();
                            if self.draining {
                                page.drain();
                            }
                            Stage::Page(page)
                        }
                    };
                }
                Stage::Page(page) => match page.advance(&mut self.ssl, &self.service, live)? {
                    Ok(end) => self.stage = Stage::Closing(end),
                    Err(waits) => return Ok(waits),
                },
                Stage::Closing(end) => {
                    if let Err(waits) = ready(self.ssl.shutdown()?) {
                        return Ok(waits);
                    }
                    if *end == End::Complete {
                        return Ok(Progress::Ended);
                    }
                    self.stage = Stage::Lingering(0);
                }
                Stage::Lingering(read) => {
                    let mut buffer = [0; 4096];
                    match self.ssl.read(&mut buffer) {
                        Ok(Outcome::Ready(n)) if n > 0 && *read < LONGEST_GOODBYE => *read += n,
                        // However the peer ends, everything has been said.
                        Ok(Outcome::Ready(_)) | Err(_) => return Ok(Progress::Ended),
                        Ok(Outcome::WantAsyncJob) => return Ok(Progress::WaitsForJob),
                        Ok(_) => return Ok(Progress::Waits),
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
            Stage::Handshake => {
                let _timed_out = self.ssl.time_out(limit);
                false
            }
            Stage::Page(page) => {
                if !page.time_out() {
                    self.stage = Stage::Closing(End::Complete);
                }
                true
            }
            Stage::Closing(_) | Stage::Lingering(_) => false,
        }
    }

    fn milestone(&self) -> Milestone {
        if !matches!(self.stage, Stage::Handshake) {
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
            Stage::Handshake => Phase::Handshake,
            Stage::Page(page) => page.phase(),
            Stage::Closing(_) | Stage::Lingering(_) => Phase::Closing,
        }
    }

    fn drain(&mut self) -> bool {
        self.draining = true;
        if let Stage::Page(page) = &mut self.stage
            && page.drain()
        {
            self.stage = Stage::Closing(End::Complete);
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
