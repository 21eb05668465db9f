//! A token in service: signs on the threads of a pool, and recovers by its [`Ladder`].

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use ssl_async::SignError;
use ssl_async::offload::SigningWork;

use crate::account::Account;
use crate::error::OpenError;
use crate::fault::{Class, During, Fault};
use crate::gate::Inside;
use crate::journal::Journal;
use crate::ladder::{AfterFailure, Epoch, Ladder, Next, Rung};
use crate::mechanism::{encoded, request};
use crate::module::{Module, Pulse};
use crate::objects;
use crate::sessions::{Lease, OwnedSession, Sessions};
use crate::uri::KeyUri;

pub(crate) struct Service {
    module: &'static Module,
    pulse: Arc<Pulse>,
    sessions: Sessions,
    ladder: Mutex<Ladder>,
    /// Signalled when a climb has ended.
    settled: Condvar,
    /// A signature has to be told to the ladder.
    unproven: AtomicBool,
    /// The thread that climbs has it.
    account: Mutex<Account>,
    /// Where sessions are opened: the account's, without its lock.
    slot: Mutex<Slot>,
    keys: Mutex<Keys>,
    /// How long a thread waits for a session, for another one's climb, or for calls that keep the module from being finalized.
    patience: Duration,
    began: Instant,
    pub(crate) journal: Journal,
}

/// The keys by their names, and their handles since one login.
#[derive(Default)]
struct Keys {
    uris: BTreeMap<Arc<str>, KeyUri>,
    since: Since,
    handles: BTreeMap<Arc<str>, ObjectHandle>,
}

/// A login, of which handles are worth something: the module's generation, since another token's recovery may have begun a new
/// one, and the epoch.
type Since = (u64, Epoch);

