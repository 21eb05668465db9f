//! What an engine has counted arrives at a recorder of the facade `metrics`.

mod seen;

use std::sync::Arc;

use engine_core::{CheckFailed, Engine, Inline, Kind, Work};

struct Double(u32);

impl Work for Double {
    type Output = u32;

    fn kind(&self) -> Kind {
        Kind::new("double")
    }

    fn check(&self, _: &u32) -> Result<(), CheckFailed> {
        Ok(())
    }
}

#[test]
fn every_counter_level_and_quantile_is_published() {
    let engine = Engine::builder(Arc::new(Inline::new(|work: &Double| Ok(2 * work.0)))).build();
    assert_eq!(engine.run(Double(4)), Ok(8));
    let snapshot = engine.stats();
    let seen = seen::published(|| snapshot.publish("hsm"));
    assert_eq!(seen["layby_completed_total hsm"], 1.0);
    assert_eq!(seen["layby_requests hsm"], 0.0);
    assert!(seen["layby_device_time_seconds hsm 0.99"] >= 0.0);
    assert_eq!(seen.len(), snapshot.counters().count() + 2 + 3 * 3);
}
