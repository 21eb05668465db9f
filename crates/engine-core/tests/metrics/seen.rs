//! A recorder of the facade `metrics` for what is absolute: snapshots. The tests of pkcs11-engine use it, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};

/// What `publish` hands over: each metric by its name and the values of its labels.
pub(crate) fn published(publish: impl FnOnce()) -> BTreeMap<String, f64> {
    let seen = Seen::default();
    metrics::with_local_recorder(&seen, publish);
    std::mem::take(&mut *seen.0.lock().unwrap())
}

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