/// How many times a request is tried. Each time something has been done about its failure.
const MOST_TRIES: usize = 5;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// A token that is logged in.
    pub(crate) fn new(
        module: &'static Module,
        account: Account,
        slot: Slot,
        n_sessions: usize,
        patience: Duration,
    ) -> Self {
        let top = top_of(module);
        let pulse = Arc::default();
        module.watch(&pulse);
        Self {
            module,
            pulse,
            sessions: Sessions::new(n_sessions),
            ladder: Mutex::new(Ladder::new(top)),
            settled: Condvar::new(),
            unproven: AtomicBool::new(false),
            journal: Journal::new(account.name()),
            account: Mutex::new(account),
            slot: Mutex::new(slot),
            keys: Mutex::default(),
            patience,
            began: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Makes a key known under this name.
    pub(crate) fn add_key(&self, name: &Arc<str>, uri: KeyUri) {
        lock(&self.keys).uris.insert(Arc::clone(name), uri);
    }

    /// Lets requests try the token again after it has refused the PIN.
    pub(crate) fn resume(&self) {
        lock(&self.ladder).resume();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.ladder).is_stopped()
    }

    /// Runs `look` with a session that is logged in. If the login is gone, recovers it and looks again.
    pub(crate) fn look<R>(
        &self,
        look: impl Fn(&Session) -> Result<R, OpenError>,
    ) -> Result<R, OpenError> {
        let once = || {
            let account = lock(&self.account);
            account.lasts()?;
            let inside = self.module.enter().map_err(token)?;
            look(account.session(&inside).map_err(token)?)
        };
        let error = match once() {
            Err(error) if error.may_be_a_lost_login() => error,
            looked => return looked,
        };
        let again = {
            let mut ladder = lock(&self.ladder);
            let epoch = ladder.epoch();
            ladder.failed(self.now(), epoch, Class::Login, false)
        };
        match again {
            AfterFailure::Climb(rung) => self.climb(rung),
            AfterFailure::Again => {
                // The token may have been at rest: then it is for this thread to climb.
                let until = Instant::now().checked_add(self.patience);
                if let Next::Climb(rung) = self.next(until) {
                    self.climb(rung);
                }
            }
            AfterFailure::Refuse | AfterFailure::Later(_) => return Err(error),
        }
        once()
    }

    /// Signs. Blocks, at most for as long as the module does.
    pub(crate) fn sign(&self, work: &SigningWork) -> Result<Vec<u8>, SignError> {
        let until = Instant::now().checked_add(self.patience);
        let mut last = None;
        for _ in 0..MOST_TRIES {
            let next = self.next(until);
            let epoch = match next {
                Next::Sign(epoch) => epoch,
                Next::Climb(rung) => {
                    self.climb(rung);
                    continue;
                }
                Next::Rest(rest) => {
                    return Err(SignError::retry_after(rest, self.journal.last_setback()));
                }
                Next::Stopped => return Err(SignError::permanent(self.journal.last_setback())),
                Next::Wait => break,
            };
            let fault = match self.try_to_sign(epoch, work) {
                Ok(None) => continue,
                Ok(Some(signature)) => {
                    if self.unproven.load(Ordering::Acquire) {
                        let mut ladder = lock(&self.ladder);
                        ladder.signed(epoch);
                        self.unproven.store(ladder.is_unproven(), Ordering::Release);
                    }
                    self.journal.signed();
                    self.pulse.signed();
                    return Ok(signature);
                }
                Err(fault) => fault,
            };
            self.journal.failed(self.now(), &fault);
            let is_about_the_pin = fault.class == Class::Pin;
            if is_about_the_pin {
                self.journal.set_back(&fault.text);
            }
            let after = {
                let mut ladder = lock(&self.ladder);
                let after = ladder.failed(self.now(), epoch, fault.class, last.is_none());
                self.unproven.store(ladder.is_unproven(), Ordering::Release);
                after
            };
            match after {
                AfterFailure::Again => {}
                AfterFailure::Climb(rung) => self.climb(rung),
                AfterFailure::Later(time) => return Err(SignError::retry_after(time, fault)),
                AfterFailure::Refuse => {
                    if is_about_the_pin {
                        self.journal.stopped(&fault.text);
                    }
                    return Err(SignError::permanent(fault));
                }
            }
            last = Some(fault);
        }
        Err(SignError::transient(match last {
            Some(fault) => fault.text,
            None => "the token is being recovered".into(),
        }))
    }

    /// What to do, when no other thread climbs any more.
    fn next(&self, until: Option<Instant>) -> Next {
        let mut ladder = lock(&self.ladder);
        loop {
            let next = ladder.next(self.now());
            let left = until
                .map_or(self.patience, |until| until.saturating_duration_since(Instant::now()));
            if next != Next::Wait || left.is_zero() {
                return next;
            }
            let waited = self.settled.wait_timeout(ladder, left);
            ladder = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// `None` if the epoch is over.
    fn try_to_sign(&self, epoch: Epoch, work: &SigningWork) -> Result<Option<Vec<u8>>, Fault> {
        let Some((mechanism, data)) = request(work) else {
            return Err(Fault::new(Class::Request, "PKCS#11 has no mechanism for this scheme"));
        };
        let (mut lease, inside) = self.session()?;
        if !lock(&self.ladder).serves_in(epoch) {
            return Ok(None);
        }
        let since = (inside.generation, epoch);
        let signed = match &lease.session {
            Some(own) => own.usable(&inside).and_then(|session| {
                let key = self.handle(session, since, work.key_id())?;
                let signed = session.sign(&mechanism, key, &data);
                signed.map_err(|error| Fault::of(&error, During::Sign))
            }),
            None => Err(Fault::new(Class::Session, "there is no session")),
        };
        match signed {
            Ok(raw) => {
                let length = raw.len();
                let no_signature = || format!("an answer of {length} bytes is no signature");
                encoded(work.scheme(), raw)
                    .map(Some)
                    .ok_or_else(|| Fault::new(Class::Unclear, no_signature()))
            }
            Err(fault) => {
                if fault.class != Class::Busy {
                    lock(&self.keys).handles.remove(work.key_id());
                }
                if !matches!(fault.class, Class::Login | Class::Busy) {
                    lease.discard(&inside);
                }
                Err(fault)
            }
        }
    }

    /// A session, open, and the right to use it.
    fn session(&self) -> Result<(Lease<'_>, Inside<'_>), Fault> {
        let busy = || Fault::new(Class::Busy, "all sessions with the token are in use");
        let mut refused = None;
        // The second time it waits for a session of another thread.
        for _ in 0..2 {
            let mut lease = self.sessions.take(self.patience).ok_or_else(busy)?;
            let inside = self.module.enter()?;
            if lease.session.is_none() {
                let slot = *lock(&self.slot);
                match OwnedSession::open(self.module, &inside, slot, lease.round) {
                    Ok(session) => lease.session = Some(session),
                    Err(fault) if fault.class == Class::Busy => {
                        self.sessions.full();
                        refused = Some(fault);
                        continue;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            return Ok((lease, inside));
        }
        Err(refused.unwrap_or_else(busy))
    }

    /// The handle of a key. It dies with the login.
    fn handle(&self, session: &Session, since: Since, name: &str) -> Result<ObjectHandle, Fault> {
        let (name, uri) = {
            let keys = lock(&self.keys);
            if keys.since == since
                && let Some(handle) = keys.handles.get(name)
            {
                return Ok(*handle);
            }
            let Some((name, uri)) = keys.uris.get_key_value(name) else {
                return Err(Fault::new(Class::Request, format!("the key {name} was not opened")));
            };
            (Arc::clone(name), uri.clone())
        };
        let mut found = objects::private_keys(session, &uri)?;
        if found.is_empty() {
            // All private objects are invisible without a login; a single one has been deleted. Another thread may log in
            // between two looks, so that only what is absent after others were seen is absent.
            let any = objects::private_keys(session, &KeyUri::default())?;
            let absent = || format!("the token has no private key {uri}");
            if any.is_empty() {
                return Err(Fault::new(Class::Login, absent()));
            }
            found = objects::private_keys(session, &uri)?;
            if found.is_empty() {
                return Err(Fault::new(Class::Request, absent()));
            }
        }
        let [handle] = found[..] else {
            let several = format!("the token has several private keys {uri}");
            return Err(Fault::new(Class::Request, several));
        };
        let mut keys = lock(&self.keys);
        if keys.since < since {
            keys.since = since;
            keys.handles.clear();
        }
        if keys.since == since {
            keys.handles.insert(name, handle);
        }
        Ok(handle)
    }

    /// Climbs until a rung helps.
    fn climb(&self, from: Rung) {
        let mut climb = Climb { service: self, outcome: None };
        self.pulse.recovers();
        // Whatever the error was: without the module no rung helps.
        let is_anew = match self.module.revive(self.patience) {
            Ok(is_anew) => is_anew,
            Err(error) => {
                climb.outcome = Some(Err(error));
                return;
            }
        };
        let top = top_of(self.module);
        // Another token of the module may have found that it is not ours any more.
        lock(&self.ladder).set_top(top);
        let mut rung = from.min(top);
        // Sessions of before would each cost a signature its try.
        if self.is_of_another_generation() {
            rung = rung.max(Rung::Sessions);
        }
        climb.outcome = loop {
            let Err(error) = self.stand_on(rung) else {
                break Some(Ok(if is_anew { Rung::Module } else { rung }));
            };
            let higher = lock(&self.ladder).higher(rung);
            match higher {
                Some(Rung::Module) if self.module.serves_another(&self.pulse) => {
                    break Some(Err(error));
                }
                Some(higher) if error.may_be_helped_by(higher) => rung = higher,
                _ => break Some(Err(error)),
            }
        };
    }

    /// Whether the module was initialized again since the last login.
    fn is_of_another_generation(&self) -> bool {
        let seen = lock(&self.account).generation();
        self.module.enter().is_ok_and(|inside| inside.generation != seen)
    }

    fn stand_on(&self, rung: Rung) -> Result<(), OpenError> {
        let mut account = lock(&self.account);
        account.lasts()?;
        if rung == Rung::Module {
            if self.module.serves_another(&self.pulse) {
                let others = "another token of the module signs, so the module is not restarted";
                return Err(OpenError::Token(others.into()));
            }
            let generation = account.generation();
            drop(account.take_anchor());
            self.module.restart(generation, self.patience)?;
        }
        if rung >= Rung::Sessions {
            let inside = self.module.enter().map_err(token)?;
            let (_, idle) = self.sessions.begin_round();
            for session in idle.into_iter().chain(account.take_anchor()) {
                session.close(&inside);
            }
        }
        *lock(&self.slot) = account.log_in(self.module)?;
        let inside = self.module.enter().map_err(token)?;
        // A login is believed when a key is seen: the state that a session shows may be remembered from before.
        let session = account.session(&inside).map_err(token)?;
        let uris: Vec<KeyUri> = lock(&self.keys).uris.values().cloned().collect();
        let is_seen = |uri| objects::private_keys(session, uri).map(|keys| keys.len() == 1);
        for uri in &uris {
            if is_seen(uri).map_err(token)? {
                return Ok(());
            }
        }
        match uris.first() {
            None => Ok(()),
            Some(uri) => Err(OpenError::NoKey { wanted: uri.to_string(), found: Vec::new() }),
        }
    }

    /// Closes all sessions, which also logs out. No thread signs any more, and none recovers the token.
    pub(crate) fn close(&self) {
        let mut account = lock(&self.account);
        account.end();
        self.pulse.recovers();
        let Ok(inside) = self.module.enter() else { return };
        let (_, idle) = self.sessions.begin_round();
        for session in idle.into_iter().chain(account.take_anchor()) {
            session.close(&inside);
        }
    }

    pub(crate) fn module(&self) -> &'static Module {
        self.module
    }
}

/// A module of another owner is never finalized.
fn top_of(module: &Module) -> Rung {
    if module.is_ours() { Rung::Module } else { Rung::Sessions }
}

fn token(fault: Fault) -> OpenError {
    OpenError::Token(fault.text)
}

/// Says how a climb went, also when the thread panics.
struct Climb<'a> {
    service: &'a Service,
    outcome: Option<Result<Rung, OpenError>>,
}

impl Drop for Climb<'_> {
    fn drop(&mut self) {
        let service = self.service;
        let now = service.now();
        let outcome = self
            .outcome
            .take()
            .unwrap_or_else(|| Err(OpenError::Token("the recovery panicked".into())));
        // A thread that finds the token at rest reads the reason.
        let error = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        match &outcome {
            Ok(_) => lock(&service.keys).handles.clear(),
            Err(_) => service.journal.set_back(&error),
        }
        let mut ladder = lock(&service.ladder);
        let rest = match &outcome {
            Ok(rung) => {
                ladder.climbed(*rung);
                None
            }
            Err(error) if error.is_about_the_pin() => {
                ladder.stop();
                None
            }
            Err(_) => Some(ladder.fell(now)),
        };
        service.unproven.store(ladder.is_unproven(), Ordering::Release);
        drop(ladder);
        service.settled.notify_all();
        // With no lock held: a subscriber may ask for the token's figures.
        match (outcome, rest) {
            (Ok(rung), _) => service.journal.recovered(now, rung),
            (Err(_), Some(rest)) => service.journal.resting(now, rest, &error),
            (Err(_), None) => {
                service.journal.count(Class::Pin);
                service.journal.stopped(&error);
            }
        }
    }
}
