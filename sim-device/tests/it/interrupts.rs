//! Interrupts: coalescing, delivery, and software that relies on them alone.

use proptest::prelude::*;
use sim_device::{Instance, InstanceConfig, InterruptMode};

use crate::{SIGN, device, drain, group, simple, us};

fn interrupting(mode: InterruptMode) -> InstanceConfig {
    InstanceConfig {
        units: vec![group(SIGN, 4, us(10))],
        interrupts: mode,
        interrupt_latency: us(2),
        ..simple()
    }
}

#[test]
fn polling_never_interrupts() {
    let mut device = device(interrupting(InterruptMode::Polling));
    device.submit(us(0), SIGN, ()).unwrap();
    assert!(!device.interrupts());
    assert!(!device.take_interrupt(us(1_000)));
    assert_eq!(device.next_deadline(), None);
}

#[test]
fn an_interrupt_arrives_after_its_latency_and_is_taken_once() {
    let mut device = device(interrupting(InterruptMode::PerResponse));
    device.submit(us(0), SIGN, ()).unwrap();
    assert!(!device.take_interrupt(us(12)));
    assert_eq!(device.next_deadline(), Some(us(13)));
    assert!(device.take_interrupt(us(13)));
    assert!(!device.take_interrupt(us(13)));
    assert_eq!(device.responses_waiting(), 1);
}

#[test]
fn responses_share_an_interrupt_that_is_under_way() {
    let mut device = device(interrupting(InterruptMode::PerResponse));
    for at in 0..2 {
        device.submit(us(at), SIGN, ()).unwrap();
    }
    assert!(device.take_interrupt(us(13)));
    assert_eq!(drain(&mut device).len(), 2);
    assert!(!device.take_interrupt(us(1_000)));
    assert_eq!(device.stats().interrupts, 1);
}

#[test]
fn coalescing_ends_at_the_count_or_at_the_delay() {
    let mode = InterruptMode::Coalesced { responses: 3, delay: us(50) };
    let mut device = device(interrupting(mode));
    for _ in 0..3 {
        device.submit(us(0), SIGN, ()).unwrap();
    }
    assert!(device.take_interrupt(us(13)), "three responses");
    assert_eq!(drain(&mut device).len(), 3);

    device.submit(us(100), SIGN, ()).unwrap();
    assert!(!device.take_interrupt(us(162)));
    assert!(device.take_interrupt(us(163)), "one response, the delay is over");
}

#[test]
fn software_that_drains_the_ring_by_itself_is_not_interrupted_for_it() {
    let mode = InterruptMode::Coalesced { responses: 3, delay: us(50) };
    let mut device = device(interrupting(mode));
    device.submit(us(0), SIGN, ()).unwrap();
    device.advance(us(20));
    assert_eq!(drain(&mut device).len(), 1);
    assert_eq!(device.next_deadline(), None);
    assert!(!device.take_interrupt(us(1_000)));
}

/// Takes the interrupt at each deadline, and drains the ring only then.
fn run_by_interrupt(device: &mut Instance<u32>) -> usize {
    let mut drained = 0;
    for _ in 0..10_000 {
        let Some(next) = device.next_deadline() else { return drained };
        if device.take_interrupt(next) {
            drained += drain(device).len();
        }
    }
    panic!("the device never came to rest: {device:?}");
}

proptest! {
    #[test]
    fn l3_no_response_goes_unannounced(
        gaps in prop::collection::vec(0u64..30, 1..60),
        responses in 1u32..6,
        delay in 0u64..40,
        latency in 0u64..20,
    ) {
        let mode = InterruptMode::Coalesced { responses, delay: us(delay) };
        let config = InstanceConfig {
            interrupt_latency: us(latency),
            response_depth: 4,
            ..interrupting(mode)
        };
        let mut device = device(config);
        let mut now = us(0);
        let mut drained = 0;
        for gap in &gaps {
            now += us(*gap);
            if device.take_interrupt(now) {
                drained += drain(&mut device).len();
            }
            device.submit(now, SIGN, 0).unwrap();
        }
        drained += run_by_interrupt(&mut device);
        prop_assert_eq!(drained, gaps.len());
        prop_assert_eq!(device.occupancy(), 0);
    }
}

#[test]
fn responses_that_the_software_has_seen_do_not_count_towards_the_next_interrupt() {
    let mode = InterruptMode::Coalesced { responses: 3, delay: us(50) };
    let mut device = device(interrupting(mode));
    device.submit(us(0), SIGN, ()).unwrap();
    device.submit(us(0), SIGN, ()).unwrap();
    device.advance(us(20));
    assert_eq!(drain(&mut device).len(), 2);
    device.submit(us(20), SIGN, ()).unwrap();
    assert!(!device.take_interrupt(us(40)), "one response of three");
}

#[test]
fn what_a_short_poll_leaves_behind_is_still_announced_in_time() {
    let mode = InterruptMode::Coalesced { responses: 3, delay: us(50) };
    let mut device = device(interrupting(mode));
    device.submit(us(0), SIGN, ()).unwrap();
    device.submit(us(0), SIGN, ()).unwrap();
    device.advance(us(20));
    assert_eq!(device.poll_responses(1, &mut Vec::new()), 1);
    assert!(device.take_interrupt(us(63)));
}
