//! The gate of a module: threads pass it for their calls, and it is closed while the module is finalized and initialized.
//!
//! `C_Finalize` during a call of another thread crashes most modules. So the gate counts the threads that are inside, and
//! only a thread that is alone may finalize.

use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Counts the threads in a module's calls.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    inside: usize,
    closed: bool,
    /// How many times the module was initialized; zero before the first. Counted after `C_Initialize` has returned.
    generation: u64,
    /// Whether it is initialized now.
    up: bool,
}

/// The module is not initialized.
#[derive(Debug)]
pub(crate) struct NotUp;

/// What the thread that is alone has done with the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// As it was.
    Untouched,
    /// It was initialized.
    Initialized,
    /// It is not initialized.
    Down,
}

/// Calls that have not returned: nothing was done.
#[derive(Debug)]
pub(crate) struct InTheWay(pub(crate) usize);

/// A thread's stay inside.
pub(crate) struct Inside<'a> {
    gate: &'a Gate,
    pub(crate) generation: u64,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread in; it waits while the gate is closed.
    pub(crate) fn enter(&self) -> Result<Inside<'_>, NotUp> {
        let waited = self.changed.wait_while(self.lock(), |state| state.closed);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.up {
            return Err(NotUp);
        }
        state.inside += 1;
        Ok(Inside { gate: self, generation: state.generation })
    }

    /// Closes the gate, waits until the last thread has left, runs `work` and opens it. `work` gets whether the module is
    /// initialized, and returns how it has left it: initialized is a new generation.
    ///
    /// `None`, and nothing is run, if the module is in another generation than `seen`: another thread was here.
    pub(crate) fn alone<R>(
        &self,
        seen: Option<u64>,
        patience: Duration,
        work: impl FnOnce(bool) -> (Left, R),
    ) -> Result<Option<R>, InTheWay> {
        let waited = self.changed.wait_while(self.lock(), |state| state.closed);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if seen.is_some_and(|seen| seen != state.generation) && state.up {
            return Ok(None);
        }
        state.closed = true;
        let until = Instant::now().checked_add(patience);
        while state.inside > 0 {
            let left = until.map_or(patience, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                state.closed = false;
                self.changed.notify_all();
                return Err(InTheWay(state.inside));
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let was_up = state.up;
        drop(state);
        let mut opens = OpensAgain { gate: self, left: Left::Down };
        let (left, result) = work(was_up);
        opens.left = left;
        Ok(Some(result))
    }
}

/// Opens the gate, also after a panic.
struct OpensAgain<'a> {
    gate: &'a Gate,
    left: Left,
}

impl Drop for OpensAgain<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        match self.left {
            Left::Untouched => {}
            Left::Initialized => {
                state.up = true;
                state.generation += 1;
            }
            Left::Down => state.up = false,
        }
        state.closed = false;
        drop(state);
        self.gate.changed.notify_all();
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.inside -= 1;
        if state.inside == 0 && state.closed {
            drop(state);
            self.gate.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn open() -> Gate {
        let gate = Gate::default();
        assert!(gate.enter().is_err(), "nothing is initialized yet");
        gate.alone(None, Duration::ZERO, |_| (Left::Initialized, ())).unwrap();
        gate
    }

    #[test]
    fn a_thread_inside_keeps_the_others_from_finalizing() {
        let gate = open();
        let inside = gate.enter().unwrap();
        let refused = gate.alone(Some(1), Duration::ZERO, |_| -> (Left, ()) { unreachable!() });
        assert!(matches!(refused, Err(InTheWay(1))));
        // It has opened again.
        drop((inside, gate.enter().unwrap()));
        let ran = gate.alone(Some(1), Duration::ZERO, |up| (Left::Initialized, up));
        assert_eq!(ran.unwrap(), Some(true));
        assert_eq!(gate.enter().unwrap().generation, 2);
        // Another one who saw the first generation finds that it is done.
        let late = gate.alone(Some(1), Duration::ZERO, |_| (Left::Initialized, ()));
        assert_eq!(late.unwrap(), None);
        // What initializes nothing begins no generation.
        gate.alone(None, Duration::ZERO, |up| (Left::Untouched, assert!(up))).unwrap();
        assert_eq!(gate.enter().unwrap().generation, 2);
        gate.alone(None, Duration::ZERO, |_| (Left::Down, ())).unwrap();
        assert!(gate.enter().is_err());
    }

    #[test]
    fn no_thread_is_inside_while_one_is_alone() {
        let gate = open();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let (done, finished) = mpsc::channel::<()>();
            for _ in 0..4 {
                let (gate, inside, done) = (&gate, &inside, done.clone());
                scope.spawn(move || {
                    for _ in 0..500 {
                        let stay = gate.enter().unwrap();
                        inside.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(stay);
                    }
                    drop(done);
                });
            }
            drop(done);
            while finished.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                let count = |_| (Left::Initialized, inside.load(Ordering::SeqCst));
                assert_eq!(gate.alone(None, Duration::MAX, count).unwrap(), Some(0));
            }
        });
    }
}
