//! The sessions of a token: idle ones are taken in turn, new ones are opened up to the token's limit.

use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::fault::{Class, During, Fault};
use crate::gate::Inside;
use crate::module::Module;

/// An open session. It is never closed by its drop, which may happen where no call may block.
pub(crate) struct OwnedSession {
    session: Option<Session>,
    module: &'static Module,
    /// Of the module.
    generation: u64,
    /// Of the pool of sessions.
    round: u64,
}

impl OwnedSession {
    pub(crate) fn open(
        module: &'static Module,
        inside: &Inside<'_>,
        slot: Slot,
        round: u64,
    ) -> Result<Self, Fault> {
        let opened = module.library().open_ro_session_no_drop(slot);
        let session = opened.map_err(|error| Fault::of(&error, During::Other))?;
        Ok(Self { session: Some(session), module, generation: inside.generation, round })
    }

    /// The session, if the module was not restarted since it was opened: its number may be that of another one then.
    pub(crate) fn usable(&self, inside: &Inside<'_>) -> Result<&Session, Fault> {
        let of_this_generation = self.generation == inside.generation;
        self.session
            .as_ref()
            .filter(|_| of_this_generation)
            .ok_or_else(|| Fault::new(Class::Session, "the module was restarted"))
    }

    pub(crate) fn close(mut self, inside: &Inside<'_>) {
        if let Some(session) = self.session.take()
            && self.generation == inside.generation
        {
            // It may be closed already; that is all that was wanted.
            let _ = session.close();
        }
    }
}

impl Drop for OwnedSession {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.module.close_later(session, self.generation);
        }
    }
}

/// Counts the sessions, and keeps the idle ones.
pub(crate) struct Sessions {
    state: Mutex<SessionsState>,
    returned: Condvar,
}

struct SessionsState {
    idle: Vec<OwnedSession>,
    /// With threads.
    held: usize,
    /// The most sessions, idle and held.
    limit: usize,
    /// Sessions of an earlier round are not used again.
    round: u64,
    /// The token has refused one session more: until then only idle ones are used.
    full_until: Option<Instant>,
}

/// How long the token is not asked for one session more after it has refused one.
const FULL: Duration = Duration::from_secs(1);

/// The right to a session.
pub(crate) struct Lease<'a> {
    sessions: &'a Sessions,
    pub(crate) session: Option<OwnedSession>,
    pub(crate) round: u64,
}

impl Sessions {
    pub(crate) fn new(limit: usize) -> Self {
        let state = SessionsState { idle: Vec::new(), held: 0, limit, round: 0, full_until: None };
        Self { state: Mutex::new(state), returned: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, SessionsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle session, or the right to open one. Waits at most `patience` for another thread to return one.
    pub(crate) fn take(&self, patience: Duration) -> Option<Lease<'_>> {
        let until = Instant::now().checked_add(patience);
        let mut state = self.lock();
        loop {
            if let Some(session) = state.idle.pop() {
                state.held += 1;
                return Some(Lease { sessions: self, round: state.round, session: Some(session) });
            }
            let now = Instant::now();
            let is_full = state.full_until.is_some_and(|until| now < until);
            if state.held < state.limit && !(is_full && state.held > 0) {
                state.held += 1;
                return Some(Lease { sessions: self, round: state.round, session: None });
            }
            let left = until.map_or(patience, |until| until.saturating_duration_since(now));
            if left.is_zero() {
                return None;
            }
            let waited = self.returned.wait_timeout(state, left.min(FULL));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The token has refused one session more.
    pub(crate) fn full(&self) {
        self.lock().full_until = Instant::now().checked_add(FULL);
    }

    /// Begins a new round, and returns its number and the idle sessions of the old one, to be closed.
    pub(crate) fn begin_round(&self) -> (u64, Vec<OwnedSession>) {
        let mut state = self.lock();
        state.round += 1;
        state.full_until = None;
        (state.round, core::mem::take(&mut state.idle))
    }
}

impl Lease<'_> {
    /// The session is of no use to anybody.
    pub(crate) fn discard(&mut self, inside: &Inside<'_>) {
        if let Some(session) = self.session.take() {
            session.close(inside);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.held -= 1;
        let returned = self.session.take().filter(|session| {
            // One of an earlier round is dropped, and closed later.
            session.round == state.round
        });
        state.idle.extend(returned);
        drop(state);
        self.sessions.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn no_more_sessions_are_held_than_the_limit_and_a_thread_waits_for_its_turn() {
        let sessions = Sessions::new(2);
        let first = sessions.take(Duration::ZERO).unwrap();
        let second = sessions.take(Duration::ZERO).unwrap();
        assert!(sessions.take(Duration::ZERO).is_none());
        std::thread::scope(|scope| {
            let (taken, takes) = mpsc::channel();
            let sessions = &sessions;
            scope.spawn(move || {
                let lease = sessions.take(Duration::MAX).unwrap();
                taken.send(()).unwrap();
                drop(lease);
            });
            drop(first);
            takes.recv().unwrap();
        });
        drop(second);
    }

    #[test]
    fn a_token_that_refuses_one_more_is_asked_for_none_while_a_thread_has_one() {
        let sessions = Sessions::new(8);
        let held = sessions.take(Duration::ZERO).unwrap();
        sessions.full();
        assert!(sessions.take(Duration::ZERO).is_none());
        drop(held);
        // Somebody else has them all: only another try shows when that ends.
        assert!(sessions.take(Duration::ZERO).is_some());
        // A recovery begins anew.
        let (round, idle) = sessions.begin_round();
        assert_eq!((round, idle.len()), (1, 0));
    }
}
