//! Requests as futures: what an engine does for a caller that knows no jobs.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{
    CheckPolicy, Engine, EngineError, Fallback, Inline, RequestOptions, ThreadPoolBuilder,
};

use crate::support::{Manual, Negate, Outputs, wait_for};

#[test]
fn a_request_is_awaited_on_the_threads_of_a_pool() {
    let outputs = Arc::<Outputs>::default();
    let pool = ThreadPoolBuilder::new().threads(2).build(|work: &Negate| Ok(work.right()));
    let engine = Engine::builder(Arc::new(pool)).checks(CheckPolicy::Always).build();
    let both = [1, 2].map(|n| engine.submit(Negate::new(n, &outputs)).unwrap());
    for (n, request) in (1..).zip(both) {
        assert_eq!(wait_for(request).unwrap().value, !n);
    }
    assert_eq!(engine.run(Negate::new(3, &outputs)).unwrap().value, !3);
    assert_eq!(engine.stats().checked, 3);
}

#[test]
fn l14_an_awaited_request_ends_at_its_deadline_or_falls_back() {
    let outputs = Arc::<Outputs>::default();
    let engine = Engine::builder(Manual::new(4))
        .standby(Arc::new(Inline::new(|work: &Negate| Ok(work.right()))))
        .build();
    let _driver = engine.spawn_driver().unwrap();
    let options = RequestOptions::new().deadline(Duration::from_millis(1));
    let fails = engine.with_options(options).submit(Negate::new(1, &outputs)).unwrap();
    assert_eq!(wait_for(fails).unwrap_err(), EngineError::Deadline);
    let options = options.fallback(Fallback::Standby);
    let falls_back = engine.with_options(options).submit(Negate::new(2, &outputs)).unwrap();
    assert_eq!(wait_for(falls_back).unwrap().value, !2);
}
