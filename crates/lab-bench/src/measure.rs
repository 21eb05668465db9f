//! Measuring two things in turn, so that a machine whose speed drifts slows both.

use std::hint::black_box;
use std::time::Instant;

/// Rounds of ours and the rival's, in turn. Odd, so that the median is one of them.
const ROUNDS: usize = 41;

/// Nanoseconds for one operation: the median round, the fastest and the slowest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Measured {
    pub(crate) fn of(rounds: &[f64]) -> Self {
        let mut rounds = rounds.to_vec();
        rounds.sort_by(f64::total_cmp);
        let (min, max) = (rounds[0], rounds[rounds.len() - 1]);
        Self { median: rounds[rounds.len() / 2], min, max, rounds: rounds.len() }
    }
}

/// Nanoseconds for each of `operations` that `run` does in all.
pub(crate) fn nanoseconds_each(operations: u32, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / f64::from(operations)
}

/// Measures `ours` and `rival` in turn; each returns the nanoseconds of one operation.
pub(crate) fn in_turn(
    mut ours: impl FnMut() -> f64,
    mut rival: impl FnMut() -> f64,
) -> (Measured, Measured) {
    in_turn_of(ROUNDS, &mut ours, &mut rival)
}

/// As [`in_turn`], for rounds that are long in themselves.
pub(crate) fn in_turn_of(
    rounds: usize,
    ours: &mut impl FnMut() -> f64,
    rival: &mut impl FnMut() -> f64,
) -> (Measured, Measured) {
    // One round of each is warm-up: page faults, lazy binding, the branch predictor.
    black_box((ours(), rival()));
    let (mut our_rounds, mut rival_rounds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_rounds.push(ours());
        rival_rounds.push(rival());
    }
    (Measured::of(&our_rounds), Measured::of(&rival_rounds))
}

/// Measures what has no rival.
pub(crate) fn alone(rounds: usize, mut ours: impl FnMut() -> f64) -> Measured {
    black_box(ours());
    Measured::of(&(0..rounds).map(|_| ours()).collect::<Vec<_>>())
}
