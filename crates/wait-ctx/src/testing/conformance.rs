//! The conformance run: many random scripts, and the shortest one that fails.

use std::cell::RefCell;
use std::fmt;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::run::{Coverage, run_script};
use super::script::{Answer, ScriptStep, TestedEngine};
use super::shortest::{Failing, shortest};

/// Runs an engine through the default number of scripts. See [`Conformance`].
///
/// # Errors
/// The shortest script found on which the engine breaks a law.
pub fn conformance<E: TestedEngine>(make: impl Fn() -> E) -> Result<Coverage, Box<NonConformance>> {
    Conformance::default().run(make)
}

/// The settings of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Conformance {
    /// The number of scripts. Default 2,000.
    pub scripts: u32,
    /// The longest script. Default 40 steps.
    pub max_steps: usize,
    /// The seed. The same seed gives the same scripts.
    pub seed: [u8; 32],
}

impl Default for Conformance {
    fn default() -> Self {
        Self { scripts: 2_000, max_steps: 40, seed: [7; 32] }
    }
}

/// A broken law and the shortest script found that breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NonConformance {
    /// The broken law, and how it showed.
    pub broken: String,
    /// The steps up to the failure, including those with which the kit lets everything finish.
    pub script: Vec<ScriptStep>,
}

impl fmt::Display for NonConformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.broken)?;
        for (at, step) in self.script.iter().enumerate() {
            write!(f, "\n  {}. {step}", at + 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for NonConformance {}

impl Conformance {
    /// Runs a new engine through each script. A panic of the engine on this thread is a failure and is not printed.
    ///
    /// # Errors
    /// The shortest script found on which the engine breaks a law, or panics.
    pub fn run<E: TestedEngine>(
        &self,
        make: impl Fn() -> E,
    ) -> Result<Coverage, Box<NonConformance>> {
        let config = Config {
            cases: self.scripts,
            max_shrink_iters: 20_000,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &self.seed);
        let total = RefCell::new(Coverage::default());
        let run = |steps: &[ScriptStep]| run_script(make(), steps);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let outcome = runner.run(&script(self.max_steps), |steps| {
            total
                .borrow_mut()
                .add(&run(&steps).map_err(|failing| TestCaseError::fail(failing.broken))?);
            Ok(())
        });
        let failing = match outcome {
            Ok(()) => return Ok(total.into_inner()),
            Err(TestError::Abort(reason)) => {
                Failing { broken: reason.message().to_owned(), script: Vec::new() }
            }
            Err(TestError::Fail(reason, script)) => match run(&script) {
                Err(failing) => shortest(failing, |steps| run(steps).err()),
                // Not reproducible: an engine with threads whose `settle` returns too early.
                Ok(_) => Failing { broken: reason.message().to_owned(), script },
            },
        };
        Err(Box::new(NonConformance { broken: failing.broken, script: failing.script }))
    }
}

/// A script of at most `max_steps` steps (1 to 65,536, clamped), which shrinks by leaving steps out.
fn script(max_steps: usize) -> impl Strategy<Value = Vec<ScriptStep>> {
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
