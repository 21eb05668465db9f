//! The account of results: what is computed is received by its session or erased.

use std::cell::Cell;

thread_local! {
    static ANSWERS: Cell<Answers> =
        const { Cell::new(Answers { computed: 0, received: 0, foreign: 0, erased: 0 }) };
}

/// The account of the results of a run: each is received by its session or erased (law L5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// By devices and standbys.
    pub computed: u64,
    /// By sessions.
    pub received: u64,
    /// Of those, by sessions that they were not computed for.
    pub foreign: u64,
    /// Erased because their session had given up, or because they were wrong.
    pub erased: u64,
}

impl Answers {
    pub(crate) fn note(change: impl FnOnce(&mut Self)) {
        let mut answers = ANSWERS.get();
        change(&mut answers);
        ANSWERS.set(answers);
    }

    /// The account of this thread since the last call.
    pub(crate) fn take() -> Self {
        ANSWERS.take()
    }
}
