//! The series stay bounded, lose nothing, and make the data of the report.

use std::time::Duration;

use hdrhistogram::Histogram;
use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

proptest! {
    /// However long it takes and whatever the order, nothing is lost and memory stays bounded.
    #[test]
    fn every_handshake_stays_in_some_bin(times in prop::collection::vec(0_u64..10_000_000, 1..200)) {
        let mut outcomes = Outcomes::default();
        for &time in &times {
            outcomes.handshake(Duration::from_micros(time), MS(3));
        }
        let bins = outcomes.series().bins();
        prop_assert!(bins.len() <= BINS);
        prop_assert_eq!(bins.iter().map(|bin| bin.handshakes).sum::<u64>(), times.len() as u64);
        let recorded = bins.iter().filter_map(|bin| bin.latency_us.as_ref()).map(Histogram::len);
        prop_assert_eq!(recorded.sum::<u64>(), times.len() as u64);
        let last = Duration::from_micros(*times.iter().max().expect("not empty"));
        prop_assert!(outcomes.series().width() * u32::try_from(bins.len()).expect("few") > last);
    }

    /// Counters of a device are told to the last one, however irregular the looks.
    #[test]
    fn every_wake_is_in_some_bin(steps in prop::collection::vec((1_u64..50_000, 0_u64..9), 1..200)) {
        let (mut readings, mut now, mut reading) =
            (Readings::default(), Duration::ZERO, Reading::default());
        for (step, wakes) in steps {
            now += Duration::from_micros(step);
            reading.wakes += wakes;
            readings.read(now, &reading);
        }
        let bins = readings.series().bins();
        prop_assert_eq!(bins.iter().map(|bin| bin.wakes).sum::<u64>(), reading.wakes);
        prop_assert!(bins.len() <= BINS);
    }
}

#[test]
fn a_wait_of_a_day_costs_no_more_than_a_series() {
    let mut readings = Readings::default();
    let reading = Reading { in_flight: 3, ..Reading::default() };
    readings.stand_still(Duration::from_secs(86_400), &reading);
    let bins = readings.series().bins();
    assert!(bins.len() > BINS / 4 && bins.len() <= BINS, "{}", bins.len());
    assert!(bins.iter().all(|bin| bin.sums.in_flight == 3 * bin.looks && bin.looks <= 8));
}

#[test]
fn the_series_of_a_row_is_as_committed() {
    let (mut outcomes, mut readings) = (Outcomes::default(), Readings::default());
    let mut latency = DurationHistogram::default();
    for n in 0..300_u64 {
        outcomes.handshake(MS(n), MS(10 + n / 10));
        latency.record(Duration::from_micros(10_000 + n * 100));
        let reading = Reading {
            in_flight: n % 7,
            waiting: n % 2,
            ring: n % 5,
            working: 2,
            units: 4,
            wakes: n,
            ring_full: n / 100,
            faults: n / 150,
        };
        readings.read(MS(n), &reading);
    }
    outcomes.failure(MS(120));
    let row = RowTimeline::of("async", MS(301), &outcomes, Some(&readings), Some(8), &latency);
    assert_eq!(row.failed.iter().sum::<u64>(), 1);
    assert_eq!(row.units, Some(4));
    insta::assert_snapshot!(serde_json::to_string(&row).expect("plain data").replace("],", "],\n"));
}

#[test]
fn a_row_without_a_device_has_no_series_of_one() {
    let mut outcomes = Outcomes::default();
    outcomes.handshake(MS(4), MS(3));
    let latency = DurationHistogram::default();
    let row = RowTimeline::of("software", MS(5), &outcomes, None, None, &latency);
    assert!(row.ring.is_empty() && row.utilisation.is_empty());
    assert_eq!(row.at_s.len(), row.p99_ms.len());
}
