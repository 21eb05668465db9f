//! The pass that runs on this thread: the wrapped provider, hooks and keys find the record of their handshake here.
//!
//! rustls hands no context to a provider or a hook, so the record lies in a thread-local variable while rustls works,
//! and in the [`Session`](crate::Session) at all other times.

use core::any::Any;
use core::cell::{Cell, RefCell};

use crate::record::{Context, Next, Record, Recorded, Stop};
use crate::secret::SecretBuffer;

/// What the wrapped parts of a configuration do on this thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// What they wrap does: no pass is under way, or a hook runs.
    Live,
    /// A pass whose connection is thrown away: key schedule and ciphers do nothing.
    Rehearsal,
    /// A pass whose connection may become the real one.
    Real,
    /// A real pass that has its signature. Everything is live again, but the key log waits for the end of the pass.
    Delivered,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Live) };
    static RECORD: RefCell<Option<Box<Record>>> = const { RefCell::new(None) };
    static QUESTION: Cell<Option<HookCall>> = const { Cell::new(None) };
    static POSTPONED: RefCell<Option<Context>> = const { RefCell::new(None) };
    static PROBED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn mode() -> Mode {
    MODE.get()
}

/// Runs `work` as a pass over `record`. A pass inside a hook of another one is independent of it.
pub(crate) fn run<T>(
    mode: Mode,
    record: Box<Record>,
    work: impl FnOnce() -> T,
) -> (Box<Record>, T) {
    /// Restores what was before, also if `work` panics.
    struct Restore(Mode, Option<HookCall>, Option<Box<Record>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
            QUESTION.set(self.1);
            drop(RECORD.replace(self.2.take()));
        }
    }
    let restore = Restore(MODE.replace(mode), QUESTION.replace(None), RECORD.replace(Some(record)));
    let done = work();
    let record = RECORD.take().expect("a pass ends with its record");
    drop(restore);
    (record, done)
}

/// Reads or writes the record of the pass under way. `work` calls no hook.
pub(crate) fn with<T>(work: impl FnOnce(&mut Record) -> T) -> T {
    RECORD.with_borrow_mut(|record| work(record.as_mut().expect("a pass has a record")))
}

/// How to answer the question that rustls asks now.
pub(crate) fn next<T>(replay: impl FnOnce(&mut Recorded, &SecretBuffer) -> Option<T>) -> Next<T> {
    match mode() {
        Mode::Live | Mode::Delivered => Next::Live,
        Mode::Rehearsal | Mode::Real => with(|record| record.next(replay)),
    }
}

/// Ends the pass: it gets no more answers.
pub(crate) fn stop(why: Stop) {
    with(|record| {
        record.stop.get_or_insert(why);
    });
}

/// Calls a hook, outside the pass: a handshake that the hook makes itself is not recorded.
pub(crate) fn call<T>(hook: impl FnOnce() -> T) -> T {
    call_in(None, hook)
}

/// As [`call`], for `hook`, which may postpone its answer; the error is then what it handed over.
pub(crate) fn call_postponable<H: ?Sized, T>(
    asked: Asked,
    hook: &H,
    ask: impl FnOnce(&H) -> T,
) -> Result<T, Context> {
    /// Restores what was before, also if the hook panics after it has postponed.
    struct Restore(Option<Context>);
    impl Drop for Restore {
        fn drop(&mut self) {
            drop(POSTPONED.replace(self.0.take()));
        }
    }
    let restore = Restore(POSTPONED.take());
    // A group computes by itself where the client cannot be served in another way any more.
    let may_give_up = asked != Asked::KeyExchange || !with(|record| record.has_retried);
    let question = HookCall { asked, hook: place(hook), may_give_up };
    let answer = call_in(Some(question), || ask(hook));
    let postponed = POSTPONED.take();
    drop(restore);
    match postponed {
        None => Ok(answer),
        Some(context) => Err(context),
    }
}

fn call_in<T>(question: Option<HookCall>, hook: impl FnOnce() -> T) -> T {
    struct Restore(Mode, Option<HookCall>);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
            QUESTION.set(self.1);
        }
    }
    let _restore = Restore(MODE.replace(Mode::Live), QUESTION.replace(question));
    hook()
}

/// Hands over the signature of this pass; from then on everything is live.
pub(crate) fn deliver() {
    MODE.set(Mode::Delivered);
}

