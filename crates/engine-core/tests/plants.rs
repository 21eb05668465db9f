//! Planted bugs: the general model test finds each, and names the law that it breaks.
//!
//! A binary of its own, because a planted bug affects the whole process.

// The machinery is shared with the other binary, which uses all of it.
#[path = "it/machine.rs"]
mod machine;
#[path = "it/model.rs"]
mod model;
#[path = "it/support.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod support;

use engine_core::plant::{Bug, arm, disarm};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use machine::Machine;
use model::Model;

/// Runs the model test, and says how it failed.
fn failure() -> Option<String> {
    let config = Config {
        cases: 300,
        failure_persistence: None,
        // What is found counts here, not the shortest way to it.
        max_shrink_iters: 0,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    let scripts = Model::sequential_strategy(60..120);
    let outcome =
        TestRunner::new_with_rng(config.clone(), rng).run(&scripts, |(model, steps, _seen)| {
            Machine::test_sequential(config.clone(), model, steps, None);
            Ok(())
        });
    match outcome {
        Ok(()) => None,
        Err(TestError::Fail(reason, _) | TestError::Abort(reason)) => {
            Some(reason.message().to_owned())
        }
    }
}

/// What the swarm of handshake-lab finds: these scripts end too early for it, or call it by another name.
const ELSEWHERE: [Bug; 4] =
    [Bug::ForeignResult, Bug::DoubleCompletion, Bug::CompletionAfterCancel, Bug::SpinOnFull];

/// One test for all: they would disturb each other, and the bug-free run afterwards shows that it was the bugs.
#[test]
fn every_planted_bug_is_found_by_its_law() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = Bug::ALL
        .iter()
        .filter(|(_, bug, _)| !ELSEWHERE.contains(bug))
        .map(|&(name, bug, law)| {
            arm(bug);
            (name, law, failure())
        })
        .collect();
    disarm();
    let sound = failure();
    std::panic::set_hook(quiet);

    for (name, law, message) in found {
        let message = message.unwrap_or_else(|| panic!("nothing found {name}"));
        let law = format!("L{law}:");
        assert!(message.contains(&law), "{name} should break {law} but was found by: {message}");
    }
    assert_eq!(sound, None, "and without a bug the same scripts find nothing");
}
