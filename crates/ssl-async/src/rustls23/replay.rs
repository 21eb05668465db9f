//! Server handshakes that are parked by replay.
//!
//! ```text
//!   new --> hear --NeedsPeer--> hear --Parked--> ask, poll_answer --Established--> Tls
//!             |                   ^                |   |
//!             |                   +---- NeedsPeer -+   +--Parked--> ask
//!             +--- NeedsFiber: the bytes               +--Broken--> the alert
//! ```

use core::mem;
use core::task::{Context, Poll, ready};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::Error;
use rustls::crypto::CryptoProvider;
use tls_replay::{ReplayConfig, ReplayError, Session, SessionOptions, SessionStage};
use wait_ctx::Notifier;

use crate::records::INTERNAL_ERROR;
use crate::rustls23::connection::{Broken, FinalOutput, Tls};
use crate::rustls23::engine_error::wrap;
use crate::rustls23::key_exchange::KeyExchange;
use crate::rustls23::postponed::{PendingAnswer, begin};
use crate::rustls23::{failure_alert, no_certificate};

/// A server's handshake up to its flight, parked by replay while something is computed elsewhere.
pub(crate) struct Replay {
    /// `None` once the handshake has left it.
    session: Option<Session>,
    exchange: KeyExchange,
    answer: Option<PendingAnswer>,
    output: Vec<u8>,
    /// The client was asked for another hello.
    has_retried: bool,
    /// There is no fiber for it.
    only: bool,
}

/// What a handshake by replay waits for, or how it ended.
pub(crate) enum Replayed {
    /// For more of the client's bytes. There may be [output](Replay::output) to send first.
    NeedsPeer,
    /// For an answer, to be [asked](Replay::ask) for.
    Parked,
    /// For nothing: the connection, whose output is the server's flight.
    Established(Established),
    /// The handshake needs a fiber: its hello is too long, before any hook was asked, or a hook would wait inside another
    /// one. Nothing was sent.
    NeedsFiber {
        /// Everything that the client has sent.
        received: Vec<u8>,
    },
    /// The handshake needs a fiber and may not have one, for this reason. Nothing was sent.
    Refused(Arc<str>),
    Broken(Broken),
}

/// A connection that has made its flight.
pub(crate) struct Established {
    pub(crate) tls: Tls,
    /// Bytes received after those that it has processed.
    pub(crate) unprocessed: Vec<u8>,
    /// A hook may wait in the rest of the handshake.
    pub(crate) waits_later: bool,
}

impl Replay {
    /// A handshake of which nothing has been received, whose key exchanges are those of `exchange`. With `only` there is no
    /// fiber for it.
    pub(crate) fn new(config: &ReplayConfig, only: bool, exchange: KeyExchange) -> Self {
        // As a packet on a fiber: each record behind the hello is a packet of its own.
        let options = SessionOptions { stops_at_flight: true, ..SessionOptions::default() };
        Self {
            session: Some(Session::new(config.clone(), options)),
            exchange,
            answer: None,
            output: Vec::new(),
            has_retried: false,
            only,
        }
    }

    /// The bytes to send before the client's next bytes are processed. The caller removes those that it has sent.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Ends a replay that has sent nothing, and returns everything received from its client. `None` if it has sent a
    /// HelloRetryRequest.
    pub(crate) fn take_received(&mut self) -> Option<Vec<u8>> {
        if self.has_retried {
            return None;
        }
        self.session.take()?.into_received()
    }

    /// Processes records of the client's hello. A panic of a hook passes through.
    pub(crate) fn hear(&mut self, records: &[u8]) -> Replayed {
        self.step(|session, output| session.hear(records, output))
    }

    /// Begins what a parked handshake waits for, to wake through `notifier` or the task that polls.
    pub(crate) fn ask(&mut self, notifier: Option<&Notifier>) {
        let session = self.session.as_mut().expect(HAS_SESSION);
        self.answer = Some(begin(session, notifier));
    }

