//! Depths, credits, order and stalls.

use core::time::Duration;

use sim_device::{CompletionStatus, InstanceConfig, RingLayout, ServiceClass, SubmitError};

use crate::{SIGN, TICKET, device, drain, group, run_dry, simple, tags, us};

#[test]
fn a_request_takes_doorbell_and_service_time() {
    let mut device = device(simple());
    device.submit(us(5), SIGN, "a").unwrap();
    let done = run_dry(&mut device);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].payload, Some("a"));
    assert_eq!(done[0].status, CompletionStatus::Finished);
    assert_eq!(
        (done[0].submitted, done[0].started, done[0].finished),
        (us(5), Some(us(6)), us(16))
    );
    assert_eq!((done[0].queue_wait(), done[0].service_time()), (us(1), us(10)));
}

#[test]
fn a_full_ring_gives_the_payload_back_and_a_drained_response_makes_room() {
    let mut device = device(InstanceConfig { ring_depth: 2, ..simple() });
    device.submit(us(0), SIGN, 1).unwrap();
    device.submit(us(0), SIGN, 2).unwrap();
    assert_eq!(device.submit(us(0), SIGN, 3), Err(SubmitError::RingFull(3)));

    // The entry is free only when the software has drained the response.
    device.advance(us(11));
    assert_eq!(device.responses_waiting(), 1);
    assert_eq!(device.submit(us(11), SIGN, 3).unwrap_err().into_payload(), 3);
    assert_eq!(drain(&mut device).len(), 1);
    assert_eq!(device.credits(SIGN), Some(1));
    device.submit(us(11), SIGN, 3).unwrap();
    assert_eq!(device.stats().refused_full, 2);
}

#[test]
fn an_unknown_class_is_refused_with_the_payload() {
    let mut device = device(simple());
    let refused = device.submit(us(0), ServiceClass(9), "x").unwrap_err();
    assert_eq!(refused.into_payload(), "x");
    assert_eq!(device.credits(ServiceClass(9)), None);
}

#[test]
fn a_class_with_its_own_ring_is_not_filled_by_another() {
    let units = vec![group(SIGN, 1, us(1_000)), group(TICKET, 1, us(1))];
    let config = InstanceConfig { ring_depth: 1, units, ..simple() };
    let mut own = device(config.clone());
    own.submit(us(0), SIGN, ()).unwrap();
    own.submit(us(0), TICKET, ()).expect("its ring is empty");

    let mut shared = device(InstanceConfig { rings: RingLayout::Shared, ..config });
    shared.submit(us(0), SIGN, ()).unwrap();
    assert_eq!(shared.submit(us(0), TICKET, ()), Err(SubmitError::RingFull(())));
}

#[test]
fn a_full_response_ring_stalls_units_until_it_is_drained() {
    let config = InstanceConfig { response_depth: 1, ..simple() };
    let mut device = device(config);
    for name in ["a", "b", "c"] {
        device.submit(us(0), SIGN, name).unwrap();
    }
    // `a` at 11 fills the ring, `b` at 21 holds the only unit, `c` cannot start.
    device.advance(us(100));
    assert_eq!(device.responses_waiting(), 1);
    assert_eq!(device.stats().response_stalls, 1);
    assert_eq!(device.next_deadline(), None);

    // Draining one frees the unit of `b`, and `c` starts at that instant.
    let mut into = Vec::new();
    assert_eq!(device.poll_responses(1, &mut into), 1);
    assert_eq!(device.next_deadline(), Some(us(110)));
    into.append(&mut run_dry(&mut device));
    assert_eq!(tags(&into), [0, 1, 2]);
    assert_eq!(into[2].started, Some(us(100)));
}

#[test]
fn poll_takes_no_more_than_it_is_told() {
    let mut device = device(InstanceConfig { units: vec![group(SIGN, 8, us(10))], ..simple() });
    for name in 0..8 {
        device.submit(us(0), SIGN, name).unwrap();
    }
    device.advance(us(11));
    let mut into = Vec::new();
    assert_eq!(device.poll_responses(3, &mut into), 3);
    assert_eq!(device.poll_responses(0, &mut into), 0);
    assert_eq!(device.poll_responses(99, &mut into), 5);
    assert_eq!(tags(&into), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((device.stats().polls, device.stats().empty_polls), (3, 1));
}

#[test]
fn a_time_that_goes_back_is_taken_as_the_latest() {
    let mut device = device(simple());
    device.advance(us(50));
    device.submit(us(10), SIGN, ()).unwrap();
    assert_eq!(device.now(), us(50));
    assert_eq!(run_dry(&mut device)[0].submitted, us(50));
}

#[test]
fn without_doorbell_and_service_time_a_request_is_done_at_once() {
    let units = vec![group(SIGN, 1, Duration::ZERO)];
    let mut device = device(InstanceConfig { units, doorbell: Duration::ZERO, ..simple() });
    device.submit(us(3), SIGN, "a").unwrap();
    assert_eq!(device.next_deadline(), None);
    assert_eq!(drain(&mut device)[0].finished, us(3));
}

#[test]
fn utilisation_is_the_share_of_unit_time_at_work() {
    let mut device = device(InstanceConfig { units: vec![group(SIGN, 2, us(10))], ..simple() });
    for name in 0..3 {
        device.submit(us(0), SIGN, name).unwrap();
    }
    run_dry(&mut device);
    assert_eq!(device.now(), us(21));
    device.advance(us(30));
    // Three services of 10 in 30, on two units.
    assert!((device.stats().class(SIGN).unwrap().utilisation(us(30)) - 0.5).abs() < 1e-12);
}

#[test]
fn debug_output_never_shows_a_payload() {
    let mut device = device(InstanceConfig { ring_depth: 1, ..simple() });
    device.submit(us(0), SIGN, "secret").unwrap();
    let refused = device.submit(us(0), SIGN, "secret").unwrap_err();
    let shown = format!("{device:?} {refused:?} {refused}");
    let completion = run_dry(&mut device).remove(0);
    assert!(!format!("{shown} {completion:?}").contains("secret"));
}

#[test]
fn a_pool_serves_who_came_first_whatever_the_class() {
    let units = vec![group(SIGN, 2, us(100)), group(TICKET, 1, us(10))];
    let mut device = device(InstanceConfig { units, pool: Some(1), ..simple() });
    for (at, class) in [(0, SIGN), (1, TICKET), (2, SIGN)] {
        device.submit(us(at), class, ()).unwrap();
    }
    let finished: Vec<_> = run_dry(&mut device).iter().map(|done| done.finished).collect();
    assert_eq!(finished, [us(101), us(111), us(211)]);
    assert_eq!(device.stats().units, 1);
}
