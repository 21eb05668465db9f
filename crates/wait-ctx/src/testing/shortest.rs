//! The last stage of shrinking. Proptest leaves steps out one after the other and never looks back; this goes on until
//! nothing can be left out or made simpler any more, and counts every step that took effect.

use super::script::{Answer, Step};

/// A script that breaks a law, as its effective steps, and what it breaks.
#[derive(Debug, Clone)]
pub(super) struct Failing {
    pub(super) broken: String,
    pub(super) script: Vec<Step>,
}

/// The simplest failing script that can be reached from `failing` by small changes.
pub(super) fn shortest(
    mut failing: Failing,
    fails: impl Fn(&[Step]) -> Option<Failing>,
) -> Failing {
    // Each round makes the cost smaller, so it ends.
    loop {
        let simpler = candidates(&failing.script)
            .filter_map(|candidate| fails(&candidate))
            .find(|other| cost(&other.script) < cost(&failing.script));
        match simpler {
            Some(simpler) => failing = simpler,
            None => return failing,
        }
    }
}

/// Fewer steps first, then plainer ones.
fn cost(script: &[Step]) -> (usize, usize) {
    (script.len(), script.iter().map(|&step| complexity(step)).sum())
}

fn complexity(step: Step) -> usize {
    match step {
        Step::Submit(session, Answer::Accept) => session,
        Step::Submit(session, Answer::Early) => 4 + session,
        Step::Submit(session, Answer::Full | Answer::Fatal) => 8 + session,
        Step::Poll(session)
        | Step::Cancel(session)
        | Step::Complete(session)
        | Step::Fail(session)
        | Step::Duplicate(session)
        | Step::Late(session) => session,
        Step::Room => 0,
    }
}

fn candidates(script: &[Step]) -> impl Iterator<Item = Vec<Step>> {
    let without = (0..script.len()).map(|at| {
        let mut shorter = script.to_vec();
        shorter.remove(at);
        shorter
    });
    let swapped = std::iter::once(script.iter().map(|&step| on_other_session(step)).collect());
    let accepted = (0..script.len()).filter_map(|at| {
        let Step::Submit(session, _) = script[at] else { return None };
        let mut plainer = script.to_vec();
        plainer[at] = Step::Submit(session, Answer::Accept);
        Some(plainer)
    });
    let moved = (0..script.len()).map(|at| {
        let mut moved = script.to_vec();
        moved[at] = on_other_session(moved[at]);
        moved
    });
    without.chain(swapped).chain(accepted).chain(moved)
}

fn on_other_session(step: Step) -> Step {
    let other = |session: usize| (session + 1) % Step::N_SESSIONS;
    match step {
        Step::Submit(session, answer) => Step::Submit(other(session), answer),
        Step::Poll(session) => Step::Poll(other(session)),
        Step::Cancel(session) => Step::Cancel(other(session)),
        Step::Complete(session) => Step::Complete(other(session)),
        Step::Fail(session) => Step::Fail(other(session)),
        Step::Duplicate(session) => Step::Duplicate(other(session)),
        Step::Late(session) => Step::Late(other(session)),
        Step::Room => Step::Room,
    }
}
