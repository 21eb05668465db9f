//! The counters of an engine, through the facade `metrics`.

use metrics::{SharedString, counter, gauge};

use crate::histogram::HistogramSnapshot;
use crate::meter::EngineStats;

/// Quantiles that alerts are usually set on.
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.99, "0.99"), (0.999, "0.999")];

impl EngineStats {
    /// Passes these counters to the installed recorder, with the label `engine`. Call it before each scrape. The names are
    /// listed in `docs/events.md`, and are interface. The quantiles are of all the time since the engine was built.
    pub fn publish(&self, engine: impl Into<SharedString>) {
        let engine = engine.into();
        for (name, value) in self.counters() {
            counter!(format!("layby_{name}_total"), "engine" => engine.clone()).absolute(value);
        }
        let level =
            |name: &'static str, now: f64| gauge!(name, "engine" => engine.clone()).set(now);
        level("layby_requests", self.requests.now as f64);
        level("layby_waiters", self.waiters.now as f64);
        let quantiles = |name: &'static str, histogram: &HistogramSnapshot| {
            for (quantile, label) in QUANTILES {
                let seconds = histogram.quantile_bound(quantile).as_secs_f64();
                gauge!(name, "engine" => engine.clone(), "quantile" => label).set(seconds);
            }
        };
        quantiles("layby_queue_wait_seconds", &self.queue_wait);
        quantiles("layby_device_time_seconds", &self.device_time);
        quantiles("layby_resume_delay_seconds", &self.resume_delay);
    }
}
