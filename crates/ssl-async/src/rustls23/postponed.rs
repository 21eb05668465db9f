//! What a hook postpones in a replay: the operation or the future that it waits for.
//!
//! rustls calls the hook in a rehearsal. There it only hands over how to begin, which happens when the handshake is parked:
//! then it is known what to wake, and that not too many handshakes are parked.

use core::future::{Future, poll_fn, ready};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use engine_core::{DeviceError, Engine, EngineError, Pending, Work};
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
pub(super) use tls_replay::{Asked, Message, Reply, give_up, is_asked, waits_later};
use tls_replay::{Question, ReplayKey, Session};
use wait_ctx::Notifier;

type Answered = Result<Reply, EngineError>;

/// An answer that a parked handshake waits for. Dropping it cancels what computes it.
pub(super) type PendingAnswer = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// A key that submits its signatures to an engine.
pub(super) trait SubmitSignature: Send + Sync {
    /// Submits a signature of `message`. It wakes through `notifier`, or the task that polls it if there is none.
    fn submit(
        &self,
        scheme: SignatureScheme,
        message: &Message,
        notifier: Option<&Notifier>,
    ) -> PendingAnswer;
}

/// The context of a [`ReplayKey`]: the key itself.
struct KeyContext(Arc<dyn SubmitSignature>);

/// The context of a hook: called when the handshake is parked, it begins what the hook waits for. That wakes through the
/// notifier, or the task that polls it if there is none.
struct HookContext(Box<Begin>);

type Begin = dyn FnOnce(Option<&Notifier>) -> PendingAnswer + Send;

/// Postpones the answer of `hook`, which [is asked](is_asked) for it and returns at once, with any value.
pub(super) fn postpone<H: ?Sized>(
    hook: &H,
    begin: impl FnOnce(Option<&Notifier>) -> PendingAnswer + Send + 'static,
) {
    let postponed = tls_replay::postpone(hook, HookContext(Box::new(begin)));
    debug_assert!(postponed.is_ok(), "the hook has asked whether it can postpone");
}

/// As [`postpone`], with the result of an operation: `reply` makes the answer of it.
pub(super) fn postpone_operation<H: ?Sized, W: Work>(
    hook: &H,
    engine: Arc<Engine<W>>,
    work: W,
    reply: impl FnOnce(Result<W::Output, EngineError>) -> Answered + Send + Unpin + 'static,
) {
    postpone(hook, move |notifier| submit(&engine, work, notifier, reply));
}

/// As [`postpone`], with the output of a future.
pub(super) fn postpone_future<H: ?Sized, F: Future + Send + 'static>(
    hook: &H,
    make: impl FnOnce() -> F + Send + 'static,
    reply: fn(F::Output) -> Reply,
) {
    postpone(hook, move |notifier| {
        let waker = notifier.map(Notifier::waker);
        let mut future = Box::pin(make());
        Box::pin(poll_fn(move |cx| {
            let output = match &waker {
                None => future.as_mut().poll(cx),
                Some(waker) => future.as_mut().poll(&mut Context::from_waker(waker)),
            };
            output.map(|output| Ok(reply(output)))
        }))
    });
}

/// Submits `work`, to wake through `notifier` or the task that polls; `reply` makes the answer of its result.
pub(super) fn submit<W: Work>(
    engine: &Engine<W>,
    work: W,
    notifier: Option<&Notifier>,
    reply: impl FnOnce(Result<W::Output, EngineError>) -> Answered + Send + Unpin + 'static,
) -> PendingAnswer {
    let submitted = match notifier {
        Some(notifier) => engine.submit_on(notifier, work),
        None => engine.submit(work),
    };
    match submitted {
        Ok(pending) => Box::pin(Answer { pending, reply: Some(reply) }),
        Err(refused) => Box::pin(ready(reply(Err(EngineError::Refused(refused.reason))))),
    }
}

/// An operation in flight. By hand, because an `async` block would hold the request twice.
struct Answer<W: Work, F> {
    pending: Pending<W>,
    reply: Option<F>,
}

impl<W, F> Future for Answer<W, F>
where
    W: Work,
    F: FnOnce(Result<W::Output, EngineError>) -> Answered + Unpin,
{
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let output = core::task::ready!(Pin::new(&mut self.pending).poll(cx));
        let reply = self.reply.take().expect("not polled again after it was ready");
        Poll::Ready(reply(output))
    }
}

/// An answer that fails: what was asked was not begun.
pub(super) fn refused(error: DeviceError) -> PendingAnswer {
    Box::pin(ready(Err(EngineError::Device(error))))
}

/// The answer of a key that does not sign in the scheme that it has chosen before.
pub(super) fn no_scheme() -> PendingAnswer {
    refused(DeviceError::Unsupported("the key has changed its schemes"))
}

/// Makes a key for rustls of `key`: in a replay the handshake's owner submits its signatures, elsewhere `key` signs.
pub(super) fn postponing<K>(key: K) -> Arc<dyn SigningKey>
where
    K: SigningKey + SubmitSignature + 'static,
{
    let key = Arc::new(key);
    let context = KeyContext(Arc::<K>::clone(&key));
    Arc::new(ReplayKey::new(key).with_context(Arc::new(context)))
}

/// Begins what a parked handshake waits for, to wake through `notifier` or the task that polls.
pub(super) fn begin(session: &mut Session, notifier: Option<&Notifier>) -> PendingAnswer {
    let key = session.context().and_then(|context| context.downcast_ref());
    if let (Some(KeyContext(key)), Some(Question::Signature { scheme, message })) =
        (key, session.question())
    {
        return key.submit(scheme, message, notifier);
    }
    match session.take_context().and_then(|context| context.downcast().ok()) {
        Some(hook) => {
            let HookContext(begin) = *hook;
            begin(notifier)
        }
        None => refused(DeviceError::Unsupported(
            "a hook that is not one of ssl_async's has postponed its answer",
        )),
    }
}