/// Postpones the answer of `hook`, which rustls asks now: a certificate resolver, a ticketer, a session store or a
/// key-exchange group, as far as the table [on the crate page](crate#what-can-wait) says. Its return value is ignored, the session parks, and `context` is found in
/// [`Session::context`](crate::Session::context) beside the [`Question`](crate::Question).
///
/// # Errors
///
/// Gives `context` back if the answer cannot be postponed, because the hook was not called by a
/// [`Session`](crate::Session), rustls would not wait here, or another hook called this one, whose own answer counts. The
/// hook must then answer at once. A hook that has already postponed [gives up](give_up).
///
/// # Examples
///
/// ```
/// # use rustls::server::{ClientHello, ResolvesServerCert};
/// # use rustls::sign::CertifiedKey;
/// # use std::sync::Arc;
/// # #[derive(Debug)] struct FromDatabase;
/// # impl FromDatabase { fn look_up(&self, _: &str) -> Option<Arc<CertifiedKey>> { None } }
/// impl ResolvesServerCert for FromDatabase {
///     fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
///         match tls_replay::postpone(self, hello.server_name()?.to_owned()) {
///             Ok(()) => None, // `Session::resume` brings the certificate
///             Err(name) => self.look_up(&name),
///         }
///     }
/// }
/// ```
pub fn postpone<H: ?Sized, T: Any + Send>(hook: &H, context: T) -> Result<(), T> {
    if !is_asked(hook) {
        return Err(context);
    }
    if POSTPONED.with_borrow(Option::is_some) {
        drop(POSTPONED.replace(Some(Context::GivenUp)));
        return Err(context);
    }
    POSTPONED.set(Some(Context::Hook(Box::new(context))));
    Ok(())
}

/// A question whose answer a hook can postpone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// Of a certificate resolver.
    Certificate,
    /// Of a key-exchange group.
    KeyExchange,
    /// Of a ticketer or a session store.
    Ticket,
}

/// What rustls asks now.
#[derive(Clone, Copy)]
struct HookCall {
    asked: Asked,
    /// The hook that it asks.
    hook: Place,
    may_give_up: bool,
}

/// Address and size: which object it is. A field may begin where its owner does.
type Place = (usize, usize);

fn place<H: ?Sized>(hook: &H) -> Place {
    (core::ptr::from_ref(hook).cast::<()>() as usize, size_of_val(hook))
}

/// Whether rustls asks `hook` itself, and [`postpone`] would succeed. False if another hook calls it, which would not see
/// the answer.
pub fn is_asked<H: ?Sized>(hook: &H) -> bool {
    QUESTION.get().is_some_and(|question| question.hook == place(hook))
}

/// Calls `inner` in place of `outer`, which has no answer but that of `inner`: if rustls asks `outer`, then `inner` may
/// postpone.
pub fn hand_on<O: ?Sized, I: ?Sized, T>(outer: &O, inner: &I, call: impl FnOnce(&I) -> T) -> T {
    let before = QUESTION.get();
    if let Some(question) = before.filter(|question| question.hook == place(outer)) {
        QUESTION.set(Some(HookCall { hook: place(inner), ..question }));
    }
    let answer = call(inner);
    // After a panic the caller of the outer hook does it.
    QUESTION.set(before);
    answer
}

/// Ends the session with [`ReplayError::HookInHook`](crate::ReplayError::HookInHook) once the hook that rustls asked has
/// returned, whatever it returns. For `hook`, if another one was asked this and has called it, and it would wait: the answer
/// of the other hook depends on this one's. False if that is not so; `hook` then answers at once.
///
/// After a HelloRetryRequest, when the client cannot be served in another way any more, a ticket or stored session counts as
/// not opening, and a key exchange is not given up.
pub fn give_up<H: ?Sized>(hook: &H, asked: Asked) -> bool {
    let gives_up = QUESTION.get().is_some_and(|question| {
        question.asked == asked && question.may_give_up && question.hook != place(hook)
    });
    if gives_up {
        drop(POSTPONED.replace(Some(Context::GivenUp)));
    }
    gives_up
}

/// Says that something waits for its answer after the server's flight, where replay cannot park; see
/// [`Session::waits_later`](crate::Session::waits_later).
///
/// For [`offer_client_auth`](rustls::server::danger::ClientCertVerifier::offer_client_auth) of a verifier that waits, and
/// [`enabled`](rustls::server::ProducesTickets::enabled) of a ticketer that waits when it seals. Does nothing elsewhere.
pub fn waits_later() {
    match mode() {
        // Perhaps a configuration is being wrapped.
        Mode::Live => probed(),
        Mode::Rehearsal | Mode::Real | Mode::Delivered => with(|record| record.waits_later = true),
    }
}

/// Whether `ask` reaches [`probed`]: how a part of a provider shows that it was wrapped.
pub(crate) fn reaches_probe(ask: impl FnOnce()) -> bool {
    PROBED.set(false);
    ask();
    PROBED.replace(false)
}

/// Answers [`reaches_probe`].
pub(crate) fn probed() {
    PROBED.set(true);
}
