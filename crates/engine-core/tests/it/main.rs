//! The engine from outside: against its model, under the laws, and from several threads.

mod breaker;
mod defaults;
mod driver;
mod extremes;
mod kit;
mod laws;
mod machine;
mod model;
mod notify;
mod options;
mod panics;
mod permits;
mod polling;
mod races;
mod session;
mod shutdown;
mod support;
mod thread_pool;
mod whose_stack;

use machine::Machine;
use proptest_state_machine::prop_state_machine;

prop_state_machine! {
    #![proptest_config(proptest::test_runner::Config { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Laws L2, L3, L4, L5, L8, L12 and L13 after every step of any script.
    #[test]
    fn the_engine_does_what_its_model_does(sequential 1..100 => Machine);
}
