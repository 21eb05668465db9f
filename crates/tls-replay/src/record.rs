//! What rustls asked in the first pass of a handshake, with the answers, to be given again in the next pass.

use core::any::Any;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;
use rustls::{Error, NamedGroup, SignatureScheme};
use zeroize::Zeroizing;

use crate::message::Message;
use crate::plant::is_armed;
use crate::question::{Question, Reply};
use crate::secret::{SecretBuffer, Span};
use crate::started::StartedExchange;

/// The answer to one question. Bytes lie in the record's buffer.
pub(crate) enum Recorded {
    Random(Span),
    Certificate(Option<Arc<CertifiedKey>>),
    Time(Option<UnixTime>),
    /// The plaintext of a ticket, or a stored session.
    Resumption(Option<Span>),
    /// A ticket sealed for the client.
    Sealed(Option<Box<[u8]>>),
    Exchanged {
        group: NamedGroup,
        public: Span,
        secret: Span,
    },
    /// A key exchange of TLS 1.2, which is completed after the server's flight.
    Started(Box<StartedExchange>),
    ExchangeFailed(Box<Error>),
}

// Each parked handshake has room for four.
const _: () = assert!(size_of::<Recorded>() <= 24);

/// A question that was not answered at once.
enum Open {
    Signature { scheme: SignatureScheme, message: Message },
    KeyExchange { group: NamedGroup, peer_share: Box<[u8]> },
    KeyExchangeStart(NamedGroup),
    Seal(Span),
    Ticket(Box<[u8]>),
    StoredSession(Box<[u8]>),
    Certificate,
}

/// What a hook or a key attached to its question.
pub(crate) enum Context {
    Hook(Box<dyn Any + Send>),
    Key(Arc<dyn Any + Send + Sync>),
    /// A hook would wait inside the one that was asked.
    GivenUp,
}

/// Why a pass gets no more answers. Its connection is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A question is open.
    Asked,
    /// The key signs at once, so the handshake can run for real.
    LocalKey,
    /// A hook would wait inside the one that was asked.
    HookInHook,
    Differs(&'static str),
}

/// One line of a key log.
pub(crate) struct LoggedSecret {
    pub(crate) label: String,
    pub(crate) client_random: Vec<u8>,
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

/// How to answer a question of rustls's.
pub(crate) enum Next<T> {
    /// No pass is under way: ask the hook and record nothing.
    Live,
    /// As in the pass before.
    Replayed(T),
    /// The question is new: ask the hook and record its answer.
    New,
    /// Fail: the connection is thrown away.
    Stopped,
}

/// How many tickets or stored sessions of one handshake may be postponed; the others are refused unopened. Each costs an
/// operation and a pass, and a client may offer hundreds.
const MAX_POSTPONED_TICKETS: u8 = 4;

/// The answers of one handshake.
#[derive(Default)]
pub(crate) struct Record {
    bytes: SecretBuffer,
    answers: Vec<Recorded>,
    /// Index of the answer to the next question of this pass.
    next: usize,
    pub(crate) stop: Option<Stop>,
    open: Option<Open>,
    context: Option<Context>,
    signature: Option<Vec<u8>>,
    /// The chosen certificate has a key whose signatures are postponed.
    pub(crate) key_postpones: bool,
    /// A rehearsal has found that the key signs at once.
    pub(crate) key_is_local: bool,
    postponed_tickets: u8,
    /// A HelloRetryRequest was sent.
    pub(crate) has_retried: bool,
    /// Something waits after the server's flight.
    pub(crate) waits_later: bool,
    pub(crate) key_log: Vec<LoggedSecret>,
}

impl Record {
    /// The next recorded answer, if `replay` accepts it as one to the question asked.
    pub(crate) fn next<T>(
        &mut self,
        replay: impl FnOnce(&mut Recorded, &SecretBuffer) -> Option<T>,
    ) -> Next<T> {
        if self.stop.is_some() {
            return Next::Stopped;
        }
        let Some(answer) = self.answers.get_mut(self.next) else {
            if self.signature.is_none() {
                return Next::New;
            }
            self.stop = Some(Stop::Differs("it asks more"));
            return Next::Stopped;
        };
        let Some(replayed) = replay(answer, &self.bytes) else {
            self.stop = Some(Stop::Differs("it asks something else"));
            return Next::Stopped;
        };
        self.next += 1;
        Next::Replayed(replayed)
    }