    /// Continues with the answer when it is available.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Replayed> {
        let answer = self.answer.as_mut().expect("the answer was asked for");
        let answered = ready!(answer.as_mut().poll(cx));
        self.answer = None;
        Poll::Ready(match answered {
            Ok(reply) => self.step(|session, output| session.resume(reply, output)),
            Err(error) => Replayed::Broken(failed(wrap(error))),
        })
    }

    fn take_session(&mut self) -> Session {
        self.session.take().expect(HAS_SESSION)
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut Session, &mut Vec<u8>) -> Result<SessionStage, ReplayError>,
    ) -> Replayed {
        let session = self.session.as_mut().expect(HAS_SESSION);
        // What a step keeps for its hooks is its thread's, and a pause would let other sessions run there.
        let _blocked = job_core::block_pause();
        let stage = self.exchange.lend(|| step(session, &mut self.output));
        let waits_later = session.waits_later();
        match stage {
            Ok(SessionStage::Parked | SessionStage::Established) if waits_later && self.only => {
                Replayed::Refused(WAITS_LATER.into())
            }
            Ok(SessionStage::NeedsPeer) => {
                self.has_retried |= !self.output.is_empty();
                Replayed::NeedsPeer
            }
            Ok(SessionStage::Parked) => Replayed::Parked,
            Ok(_) => self.established(waits_later),
            Err(why @ (ReplayError::TooLong | ReplayError::HookInHook)) if !self.has_retried => {
                // After a long hello an alert is queued, which rustls would not send yet.
                self.output.clear();
                match self.take_session().into_received() {
                    _ if self.only => Replayed::Refused(why.to_string().into()),
                    Some(received) => Replayed::NeedsFiber { received },
                    None => Replayed::Broken(failed(Error::General(why.to_string()))),
                }
            }
            Err(error) => Replayed::Broken(self.broken(error)),
        }
    }

    fn established(&mut self, waits_later: bool) -> Replayed {
        let Some((connection, unprocessed)) = self.take_session().into_connection() else {
            return Replayed::Broken(failed(Error::General(NO_CONNECTION.into())));
        };
        let tls = Tls::with_output(connection, mem::take(&mut self.output));
        Replayed::Established(Established { tls, unprocessed, waits_later })
    }

    fn broken(&mut self, error: ReplayError) -> Broken {
        let mut session = self.take_session();
        let queued = mem::take(&mut self.output);
        let error = match error {
            ReplayError::Tls(error) => error,
            // rustls was not asked, so the alert is the session's.
            ReplayError::TooLong => {
                let output = FinalOutput::Alert(queued);
                return Broken { error: Error::General(error.to_string()), output };
            }
            error => Error::General(error.to_string()),
        };
        no_certificate::log_host(&error, session.connection().and_then(|c| c.server_name()));
        Broken { output: FinalOutput::Alert(failure_alert::of_first_flight(queued, &error)), error }
    }
}

impl Broken {
    /// A replay that ended with an engine's error. Its flight has not left.
    #[cfg(feature = "tokio")]
    pub(crate) fn of_engine(error: engine_core::EngineError) -> Self {
        failed(wrap(error))
    }
}

/// A handshake that failed on this side. Its flight has not left.
fn failed(error: Error) -> Broken {
    Broken { error, output: FinalOutput::Alert(INTERNAL_ERROR.to_vec()) }
}

const WAITS_LATER: &str = "behind the server's flight it waits for the verdict on a client's certificate, the seal of a ticket, or \
                           the key exchange of TLS 1.2";
const HAS_SESSION: &str = "a replay has its session until it has ended";
const NO_CONNECTION: &str = "the replay ended without a connection";

/// Wraps `provider` so that handshakes with it can be parked by [replay](crate::Parking). Everywhere else it behaves as
/// before.
///
/// rustls takes the parts of a provider as `&'static`, so a provider's first call leaks about a kilobyte; later calls
/// with the same parts return the same.
pub fn replayable(provider: CryptoProvider) -> CryptoProvider {
    static WRAPPED: Mutex<Vec<(CryptoProvider, CryptoProvider)>> = Mutex::new(Vec::new());
    let mut wrapped = WRAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let parts = match wrapped.iter().find(|(plain, _)| has_same_parts(plain, &provider)) {
        Some((_, parts)) => parts.clone(),
        None => {
            let parts = tls_replay::replayable(provider.clone());
            // Bounds the list in a program that makes providers at run time.
            if wrapped.len() < MAX_PROVIDERS {
                wrapped.push((provider.clone(), parts.clone()));
            }
            parts
        }
    };
    CryptoProvider {
        cipher_suites: parts.cipher_suites,
        kx_groups: parts.kx_groups,
        secure_random: parts.secure_random,
        ..provider
    }
}

const MAX_PROVIDERS: usize = 64;

/// Whether the parts that are wrapped are the same objects. Two calls may also find different vtables for one object, and
/// then it is wrapped twice.
fn has_same_parts(a: &CryptoProvider, b: &CryptoProvider) -> bool {
    let same_groups = |a: &CryptoProvider, b: &CryptoProvider| {
        a.kx_groups.len() == b.kx_groups.len()
            && a.kx_groups.iter().zip(&b.kx_groups).all(|(a, b)| same(*a, *b))
    };
    a.cipher_suites == b.cipher_suites
        && same_groups(a, b)
        && same(a.secure_random, b.secure_random)
}

/// Compares vtables too, because objects without fields may share an address.
fn same<T: ?Sized>(a: &T, b: &T) -> bool {
    core::ptr::eq(a, b)
}
