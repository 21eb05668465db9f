//! One connection: its TLS session and what it is doing.

use mio::net::TcpStream;
use ssl_async::{Outcome, Ssl, SslError};

use super::{
    http::{self, Parsed, Request, Status},
    service::{LiveCounters, Service},
    tally::SessionTally,
};

/// A connection of a worker.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ssl: Ssl<TcpStream>,
    pub(super) tally: SessionTally,
    /// Whether its first bytes have come.
    pub(super) begun: bool,
    stage: Stage,
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

/// What a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It waits for its socket or, if the session is parked, for its wake.
    Waits,
    /// It waits for a job: the pool is at its maximum.
    WaitsForJob,
    /// It has ended in good order.
    Ended,
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

impl Connection {
    pub(super) fn new(ssl: Ssl<TcpStream>) -> Self {
        Self { ssl, tally: SessionTally::default(), begun: false, stage: Stage::Handshake }
    }

    /// Goes on as far as it can: until the socket would block, the session parks, or the connection has ended.
    pub(super) fn advance(
        &mut self,
        service: &Service,
        live: &LiveCounters,
    ) -> Result<Progress, SslError> {
        loop {
            match &mut self.stage {
                Stage::Handshake => {
                    ready!(self.ssl.do_handshake());
                    live.handshake();
                    self.stage = match service {
                        Service::HandshakeOnly => Stage::Closing,
                        Service::Page { .. } => Stage::Page(Page::default()),
                    };
                }
                Stage::Page(page) => {
                    if let Some(waits) = page.advance(&mut self.ssl, service, live)? {
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

    /// Whether the handshake is done.
    pub(super) const fn established(&self) -> bool {
        !matches!(self.stage, Stage::Handshake)
    }

    /// Ends the conversation if it is between two requests; says whether it was.
    pub(super) fn close_if_idle(&mut self) -> bool {
        if let Stage::Page(page) = &self.stage
            && page.received.is_empty()
            && page.sent == page.response.len()
        {
            self.stage = Stage::Closing;
            return true;
        }
        false
    }
}

impl Page {
    /// Answers requests until the conversation is over (`None`) or has to wait.
    fn advance(
        &mut self,
        ssl: &mut Ssl<TcpStream>,
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
fn page(ssl: &Ssl<TcpStream>, service: &Service, live: &LiveCounters) -> String {
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
