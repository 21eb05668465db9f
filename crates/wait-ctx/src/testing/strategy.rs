//! The strategy for scripts.

use proptest::prelude::*;

use super::script::{Answer, ScriptStep};

/// A script of at most `max_steps` steps (1 to 65,536, clamped), which shrinks by leaving steps out.
pub(super) fn script(max_steps: usize) -> impl Strategy<Value = Vec<ScriptStep>> {
    let steps = prop::collection::vec(step(), 1..=max_steps.clamp(1, 1 << 16));
    // Nothing can follow an interrupted completion, so it comes last.
    let interrupted = prop::option::of(0..ScriptStep::N_SESSIONS);
    (steps, interrupted).prop_map(|(mut steps, interrupted)| {
        steps.extend(interrupted.map(ScriptStep::Interrupt));
        steps
    })
}

fn step() -> impl Strategy<Value = ScriptStep> {
    let session = 0..ScriptStep::N_SESSIONS;
    let answer = prop_oneof![
        3 => Just(Answer::Accept),
        2 => Just(Answer::Early),
        2 => Just(Answer::Full),
        1 => Just(Answer::Fatal),
    ];
    prop_oneof![
        4 => (session.clone(), answer).prop_map(|(s, a)| ScriptStep::Submit(s, a)),
        6 => session.clone().prop_map(ScriptStep::Poll),
        2 => session.clone().prop_map(ScriptStep::Cancel),
        3 => session.clone().prop_map(ScriptStep::Complete),
        1 => session.clone().prop_map(ScriptStep::Fail),
        2 => session.clone().prop_map(ScriptStep::Duplicate),
        2 => session.prop_map(ScriptStep::Late),
        2 => Just(ScriptStep::Room),
    ]
}