    /// Records the answer to a new question.
    pub(crate) fn push(&mut self, answer: Recorded) {
        self.answers.push(answer);
        self.next = self.answers.len();
    }

    pub(crate) fn push_random(&mut self, bytes: &[u8]) {
        let span = self.bytes.append(bytes);
        self.push(Recorded::Random(span));
    }

    pub(crate) fn push_resumption(&mut self, plain: Option<&[u8]>) {
        let span = plain.map(|plain| self.bytes.append(plain));
        self.push(Recorded::Resumption(span));
    }

    pub(crate) fn push_sealed(&mut self, ticket: Option<&[u8]>) {
        self.push(Recorded::Sealed(ticket.map(Into::into)));
    }

    pub(crate) fn push_exchanged(&mut self, group: NamedGroup, public: &[u8], secret: &[u8]) {
        let (public, secret) = (self.bytes.append(public), self.bytes.append(secret));
        self.push(Recorded::Exchanged { group, public, secret });
    }

    /// Whether this pass has asked for a key exchange of TLS 1.3: from there on the handshake cannot ask the client for
    /// another hello.
    pub(crate) fn has_exchanged(&self) -> bool {
        self.answers[..self.next].iter().any(|answer| matches!(answer, Recorded::Exchanged { .. }))
    }

    fn ask(&mut self, open: Open, context: Option<Context>) {
        let stop = match context {
            Some(Context::GivenUp) => Stop::HookInHook,
            _ => Stop::Asked,
        };
        (self.open, self.context, self.stop) = (Some(open), context, Some(stop));
    }

    pub(crate) fn ask_certificate(&mut self, context: Context) {
        self.ask(Open::Certificate, Some(context));
    }

    pub(crate) fn ask_key_exchange(
        &mut self,
        group: NamedGroup,
        peer_share: &[u8],
        context: Context,
    ) {
        self.ask(Open::KeyExchange { group, peer_share: peer_share.into() }, Some(context));
    }

    pub(crate) fn ask_key_exchange_start(&mut self, group: NamedGroup, context: Context) {
        self.waits_later = true;
        self.ask(Open::KeyExchangeStart(group), Some(context));
    }

    pub(crate) fn ask_seal(&mut self, plain: &[u8], context: Context) {
        let plain = self.bytes.append(plain);
        self.ask(Open::Seal(plain), Some(context));
    }

    pub(crate) fn ask_ticket(&mut self, sealed: &[u8], context: Context) {
        self.ask(Open::Ticket(sealed.into()), Some(context));
    }

    pub(crate) fn ask_stored_session(&mut self, id: &[u8], context: Context) {
        self.ask(Open::StoredSession(id.into()), Some(context));
    }

    /// Whether one more ticket may be postponed. Where the client cannot be served in another way, none is given up.
    pub(crate) fn may_postpone_ticket(&self, context: &Context) -> bool {
        self.postponed_tickets < MAX_POSTPONED_TICKETS
            && !(self.has_retried && matches!(context, Context::GivenUp))
    }

