//! Futures of hooks that wait for an answer from the test.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

/// The waiting hooks, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Gates(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    closed: VecDeque<Gate>,
    /// No hook waits: every answer is yes.
    open: bool,
    /// How many hooks were dropped while they waited.
    dropped: usize,
}

struct Gate {
    name: &'static str,
    answer: Arc<Mutex<Option<bool>>>,
    waker: Waker,
}

/// A hook, from its first poll on.
struct Waiting<'a> {
    gates: &'a Gates,
    answer: Option<Arc<Mutex<Option<bool>>>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let unanswered = |answer: Arc<Mutex<Option<bool>>>| {
            answer.lock().expect("no panic under this lock").is_none()
        };
        if self.answer.take().is_some_and(unanswered) {
            self.gates.lock().dropped += 1;
        }
    }
}

impl Gates {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic under this lock")
    }

    pub(crate) async fn ask(&self, name: &'static str) -> bool {
        let mut asked = Waiting { gates: self, answer: None };
        poll_fn(|cx| {
            if self.lock().open {
                asked.answer = None;
                return Poll::Ready(true);
            }
            let answer = asked.answer.get_or_insert_with(|| {
                let answer = Arc::new(Mutex::new(None));
                let gate = Gate { name, answer: Arc::clone(&answer), waker: cx.waker().clone() };
                self.lock().closed.push_back(gate);
                answer
            });
            let answer = *answer.lock().expect("no panic under this lock");
            answer.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// How many hooks were dropped before their answer was there.
    pub(crate) fn dropped(&self) -> usize {
        self.lock().dropped
    }

    /// Answers the oldest. False if there is none.
    pub(crate) fn answer(&self, yes: bool) -> bool {
        let Some(gate) = self.lock().closed.pop_front() else { return false };
        *gate.answer.lock().expect("no panic under this lock") = Some(yes);
        gate.waker.wake();
        true
    }

    /// Sets whether hooks pass without waiting.
    pub(crate) fn set_open(&self, open: bool) {
        self.lock().open = open;
        while open && self.answer(true) {}
    }

    /// The name of the hook that waits since the shortest time.
    pub(crate) fn youngest(&self) -> Option<&'static str> {
        self.lock().closed.back().map(|gate| gate.name)
    }
}
