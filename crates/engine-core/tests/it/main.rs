//! The engine through its public interface: against its model, under the laws, and from several threads.

mod attempts;
mod awaited;
mod breaker;
mod breaker_of_standby;
mod defaults;
mod driver;
mod extremes;
mod kit;
#[cfg(feature = "jobs")]
mod laws;
#[cfg(feature = "jobs")]
mod machine;
#[cfg(feature = "jobs")]
mod model;
#[cfg(feature = "jobs")]
mod nested;
#[cfg(feature = "jobs")]
mod notify;
#[cfg(feature = "jobs")]
mod options;
#[cfg(feature = "jobs")]
mod panics;
#[cfg(feature = "jobs")]
mod permits;
mod polling;
mod pool_machine;
mod pool_model;
#[cfg(feature = "jobs")]
mod races;
#[cfg(feature = "jobs")]
mod session;
#[cfg(feature = "jobs")]
mod shutdown;
mod subscriber;
#[cfg_attr(not(feature = "jobs"), allow(dead_code, reason = "for the tests with jobs"))]
mod support;
mod thread_pool;
#[cfg(feature = "jobs")]
mod whose_stack;
mod whose_thread;

#[cfg(feature = "jobs")]
use machine::Machine;
#[cfg(feature = "jobs")]
use proptest_state_machine::prop_state_machine;

#[cfg(feature = "jobs")]
prop_state_machine! {
    #![proptest_config(proptest::test_runner::Config { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Laws L2, L3, L4, L5, L8, L12 and L13 after every step of any script.
    #[test]
    fn the_engine_does_what_its_model_does(sequential 1..100 => Machine);
}
