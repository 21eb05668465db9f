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
    http::{self, Parsed, Request, Status},
    service::{LiveCounters, Service},
    session::{Milestone, Progress, Session},
};

/// A connection of a worker over the transport `T`.
#[derive(Debug)]
pub(crate) struct Connection<T> {
    ssl: Ssl<T>,
    service: Service,
    /// The poller that is to watch the session's own descriptor, until it does.
    watch: Option<Watch>,
    stage: Stage,
}

/// A poller that watches a session's own descriptor from the first time that it parks.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) registry: Rc<Registry>,
    pub(crate) token: Token,
}

impl Watch {
    fn begin(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&fd.as_raw_fd()), self.token, Interest::READABLE)
    }
}

#[derive(Debug)]
enum Stage {
    Handshake,
    Page(Page),
    /// Saying goodbye.
    Closing,
}

/// An HTTP conversation.
#[derive(Debug, Default)]
struct Page {
    received: Vec<u8>,
    response: Vec<u8>,
    sent: usize,
    last: bool,
}

/// Unwraps what is ready; for what is not, returns what the connection waits for.
macro_rules! ready {
    ($outcome:expr) => {
        match $outcome? {
            Outcome::Ready(value) => value,
            Outcome::WantAsyncJob => return Ok(Progress::WaitsForJob.into()),
            Outcome::WantRead | Outcome::WantWrite | Outcome::WantAsync => {
                return Ok(Progress::Waits.into());
            }
        }
    };
}

impl<T: Read + Write> Connection<T> {
    pub(crate) fn new(ssl: Ssl<T>, service: Service, watch: Option<Watch>) -> Self {
        Self { ssl, service, watch, stage: Stage::Handshake }
    }
}

impl<T: Read + Write> Session for Connection<T> {
    type Failure = SslError;

    fn advance(&mut self, live: &LiveCounters) -> Result<Progress, SslError> {
        loop {
            match &mut self.stage {
                Stage::Handshake => {
                    ready!(self.ssl.do_handshake());
                    live.handshake();
                    self.stage = match self.service {
                        Service::HandshakeOnly => Stage::Closing,
                        Service::Page { .. } => Stage::Page(Page::default()),
                    };
                }
                Stage::Page(page) => {
                    if let Some(waits) = page.advance(&mut self.ssl, &self.service, live)? {
                        return Ok(waits);
                    }
                    self.stage = Stage::Closing;
                }
                Stage::Closing => {
                    ready!(self.ssl.shutdown());
                    return Ok(Progress::Ended);
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

    fn time_out(&mut self, limit: Duration) {
        let _timed_out = self.ssl.time_out(limit);
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

    fn close_if_idle(&mut self) -> bool {
        if let Stage::Page(page) = &self.stage
            && page.received.is_empty()
            && page.sent == page.response.len()
        {
            self.stage = Stage::Closing;
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
}

/// Whether an error of the transport means that the peer went away.
fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
}

impl Page {
    /// Answers requests until the conversation is over (`None`) or has to wait.
    fn advance<T: Read + Write>(
        &mut self,
        ssl: &mut Ssl<T>,
        service: &Service,
        live: &LiveCounters,
    ) -> Result<Option<Progress>, SslError> {
        loop {
            while self.sent < self.response.len() {
                self.sent += ready!(ssl.write(&self.response[self.sent..]));
            }
            if self.last {
                return Ok(None);
            }
            let request = match http::parse(&self.received) {
                Parsed::Request(request, taken) => {
                    self.received.drain(..taken);
                    request
                }
                Parsed::Bad(status) => Request::refused(status),
                Parsed::Partial => {
                    let mut buffer = [0; 2048];
                    match ready!(ssl.read(&mut buffer)) {
                        0 => return Ok(None),
                        n => self.received.extend_from_slice(&buffer[..n]),
                    }
                    continue;
                }
            };
            live.request();
            let page =
                if request.status == Status::Ok { page(ssl, service, live) } else { String::new() };
            self.response = http::respond(&request, &page);
            self.sent = 0;
            self.last = !request.keep_alive;
        }
    }
}

/// The page: what this connection runs on.
fn page<T: Read + Write>(ssl: &Ssl<T>, service: &Service, live: &LiveCounters) -> String {
    let engine = match service {
        Service::HandshakeOnly => "none",
        Service::Page { engine } => engine,
    };
    let connection = ssl.connection();
    let protocol = connection.and_then(|connection| connection.protocol_version());
    let cipher = connection.and_then(|connection| connection.negotiated_cipher_suite());
    let unknown = || "unknown".to_owned();
    format!(
        "Layby: a TLS server whose handshakes park while the key is slow.\n\n\
         engine      {engine}\nprotocol    {}\ncipher      {}\nhandshakes  {} so far\n",
        protocol.map_or_else(unknown, |version| format!("{version:?}")),
        cipher.map_or_else(unknown, |suite| format!("{:?}", suite.suite())),
        live.handshakes(),
    )
}
