//! The last stage of shrinking. Proptest leaves steps out in one pass; this repeats until no step can be left out or
//! made simpler, and keeps only steps that took effect.

use super::script::{Answer, ScriptStep};

/// The effective steps of a script that breaks a law, and which law.
#[derive(Debug, Clone)]
pub(super) struct Failing {
    pub(super) broken: String,
    pub(super) script: Vec<ScriptStep>,
}

/// The simplest failing script that can be reached from `failing` by small changes.
pub(super) fn shortest(
    mut failing: Failing,
    fails: impl Fn(&[ScriptStep]) -> Option<Failing>,
) -> Failing {
    // Each round lowers the cost, so the loop ends.
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

/// Fewer steps cost less; of equal numbers, simpler steps.
fn cost(script: &[ScriptStep]) -> (usize, usize) {
    (script.len(), script.iter().map(|&step| complexity(step)).sum())
}

fn complexity(mut step: ScriptStep) -> usize {
    let answer = match step {
        ScriptStep::Submit(_, Answer::Early) => 4,
        ScriptStep::Submit(_, Answer::Full | Answer::Fatal) => 8,
        _ => 0,
    };
    answer + step.session_mut().copied().unwrap_or(0)
}

fn candidates(script: &[ScriptStep]) -> impl Iterator<Item = Vec<ScriptStep>> {
    let without = (0..script.len()).map(|at| {
        let mut shorter = script.to_vec();
        shorter.remove(at);
        shorter
    });
    let swapped = std::iter::once(script.iter().map(|&step| on_other_session(step)).collect());
    // Completed at once, a request may need no later completion.
    let answered = (0..script.len()).flat_map(|at| {
        let ScriptStep::Submit(session, _) = script[at] else { return Vec::new() };
        let with = |answer| {
            let mut other = script.to_vec();
            other[at] = ScriptStep::Submit(session, answer);
            other
        };
        vec![with(Answer::Accept), with(Answer::Early)]
    });
    let moved = (0..script.len()).map(|at| {
        let mut moved = script.to_vec();
        moved[at] = on_other_session(moved[at]);
        moved
    });
    without.chain(swapped).chain(answered).chain(moved)
}

fn on_other_session(mut step: ScriptStep) -> ScriptStep {
    if let Some(session) = step.session_mut() {
        *session = (*session + 1) % ScriptStep::N_SESSIONS;
    }
    step
}
