//! Server handshakes that are parked by replay: their configurations, and the signatures that they wait for.
//!
//! ```text
//!   start --> hear --NeedsPeer--> hear --Parked--> submit, poll_signature --Established--> Tls
//!              |                                         |
//!              +--------- NeedsFiber: the bytes ---------+--> Broken: the alert
//! ```

use core::cell::Cell;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::{Arc, Mutex, PoisonError};

use engine_core::{DeviceError, Engine, EngineError, Pending, Work};
use rustls::crypto::CryptoProvider;
use rustls::sign::SigningKey;
use rustls::{Error, ServerConfig, SignatureScheme};
use tls_replay::{
    NotReplayable, Question, ReplayConfig, ReplayError, ReplayKey, Reply, Session, SessionOptions,
    SessionStage,
};
use wait_ctx::Notifier;

use crate::records::INTERNAL_ERROR;
use crate::rustls23::connection::{Broken, FinalOutput, Tls};
use crate::rustls23::engine_error::wrap;
use crate::rustls23::{failure_alert, no_certificate};

/// A signature in flight. Dropping it cancels the request.
pub(crate) type PendingSignature =
    Pin<Box<dyn Future<Output = Result<Vec<u8>, EngineError>> + Send>>;

/// A key that submits its signatures to an engine.
pub(super) trait SubmitSignature: Send + Sync {
    /// Submits a signature of `message`. It wakes through `notifier`, or the task that polls it if there is none.
    fn submit(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        notifier: Option<&Notifier>,
    ) -> Result<PendingSignature, EngineError>;
}

/// The context of a [`ReplayKey`]: the key itself.
struct KeyContext(Arc<dyn SubmitSignature>);

/// Submits `work`, to wake through `notifier` or the task that polls.
pub(super) fn submit<W: Work>(
    engine: &Engine<W>,
    work: W,
    notifier: Option<&Notifier>,
) -> Result<Pending<W>, EngineError> {
    match notifier {
        Some(notifier) => engine.submit_on(notifier, work),
        None => engine.submit(work),
    }
    .map_err(|refused| EngineError::Refused(refused.reason))
}

/// The error of a key that does not sign in the scheme that it has chosen before.
pub(super) const NO_SCHEME: EngineError =
    EngineError::Device(DeviceError::Unsupported("the key has changed its schemes"));

/// Makes a key for rustls of `key`: in a replay the handshake's owner submits its signatures, elsewhere `key` signs.
pub(super) fn postponing<K>(key: K) -> Arc<dyn SigningKey>
where
    K: SigningKey + SubmitSignature + 'static,
{
    let key = Arc::new(key);
    let context = KeyContext(Arc::<K>::clone(&key));
    Arc::new(ReplayKey::new(key).with_context(Arc::new(context)))
}

