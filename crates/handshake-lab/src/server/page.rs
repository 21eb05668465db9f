//! A conversation over HTTP: requests of one connection, answered in their order.

use std::{
    io::{Read, Write},
    time::SystemTime,
};

use ssl_async::{Outcome, Ssl, SslError};

use super::{
    http::{self, Content, Parsed, Request, RequestTarget, Status},
    phase::{Phase, SessionProgress},
    service::{LiveCounters, Service},
};

#[derive(Debug, Default)]
pub(super) struct Conversation {
    received: Vec<u8>,
    /// Bytes of a request's body that have not been passed over yet.
    body: u64,
    response: Vec<u8>,
    sent: usize,
    /// Requests answered, or being answered.
    answers: u64,
    /// The answer being sent is the last.
    last: bool,
    /// The peer may still be sending what is not read any more.
    refused: bool,
    /// The server takes no new connection, and this one ends with its next answer.
    draining: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConversationEnd {
    /// Nothing is left to be read.
    Complete,
    /// The peer may still be sending. Closing the connection now would send it a reset, and it could lose the answer.
    PeerMaySend,
}

/// The value that is ready, or what the session waits for.
pub(super) fn ready<V>(outcome: Outcome<V>) -> Result<V, SessionProgress> {
    match outcome {
        Outcome::Ready(value) => Ok(value),
        Outcome::WantAsyncJob => Err(SessionProgress::WaitsForJob),
        Outcome::WantRead | Outcome::WantWrite | Outcome::WantAsync => Err(SessionProgress::Waits),
    }
}

impl Conversation {
    /// Answers requests until the conversation is over or has to wait.
    pub(super) fn advance<T: Read + Write>(
        &mut self,
        ssl: &mut Ssl<T>,
        service: &Service,
        live: &LiveCounters,
    ) -> Result<Result<ConversationEnd, SessionProgress>, SslError> {
        loop {
            while self.sent < self.response.len() {
                match ready(ssl.write(&self.response[self.sent..])?) {
                    Ok(taken) => self.sent += taken,
                    Err(waits) => return Ok(Err(waits)),
                }
            }
            if self.last {
                let open = self.refused || self.body > 0 || !self.received.is_empty();
                return Ok(Ok(if open {
                    ConversationEnd::PeerMaySend
                } else {
                    ConversationEnd::Complete
                }));
            }
            self.pass_over_body();
            let request = match http::parse(&self.received) {
                Parsed::Request(request, taken) if self.body == 0 => {
                    self.received.drain(..taken);
                    self.body = request.body;
                    request
                }
                Parsed::Bad(status) if self.body == 0 => {
                    self.refused = true;
                    Request::refused(status)
                }
                Parsed::Partial | Parsed::Request(..) | Parsed::Bad(_) => {
                    let mut buffer = [0; 2048];
                    match ready(ssl.read(&mut buffer)?) {
                        Ok(0) => return Ok(Ok(ConversationEnd::Complete)),
                        Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                        Err(waits) => return Ok(Err(waits)),
                    }
                    continue;
                }
            };
            live.request();
            let content = match (request.status, request.target) {
                (Status::Ok, RequestTarget::Health) => "ok\n".to_owned(),
                (Status::Ok, _) => page(ssl, service),
                _ => String::new(),
            };
            self.answer(request, content);
        }
    }

    fn pass_over_body(&mut self) {
        let here = usize::try_from(self.body).unwrap_or(usize::MAX).min(self.received.len());
        self.received.drain(..here);
        self.body -= here as u64;
    }

    fn answer(&mut self, mut request: Request, content: String) {
        if request.status == Status::Ok && request.target == RequestTarget::Metrics {
            // Metrics are on an address of their own.
            request.status = Status::NotFound;
        }
        request.keep_alive &= !self.draining;
        self.response = http::respond(&request, &Content::plain(content), SystemTime::now());
        self.sent = 0;
        self.answers += 1;
        self.last = !request.keep_alive;
    }

    /// Gives up waiting for the peer. A request that has begun is answered with that; true if there is such an answer.
    pub(super) fn time_out(&mut self) -> bool {
        let begun = !self.received.is_empty() || self.body > 0;
        if begun && self.sent == self.response.len() {
            self.answer(Request::refused(Status::RequestTimeout), String::new());
            self.refused = true;
        }
        begun
    }

    /// From now on the conversation ends with the next answer; true if it is between two requests, so that it ends now.
    pub(super) fn drain(&mut self) -> bool {
        self.draining = true;
        matches!(self.phase(), Phase::Idle(_))
    }

    pub(super) fn phase(&self) -> Phase {
        if self.sent < self.response.len() {
            Phase::Response(self.answers)
        } else if self.answers == 0 || self.body > 0 || !self.received.is_empty() {
            Phase::Request(self.answers)
        } else {
            Phase::Idle(self.answers)
        }
    }
}

/// The page: what this connection runs on. It has the same length for every connection of the same kind, as load
/// generators take another length for an error.
fn page<T: Read + Write>(ssl: &Ssl<T>, service: &Service) -> String {
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
         engine      {engine}\nprotocol    {}\ncipher      {}\n",
        protocol.map_or_else(unknown, |version| format!("{version:?}")),
        cipher.map_or_else(unknown, |suite| format!("{:?}", suite.suite())),
    )
}
