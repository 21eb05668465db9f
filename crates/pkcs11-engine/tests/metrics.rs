//! What a token has done arrives at a recorder of the facade `metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use pkcs11_engine::TokenStats;

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
        unreachable!("there is none")
    }
}

#[test]
fn every_failure_and_recovery_has_its_label() {
    let mut stats = TokenStats::default();
    stats.signatures = 9;
    stats.failures.login = 2;
    stats.restarts = 1;
    stats.is_stopped = true;
    let seen = Seen::default();
    metrics::with_local_recorder(&seen, || stats.publish("web"));
    let seen = seen.0.lock().unwrap();
    assert_eq!(seen["layby_pkcs11_signatures_total web"], 9.0);
    assert_eq!(seen["layby_pkcs11_failures_total web login"], 2.0);
    assert_eq!(seen["layby_pkcs11_failures_total web device"], 0.0);
    assert_eq!(seen["layby_pkcs11_recoveries_total web module"], 1.0);
    assert_eq!(seen["layby_pkcs11_stopped web"], 1.0);
    assert_eq!(seen.len(), 1 + 7 + 3 + 1 + 1);
}