/// What a hook of this crate hands to [`tls_replay::postpone`] when it has to wait: it needs a fiber.
struct OnFiber(&'static str);

/// Called by a hook that is about to wait: true if it is asked in a replay and must return at once, with any answer. The
/// handshake then begins again on a fiber.
pub(super) fn needs_fiber(why: &'static str) -> bool {
    tls_replay::postpone(OnFiber(why)).is_ok()
}

thread_local! {
    static WAITS_LATER: Cell<bool> = const { Cell::new(false) };
}

/// Called by a part of a configuration that waits only after the server's flight: the rest of the handshake needs a fiber.
pub(super) fn waits_later() {
    WAITS_LATER.set(true);
}

/// Runs `work`, and returns whether it reached [`waits_later`].
fn finds_later_waits<T>(work: impl FnOnce() -> T) -> (T, bool) {
    let outer = WAITS_LATER.replace(false);
    let done = work();
    (done, WAITS_LATER.replace(outer))
}

/// A configuration whose handshakes can be parked by replay.
#[derive(Clone, Debug)]
pub(crate) struct Replayable {
    config: ReplayConfig,
    ticketer_waits: bool,
}

impl Replayable {
    /// Wraps the hooks of `config`.
    ///
    /// # Errors
    ///
    /// If its provider was not made by [`replayable`](crate::replayable).
    pub(crate) fn new(config: &ServerConfig) -> Result<Self, NotReplayable> {
        let (_, ticketer_waits) = finds_later_waits(|| config.ticketer.enabled());
        Ok(Self { config: ReplayConfig::new(config.clone())?, ticketer_waits })
    }
}

/// A server's handshake up to its flight, parked by replay while the key signs.
pub(crate) struct Replay {
    /// `None` once the handshake has left it.
    session: Option<Session>,
    signature: Option<PendingSignature>,
    output: Vec<u8>,
    /// The client was asked for another hello.
    has_retried: bool,
    waits_later: bool,
}

/// What a handshake by replay waits for, or how it ended.
pub(crate) enum Replayed {
    /// For more of the client's bytes. There may be [output](Replay::output) to send first.
    NeedsPeer,
    /// For the signature, which is not submitted yet.
    Parked,
    /// For nothing: the connection, whose output is the server's flight.
    Established(Established),
    /// The handshake needs a fiber. Nothing was sent.
    NeedsFiber {
        /// Everything that the client has sent.
        received: Vec<u8>,
        why: String,
    },
    Broken(Broken),
}

/// A connection that has made its flight.
pub(crate) struct Established {
    pub(crate) tls: Tls,
    /// Bytes received after those that it has processed.
    pub(crate) unprocessed: Vec<u8>,
}

impl Replay {
    pub(crate) fn new(config: &Replayable) -> Self {
        Self {
            session: Some(Session::new(config.config.clone(), SessionOptions::default())),
            signature: None,
            output: Vec::new(),
            has_retried: false,
            waits_later: config.ticketer_waits,
        }
    }

    /// The bytes to send before the client's next bytes are processed. The caller removes those that it has sent.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether a hook may wait in the rest of the handshake, as far as is known now.
    pub(crate) fn waits_later(&self) -> bool {
        self.waits_later
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

    /// Submits the signature of a parked handshake, to wake through `notifier` or the task that polls.
    ///
    /// # Errors
    ///
    /// The engine's refusal. The handshake is over, with the alert `internal_error`.
    pub(crate) fn submit(&mut self, notifier: Option<&Notifier>) -> Result<(), Broken> {
        let session = self.session();
        let context = session.context().and_then(|context| context.downcast_ref());
        let submitted = match (context, session.question()) {
            (Some(KeyContext(key)), Some(Question::Signature { scheme, message })) => {
                key.submit(scheme, message, notifier).map_err(wrap)
            }
            _ => Err(Error::General(NO_ENGINE.into())),
        };
        self.signature = Some(submitted.map_err(failed)?);
        Ok(())
    }

    /// Continues with the signature when it is available.
    pub(crate) fn poll_signature(&mut self, cx: &mut Context<'_>) -> Poll<Replayed> {
        let signature = self.signature.as_mut().expect("the signature was submitted");
        let signed = ready!(signature.as_mut().poll(cx));
        self.signature = None;
        Poll::Ready(match signed {
            Ok(signature) => self.step(|session, output| session.resume(signature, output)),
            Err(error) => Replayed::Broken(failed(wrap(error))),
        })
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect(HAS_SESSION)
    }

    fn take_session(&mut self) -> Session {
        self.session.take().expect(HAS_SESSION)
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut Session, &mut Vec<u8>) -> Result<SessionStage, ReplayError>,
    ) -> Replayed {
        let session = self.session.as_mut().expect(HAS_SESSION);
        let (stage, waits) = finds_later_waits(|| step(session, &mut self.output));
        self.waits_later |= waits;
        match stage {
            Ok(SessionStage::NeedsPeer) => {
                self.has_retried |= !self.output.is_empty();
                Replayed::NeedsPeer
            }
            Ok(SessionStage::Parked) => self.parked(),
            Ok(_) => self.established(),
            Err(ReplayError::NotReplayable(why)) => self.needs_fiber(why.to_string()),
            // An alert is queued, which rustls would not send yet.
            Err(why @ ReplayError::TooLong) if !self.has_retried => {
                self.output.clear();
                self.needs_fiber(why.to_string())
            }
            Err(error) => Replayed::Broken(self.broken(error)),
        }
    }

    /// Distinguishes a hook that needs a fiber from a signature to wait for.
    fn parked(&mut self) -> Replayed {
        let context = self.session().context().and_then(|context| context.downcast_ref());
        let Some(&OnFiber(why)) = context else { return Replayed::Parked };
        if !self.has_retried {
            return self.needs_fiber(why.to_owned());
        }
        // There is no way back from the second hello. A ticket that is not opened leads to a full handshake; nothing else
        // has an answer.
        match self.session().question() {
            Some(Question::Ticket { .. } | Question::StoredSession { .. }) => {
                self.step(|session, output| session.resume(Reply::Resumption(None), output))
            }
            _ => Replayed::Broken(failed(Error::General(why.to_owned()))),
        }
    }

    fn needs_fiber(&mut self, why: String) -> Replayed {
        match self.take_session().into_received() {
            Some(received) => Replayed::NeedsFiber { received, why },
            None => Replayed::Broken(failed(Error::General(why))),
        }
    }

    fn established(&mut self) -> Replayed {
        let Some((connection, unprocessed)) = self.take_session().into_connection() else {
            return Replayed::Broken(failed(Error::General(NO_CONNECTION.into())));
        };
        let tls = Tls::with_output(connection, mem::take(&mut self.output));
        Replayed::Established(Established { tls, unprocessed })
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
    pub(crate) fn of_engine(error: EngineError) -> Self {
        failed(wrap(error))
    }
}

/// A handshake that failed on this side. Its flight has not left.
fn failed(error: Error) -> Broken {
    Broken { error, output: FinalOutput::Alert(INTERNAL_ERROR.to_vec()) }
}

const HAS_SESSION: &str = "a replay has its session until it has ended";
const NO_CONNECTION: &str = "the replay ended without a connection";
const NO_ENGINE: &str = "the handshake waits for something that has no engine";

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