    /// The signature for `message`, if there is one and it was made for exactly this; otherwise the pass stops.
    pub(crate) fn sign(
        &mut self,
        scheme: SignatureScheme,
        message: &[u8],
        context: Option<&Arc<dyn Any + Send + Sync>>,
    ) -> Option<Vec<u8>> {
        if self.stop.is_some() {
            return None;
        }
        let Some(signature) = self.signature.take() else {
            let message = Message::from(message);
            self.ask(Open::Signature { scheme, message }, context.cloned().map(Context::Key));
            return None;
        };
        let same = self.next == self.answers.len()
            && matches!(&self.open, Some(Open::Signature { scheme: asked_scheme, message: asked })
                if *asked_scheme == scheme && **asked == *message);
        if !same && !is_armed!(SkipMessageCheck) {
            self.stop = Some(Stop::Differs("it signs something else"));
            return None;
        }
        Some(signature)
    }

    /// Why this pass stopped, if it did. One that ended before it asked for the signature it had counts as well.
    pub(crate) fn why_stopped(&self) -> Option<Stop> {
        let unused = self.signature.is_some().then_some(Stop::Differs("it does not sign"));
        self.stop.or(unused)
    }

    /// Makes ready for another pass over the same bytes.
    pub(crate) fn rewind(&mut self) {
        (self.next, self.stop) = (0, None);
    }

    /// The open question.
    pub(crate) fn question(&self) -> Option<Question<'_>> {
        Some(match self.open.as_ref()? {
            Open::Signature { scheme, message } => Question::Signature { scheme: *scheme, message },
            Open::KeyExchange { group, peer_share } => {
                Question::KeyExchange { group: *group, peer_share }
            }
            Open::KeyExchangeStart(group) => Question::KeyExchangeStart { group: *group },
            Open::Seal(plain) => Question::Seal { plain: self.bytes.get(*plain) },
            Open::Ticket(sealed) => Question::Ticket { sealed },
            Open::StoredSession(id) => Question::StoredSession { id },
            Open::Certificate => Question::Certificate,
        })
    }

    pub(crate) fn context(&self) -> Option<&(dyn Any + Send)> {
        match self.context.as_ref()? {
            Context::Hook(context) => Some(&**context),
            Context::Key(context) => Some(&**context),
            Context::GivenUp => None,
        }
    }

    pub(crate) fn take_context(&mut self) -> Option<Box<dyn Any + Send>> {
        match self.context.take()? {
            Context::Hook(context) => Some(context),
            Context::Key(context) => Some(Box::new(context)),
            Context::GivenUp => None,
        }
    }

    /// Takes the reply to the open question; false if it is of another kind.
    pub(crate) fn reply(&mut self, reply: Reply) -> bool {
        match (&self.open, reply) {
            // The question stays, to be compared with what the next pass asks.
            (Some(Open::Signature { .. }), Reply::Signature(signature)) => {
                self.signature = Some(signature);
                self.context = None;
                return true;
            }
            (Some(Open::KeyExchange { .. }), Reply::KeyExchange(Ok(done))) => {
                self.push_exchanged(done.group, &done.pub_key, done.secret.secret_bytes());
            }
            (Some(Open::KeyExchangeStart(_)), Reply::KeyExchangeStart(Ok(started))) => {
                self.push(Recorded::Started(Box::new(StartedExchange::new(started))));
            }
            (Some(Open::KeyExchange { .. }), Reply::KeyExchange(Err(error)))
            | (Some(Open::KeyExchangeStart(_)), Reply::KeyExchangeStart(Err(error))) => {
                self.push(Recorded::ExchangeFailed(Box::new(error)));
            }
            (Some(Open::Seal(_)), Reply::Sealed(ticket)) => self.push_sealed(ticket.as_deref()),
            (Some(Open::Ticket(_) | Open::StoredSession(_)), Reply::Resumption(plain)) => {
                self.push_resumption(plain.map(Zeroizing::new).as_ref().map(|plain| &plain[..]));
                self.postponed_tickets += 1;
            }
            (Some(Open::Certificate), Reply::Certificate(key)) => {
                self.push(Recorded::Certificate(key));
            }
            (_, reply) => {
                reply.wipe();
                return false;
            }
        }
        (self.open, self.context) = (None, None);
        true
    }
}
