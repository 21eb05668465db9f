//! What an engine has counted arrives at a recorder of the facade `metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use engine_core::{CheckFailed, Engine, Inline, Kind, Work};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, f64>>>);

struct One(Seen, String);

impl One {
    fn put(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for One {
    fn increment(&self, _: u64) {
        unreachable!("a snapshot is absolute");
    }

    fn absolute(&self, value: u64) {
        self.put(value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {
        unreachable!("a snapshot is absolute");
    }

    fn decrement(&self, _: f64) {
        unreachable!("a snapshot is absolute");
    }

    fn set(&self, value: f64) {
        self.put(value);
    }
}

impl Seen {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        Arc::new(One(self.clone(), format!("{} {}", key.name(), labels.join(" "))))
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        unreachable!("quantiles are gauges")
    }
}

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
    let (seen, snapshot) = (Seen::default(), engine.stats());
    metrics::with_local_recorder(&seen, || snapshot.publish("hsm"));
    let seen = seen.0.lock().unwrap();
    assert_eq!(seen["layby_completed_total hsm"], 1.0);
    assert_eq!(seen["layby_requests hsm"], 0.0);
    assert!(seen["layby_device_time_seconds hsm 0.99"] >= 0.0);
    assert_eq!(seen.len(), snapshot.counters().count() + 2 + 3 * 3);
}
