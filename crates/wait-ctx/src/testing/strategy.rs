//! Strategies for states, events and scripts.

use proptest::prelude::*;
use proptest::sample::select;

use super::script::{Answer, ScriptStep};
use crate::{RequestEvent, RequestPhase, transition};

/// Any state.
pub fn request_state() -> impl Strategy<Value = RequestPhase> {
    select(&RequestPhase::ALL[..])
}

/// Any event.
pub fn request_event() -> impl Strategy<Value = RequestEvent> {
    select(&RequestEvent::ALL[..])
}

/// A state and an event that has a meaning there, with the state it leads to.
pub fn legal_transition() -> impl Strategy<Value = (RequestPhase, RequestEvent, RequestPhase)> {
    select(pairs().filter_map(|(s, e)| Some((s, e, transition(s, e).ok()?))).collect::<Vec<_>>())
}

/// A state and an event that has none there.
pub fn illegal_transition() -> impl Strategy<Value = (RequestPhase, RequestEvent)> {
    select(pairs().filter(|&(s, e)| transition(s, e).is_err()).collect::<Vec<_>>())
}

fn pairs() -> impl Iterator<Item = (RequestPhase, RequestEvent)> {
    RequestPhase::ALL.into_iter().flat_map(|s| RequestEvent::ALL.map(|e| (s, e)))
}

/// A script of at most `max_steps` steps (1 to 65,536, of which it takes the nearest), which shrinks by leaving steps out.
pub fn script(max_steps: usize) -> impl Strategy<Value = Vec<ScriptStep>> {
    prop::collection::vec(step(), 1..=max_steps.clamp(1, 1 << 16))
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
