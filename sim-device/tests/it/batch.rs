//! Units that serve several requests at once.

use core::time::Duration;

use sim_device::{Batch, Fault, InstanceConfig, Trigger, UnitConfig};

use crate::{SIGN, TICKET, device, group, run_dry, simple, tags, us, with_fault};

/// One unit with batches of four, a service time of 10 us and a timeout of 50 us.
fn fours() -> UnitConfig {
    group(SIGN, 1, us(10)).batched(Batch { size: 4, timeout: us(50) })
}

fn batching() -> InstanceConfig {
    InstanceConfig { units: vec![fours()], ..simple() }
}

/// When each request finished, of those started after.
fn finished(config: InstanceConfig, submitted: &[u64]) -> Vec<Duration> {
    let mut device = device(config);
    for at in submitted {
        device.submit(us(*at), SIGN, ()).unwrap();
    }
    run_dry(&mut device).iter().map(|done| done.finished).collect()
}

#[test]
fn a_full_batch_starts_with_its_last_request_and_one_that_is_not_by_the_timeout() {
    // Seen at 1, 2, 3 and 4, done 10 later.
    assert_eq!(finished(batching(), &[0, 1, 2, 3]), [us(14); 4]);
    // With one request less, the unit waits for the timeout of the first.
    assert_eq!(finished(batching(), &[0, 1, 2]), [us(61); 3]);
}

#[test]
fn a_request_that_comes_with_the_timeout_is_taken_along() {
    assert_eq!(finished(batching(), &[0, 50]), [us(61); 2]);
    assert_eq!(finished(batching(), &[0, 51]), [us(61), us(112)]);
}

#[test]
fn what_has_waited_for_a_busy_unit_has_waited_enough() {
    let slow = InstanceConfig {
        units: vec![group(SIGN, 1, us(80)).batched(Batch { size: 2, timeout: us(50) })],
        ..simple()
    };
    // The third is seen at 1 and its timeout over at 51; the unit is free at 81.
    assert_eq!(finished(slow, &[0, 0, 0]), [us(81), us(81), us(161)]);
}

#[test]
fn without_a_timeout_a_unit_takes_what_is_there() {
    let greedy = InstanceConfig {
        units: vec![group(SIGN, 1, us(10)).batched(Batch { size: 4, timeout: Duration::ZERO })],
        ..simple()
    };
    assert_eq!(finished(greedy, &[0, 1, 2, 3]), [us(11), us(21), us(21), us(21)]);
}

#[test]
fn a_batch_is_busy_once_and_counted_once() {
    let mut device = device(batching());
    for _ in 0..6 {
        device.submit(us(0), SIGN, ()).unwrap();
    }
    device.advance(us(5));
    assert_eq!(device.stats().class(SIGN).unwrap().working, 1);
    run_dry(&mut device);
    let class = device.stats().class(SIGN).unwrap();
    assert_eq!((class.finished, class.services, class.working), (6, 2, 0));
    assert_eq!(class.busy, us(20));
    assert!((class.mean_batch() - 3.0).abs() < 1e-12);
}

#[test]
fn a_unit_begins_anew_when_its_whole_batch_is_on_the_response_ring() {
    let mut device = device(InstanceConfig { response_depth: 3, ..batching() });
    for _ in 0..8 {
        device.submit(us(0), SIGN, ()).unwrap();
    }
    device.advance(us(100));
    // Three are on the ring, and the unit keeps the fourth.
    assert_eq!((device.responses_waiting(), device.next_deadline()), (3, None));
    assert_eq!(device.stats().class(SIGN).unwrap().working, 1);
    let mut into = Vec::new();
    device.poll_responses(1, &mut into);
    assert_eq!(device.next_deadline(), Some(us(110)));
    into.append(&mut run_dry(&mut device));
    assert_eq!(tags(&into), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_lost_response_gives_its_unit_back_with_the_batch() {
    let config =
        InstanceConfig { units: vec![fours()], ..with_fault(Fault::Lost, Trigger::Nth(2)) };
    let mut device = device(config);
    for _ in 0..8 {
        device.submit(us(0), SIGN, ()).unwrap();
    }
    assert_eq!(tags(&run_dry(&mut device)), [0, 2, 3, 4, 5, 6, 7]);
    assert_eq!(device.stats().class(SIGN).unwrap().working, 0);
}

#[test]
fn a_reset_empties_half_a_batch_and_the_next_fills_from_nothing() {
    let mut device = device(batching());
    device.submit(us(0), SIGN, ()).unwrap();
    device.reset(us(10), us(5));
    assert_eq!(run_dry(&mut device).len(), 1);
    for _ in 0..3 {
        device.submit(us(20), SIGN, ()).unwrap();
    }
    let done: Vec<_> = run_dry(&mut device).iter().map(|done| done.finished).collect();
    assert_eq!(done, [us(81); 3]);
}

#[test]
fn a_class_that_waits_for_its_batch_keeps_no_unit_of_the_pool_from_another() {
    let units = vec![fours(), group(TICKET, 1, us(10))];
    let mut device = device(InstanceConfig { units, pool: Some(1), ..simple() });
    device.submit(us(0), SIGN, ()).unwrap();
    device.submit(us(0), TICKET, ()).unwrap();
    let done: Vec<_> = run_dry(&mut device).iter().map(|d| (d.class, d.finished)).collect();
    assert_eq!(done, [(TICKET, us(11)), (SIGN, us(61))]);
}
