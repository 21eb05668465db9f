//! What makes the numbers of a run doubtful though no law is broken: processors that were missing, a queue that grew.

use crate::{
    bench_machine::Taken,
    recording::RowTimeline,
    results::{Results, RowReport},
};

/// Threads that waited for a processor for more than this share of their busy time were measured with the machine.
const PROCESSOR_WAIT: f64 = 0.3;

/// An open loop keeps up if it completes at least this share of what is offered.
const KEEPS_UP: f64 = 0.95;

/// A device that is busy for this share of the time has nothing to spare.
const SATURATED: f64 = 0.99;

/// Latency climbs if its median in the last quarter of the row is this many times that in the second quarter.
const CLIMBS: f64 = 1.5;

/// The rows whose numbers are doubtful, with the reason; empty if all can be trusted. `taken` is what the run did not get of
/// the machine: in a virtual machine, a thread that the host has stopped counts as running.
pub fn doubts(results: &Results, taken: Option<Taken>) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(taken) = taken.filter(|taken| taken.is_much()) {
        doubts.push(format!("the run did not have the machine for itself: {taken}"));
    }
    let starved: Vec<String> = results
        .rows
        .iter()
        .filter_map(|row| {
            Some((row, row.processor_wait_share.filter(|share| *share > PROCESSOR_WAIT)?))
        })
        .map(|(row, share)| format!("{:?} ({:.0} %)", row.name, 100.0 * share))
        .collect();
    if !starved.is_empty() {
        doubts.push(format!(
            "the machine was busy: threads were ready to run and waited for a processor in row {}",
            starved.join(", ")
        ));
    }
    for row in &results.rows {
        let timeline = results.timelines.iter().find(|timeline| timeline.name == row.name);
        if let Some(times) = timeline.and_then(climb) {
            doubts.extend(growing_queue(row, times));
        }
    }
    doubts
}

/// Says that the queue of an open loop grew to the end; `times` is how often the median latency multiplied.
fn growing_queue(row: &RowReport, times: f64) -> Option<String> {
    let offered = row.offered_per_s?;
    let is_saturated = row.device_utilisation.is_some_and(|busy| busy >= SATURATED);
    let keeps_up = row.handshakes_per_s >= KEEPS_UP * offered;
    (times >= CLIMBS && (is_saturated || !keeps_up)).then(|| {
        let busy = row.device_utilisation.map_or_else(String::new, |busy| {
            format!(", the device was busy for {:.0} % of the time", 100.0 * busy)
        });
        format!(
            "row {:?} had a queue that grew to the end: {offered:.0} handshakes a second were offered and {:.0} \
             completed{busy}, and the median latency became {times:.1} times as long; its latencies depend on how long \
             the row runs",
            row.name, row.handshakes_per_s
        )
    })
}

/// The median latency of the last quarter over that of the second: the first quarter is warm-up.
fn climb(timeline: &RowTimeline) -> Option<f64> {
    let points = timeline.p50_ms.len();
    let median = |range: std::ops::Range<usize>| {
        let mut values: Vec<f64> = timeline.p50_ms[range].iter().copied().flatten().collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let (early, late) = (median(points / 4..points / 2)?, median(3 * points / 4..points)?);
    (early > 0.0).then_some(late / early)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::results;

    /// One row of 16 points under an open loop of 1,000 a second, of which `completed` are served.
    fn open_loop(completed: f64, busy: f64, growth: f64) -> Results {
        let mut results = results();
        results.rows.truncate(1);
        results.rows[0].offered_per_s = Some(1_000.0);
        results.rows[0].handshakes_per_s = completed;
        results.rows[0].device_utilisation = Some(busy);
        let p50_ms = (0..16).map(|n| Some(10.0 + growth * f64::from(n))).collect();
        let name = results.rows[0].name.clone();
        results.timelines = vec![RowTimeline { name, p50_ms, ..RowTimeline::default() }];
        results
    }

    #[test]
    fn a_row_without_processors_is_doubtful() {
        let mut results = results();
        results.rows[1].processor_wait_share = Some(0.2);
        assert!(doubts(&results, None).is_empty());
        results.rows[1].processor_wait_share = Some(0.45);
        let said = doubts(&results, None);
        assert_eq!(said.len(), 1);
        assert!(said[0].ends_with("waited for a processor in row \"async\" (45 %)"), "{said:?}");
    }

    #[test]
    fn a_run_on_a_machine_that_others_use_is_doubtful() {
        let said = |stolen, others| doubts(&results(), Some(Taken { stolen, others }));
        assert!(said(0.9, 9.0).is_empty());
        assert_eq!(said(12.0, 3.0).len(), 1);
        assert!(said(0.0, 40.0)[0].contains("other processes had 40 %"), "{:?}", said(0.0, 40.0));
    }

    #[test]
    fn a_queue_that_grows_to_the_end_is_doubtful() {
        let said = doubts(&open_loop(850.0, 1.0, 10.0), None);
        assert_eq!(said.len(), 1);
        assert!(
            said[0].contains("1000 handshakes a second were offered and 850 completed"),
            "{said:?}"
        );
        // Saturated, though what was in the queue was still served.
        assert_eq!(doubts(&open_loop(980.0, 0.995, 10.0), None).len(), 1);
    }

    #[test]
    fn a_steady_row_and_a_closed_loop_are_not() {
        assert!(doubts(&open_loop(850.0, 1.0, 0.0), None).is_empty());
        assert!(doubts(&open_loop(990.0, 0.8, 10.0), None).is_empty());
        let mut closed = open_loop(850.0, 1.0, 10.0);
        closed.rows[0].offered_per_s = None;
        assert!(doubts(&closed, None).is_empty());
    }
}
