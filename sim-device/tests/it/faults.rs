//! Each fault alone, with the times at which it takes effect.

use sim_device::{
    CompletionStatus, Fault, FaultPlan, FaultRule, Instance, InstanceConfig, InterruptMode,
};
use sim_device::{Presence, SubmitError, Trigger};

use crate::{SIGN, TICKET, device, drain, group, run_dry, simple, tags, us, with_fault, with_rule};

#[test]
fn a_stuck_ring_refuses_although_it_is_empty_and_says_when_it_is_ready() {
    let fault = Fault::RingStuck { lasts: us(100) };
    let mut device = device(with_fault(fault, Trigger::Nth(1)));
    assert_eq!(device.submit(us(5), SIGN, "a"), Err(SubmitError::RingFull("a")));
    assert_eq!((device.is_stuck(), device.credits(SIGN)), (true, Some(0)));
    assert_eq!(device.next_deadline(), Some(us(105)));
    assert_eq!(device.submit(us(104), SIGN, "a"), Err(SubmitError::RingFull("a")));
    device.submit(us(105), SIGN, "a").expect("the fault is over");
    assert_eq!((device.is_stuck(), device.credits(SIGN)), (false, Some(63)));
    assert!(device.is_sound());
}

#[test]
fn a_lost_response_keeps_its_entry_until_it_is_reclaimed() {
    let mut device = device(with_fault(Fault::Lost, Trigger::Nth(1)));
    let lost = device.submit(us(0), SIGN, "a").unwrap();
    let other = device.submit(us(0), SIGN, "b").unwrap();
    assert_eq!(device.reclaim(lost), None, "not lost yet");
    assert_eq!(tags(&run_dry(&mut device)), [other.as_u64()]);
    assert_eq!(device.occupancy(), 1);
    assert!(!device.is_sound());
    assert_eq!(device.reclaim(lost), Some("a"));
    assert_eq!(device.reclaim(lost), None);
    assert_eq!((device.occupancy(), device.credits(SIGN)), (0, Some(64)));
    assert!(device.is_sound());
}

#[test]
fn a_lost_response_comes_back_with_a_reset() {
    let mut device = device(with_fault(Fault::Lost, Trigger::Nth(1)));
    device.submit(us(0), SIGN, "a").unwrap();
    assert!(run_dry(&mut device).is_empty());
    device.reset(us(50), us(10));
    let back = drain(&mut device);
    assert_eq!((back[0].payload, back[0].status), (Some("a"), CompletionStatus::Reset));
}

#[test]
fn a_late_response_does_not_hold_its_unit() {
    let mut device = device(with_fault(Fault::Late { by: us(500) }, Trigger::Nth(1)));
    device.submit(us(0), SIGN, "a").unwrap();
    device.submit(us(0), SIGN, "b").unwrap();
    device.advance(us(21));
    assert_eq!(tags(&drain(&mut device)), [1]);
    assert_eq!(device.next_deadline(), Some(us(511)));
    let late = run_dry(&mut device);
    assert_eq!((tags(&late), late[0].finished), (vec![0], us(11)));
}

#[test]
fn a_duplicate_has_the_same_tag_and_no_payload() {
    let mut device = device(with_fault(Fault::Duplicate, Trigger::Nth(1)));
    device.submit(us(0), SIGN, "a").unwrap();
    let both = run_dry(&mut device);
    assert_eq!(tags(&both), [0, 0]);
    assert_eq!((both[0].payload, both[1].payload), (Some("a"), None));
    assert_eq!(device.stats().duplicates, 1);
    assert_eq!(device.credits(SIGN), Some(64), "one entry was freed, once");
}

#[test]
fn a_reordered_response_is_overtaken() {
    let mut device = device(with_fault(Fault::Reordered { behind: 2 }, Trigger::Nth(1)));
    for name in ["a", "b", "c", "d"] {
        device.submit(us(0), SIGN, name).unwrap();
    }
    assert_eq!(tags(&run_dry(&mut device)), [1, 2, 0, 3]);
}

#[test]
fn a_reordered_response_with_none_left_to_overtake_it_is_written() {
    let mut device = device(with_fault(Fault::Reordered { behind: 9 }, Trigger::Nth(1)));
    device.submit(us(0), SIGN, "a").unwrap();
    device.submit(us(0), SIGN, "b").unwrap();
    assert_eq!(tags(&run_dry(&mut device)), [1, 0]);
}

#[test]
fn corruption_and_device_errors_show_in_the_outcome() {
    for (fault, outcome) in [
        (Fault::Corrupt, CompletionStatus::Corrupt),
        (Fault::DeviceError, CompletionStatus::DeviceError),
    ] {
        let mut device = device(with_fault(fault, Trigger::Nth(2)));
        device.submit(us(0), SIGN, "a").unwrap();
        device.submit(us(0), SIGN, "b").unwrap();
        let outcomes: Vec<_> = run_dry(&mut device).iter().map(|done| done.status).collect();
        assert_eq!(outcomes, [CompletionStatus::Finished, outcome]);
        assert_eq!(outcome.claims_success(), fault == Fault::Corrupt);
    }
}

#[test]
fn a_misdirected_completion_carries_the_tag_of_another_request() {
    let mut device = device(with_fault(Fault::Misdirected, Trigger::Nth(1)));
    for name in ["a", "b", "c"] {
        device.submit(us(0), SIGN, name).unwrap();
    }
    let done = run_dry(&mut device);
    let pairs: Vec<_> = done.iter().map(|c| (c.entry.as_u64(), c.payload.unwrap())).collect();
    assert_eq!(pairs, [(1, "a"), (0, "b"), (2, "c")]);
}

#[test]
fn a_misdirection_waits_for_a_second_request() {
    let mut device = device(with_fault(Fault::Misdirected, Trigger::Nth(1)));
    device.submit(us(0), SIGN, "a").unwrap();
    assert_eq!(tags(&run_dry(&mut device)), [0]);
    assert_eq!(device.faults_left(), 1);
    device.submit(us(100), SIGN, "b").unwrap();
    device.submit(us(100), SIGN, "c").unwrap();
    assert_eq!(tags(&run_dry(&mut device)), [2, 1]);
    assert_eq!(device.faults_left(), 0);
}

#[test]
fn a_reset_brings_everything_back_oldest_first_and_refuses_for_a_while() {
    let fault = Fault::Reset { downtime: us(100) };
    let mut device = device(with_fault(fault, Trigger::At(us(15))));
    for name in ["a", "b", "c"] {
        device.submit(us(0), SIGN, name).unwrap();
    }
    device.advance(us(15));
    assert_eq!(device.presence(), Presence::Resetting { until: us(115) });
    let back = drain(&mut device);
    let outcomes: Vec<_> = back.iter().map(|done| done.status).collect();
    assert_eq!(
        outcomes,
        [CompletionStatus::Finished, CompletionStatus::Reset, CompletionStatus::Reset]
    );
    assert_eq!(tags(&back), [0, 1, 2]);
    assert_eq!((back[1].started, back[2].started), (Some(us(11)), None));
    assert_eq!(device.submit(us(20), SIGN, "d"), Err(SubmitError::Resetting("d")));
    assert_eq!(device.next_deadline(), Some(us(115)));
    device.submit(us(115), SIGN, "d").expect("the reset is over");
    assert_eq!(run_dry(&mut device)[0].status, CompletionStatus::Finished);
}

#[test]
fn a_reset_also_brings_back_what_units_kept_for_want_of_room() {
    let mut device = device(InstanceConfig { response_depth: 1, ..simple() });
    for name in ["a", "b", "c"] {
        device.submit(us(0), SIGN, name).unwrap();
    }
    device.advance(us(50));
    device.reset(us(50), us(1));
    // More than the response ring holds: the driver completes them, not the device.
    let back = drain(&mut device);
    let outcomes: Vec<_> = back.iter().map(|done| (done.payload, done.status)).collect();
    assert_eq!(
        outcomes,
        [
            (Some("a"), CompletionStatus::Finished),
            (Some("b"), CompletionStatus::Reset),
            (Some("c"), CompletionStatus::Reset)
        ]
    );
    device.submit(us(51), SIGN, "d").unwrap();
    assert_eq!(tags(&run_dry(&mut device)), [3]);
}

#[test]
fn a_removed_instance_gives_its_requests_back_and_returns() {
    let fault = Fault::Removal { absent: Some(us(1_000)) };
    let mut device = device(with_fault(fault, Trigger::Nth(2)));
    device.submit(us(0), SIGN, "a").unwrap();
    assert_eq!(device.submit(us(5), SIGN, "b"), Err(SubmitError::Removed("b")));
    assert_eq!(device.presence(), Presence::Removed { until: Some(us(1_005)) });
    let back = drain(&mut device);
    assert_eq!((back[0].payload, back[0].status), (Some("a"), CompletionStatus::Removed));
    device.reset(us(10), us(1));
    assert_eq!(device.stats().faults, 1, "there is nothing to reset");
    device.submit(us(1_005), SIGN, "b").expect("it is plugged in again");
    assert_eq!(run_dry(&mut device)[0].status, CompletionStatus::Finished);
}

#[test]
fn a_removal_for_good_leaves_no_deadline() {
    let mut device = device(simple());
    device.submit(us(0), SIGN, "a").unwrap();
    device.inject(us(1), Fault::Removal { absent: None });
    drain(&mut device);
    assert_eq!((device.next_deadline(), device.occupancy()), (None, 0));
    let before = device.heartbeat(us(1));
    assert_eq!(device.heartbeat(us(1_000_000_000)), before);
}

#[test]
fn a_lost_heartbeat_stands_still_while_work_goes_on() {
    let config = InstanceConfig { heartbeat: us(10), ..simple() };
    let mut device = device(config);
    assert_eq!(device.heartbeat(us(35)), 3);
    device.inject(us(35), Fault::HeartbeatLoss { lasts: us(100) });
    device.submit(us(35), SIGN, "a").unwrap();
    assert_eq!(device.heartbeat(us(134)), 3);
    assert!(!device.is_sound());
    assert_eq!(tags(&drain(&mut device)), [0]);
    assert_eq!(device.heartbeat(us(155)), 5);
}

#[test]
fn a_hang_stops_heart_and_work_and_both_go_on() {
    let config = InstanceConfig { heartbeat: us(10), ..simple() };
    let mut device = device(config);
    device.submit(us(0), SIGN, "a").unwrap();
    device.inject(us(5), Fault::Hang { lasts: us(100) });
    device.submit(us(6), SIGN, "b").unwrap();
    assert_eq!(device.next_deadline(), Some(us(105)));
    assert_eq!(device.heartbeat(us(104)), 0);
    let done = run_dry(&mut device);
    assert_eq!((done[0].finished, done[1].finished), (us(105), us(115)));
    assert!(device.is_sound());
}

#[test]
fn a_reset_ends_a_hang() {
    let mut device = device(simple());
    device.submit(us(0), SIGN, "a").unwrap();
    device.inject(us(1), Fault::Hang { lasts: us(1_000_000) });
    device.reset(us(2), us(10));
    assert_eq!(drain(&mut device)[0].status, CompletionStatus::Reset);
    device.submit(us(12), SIGN, "b").unwrap();
    assert_eq!(run_dry(&mut device)[0].finished, us(23));
    assert!(device.is_sound());
}

#[test]
fn a_lost_interrupt_is_made_good_by_the_next() {
    let config = InstanceConfig {
        interrupts: InterruptMode::PerResponse,
        interrupt_latency: us(2),
        ..with_fault(Fault::InterruptLost, Trigger::Nth(1))
    };
    let mut device = device(config);
    device.submit(us(0), SIGN, "a").unwrap();
    assert!(!device.take_interrupt(us(1_000)));
    assert_eq!(device.responses_waiting(), 1);
    device.submit(us(1_000), SIGN, "b").unwrap();
    assert!(device.take_interrupt(us(1_013)));
    assert_eq!(tags(&drain(&mut device)), [0, 1]);
    assert_eq!(device.stats().interrupts_lost, 1);
}

#[test]
fn a_rule_for_one_class_spares_the_others() {
    let rule = FaultRule::new(Fault::Corrupt, Trigger::Every(1)).only(TICKET).budget(9);
    let units = vec![group(SIGN, 1, us(10)), group(TICKET, 1, us(10))];
    let mut device = device(InstanceConfig { units, ..with_rule(rule) });
    device.submit(us(0), SIGN, "a").unwrap();
    device.submit(us(0), TICKET, "b").unwrap();
    for done in run_dry(&mut device) {
        assert_eq!(done.status == CompletionStatus::Corrupt, done.class == TICKET);
    }
}

#[test]
fn a_budget_bounds_the_strikes_of_a_rule_and_of_the_plan() {
    let corrupt = FaultRule::new(Fault::Corrupt, Trigger::Every(2)).budget(2);
    let error = FaultRule::new(Fault::DeviceError, Trigger::Every(3)).budget(50);
    let faults = FaultPlan { rules: vec![corrupt, error], budget: Some(4) };
    let mut device = device(InstanceConfig { faults, ..simple() });
    assert_eq!(device.faults_left(), 4);
    for request in 0..20 {
        device.submit(us(0), SIGN, request).unwrap();
    }
    let struck: Vec<_> = run_dry(&mut device)
        .iter()
        .filter(|done| done.status != CompletionStatus::Finished)
        .map(|done| (done.entry.as_u64(), done.status))
        .collect();
    let expected = [
        (1, CompletionStatus::Corrupt),
        (2, CompletionStatus::DeviceError),
        (3, CompletionStatus::Corrupt),
        (5, CompletionStatus::DeviceError),
    ];
    assert_eq!(struck, expected);
    assert_eq!((device.faults_left(), device.is_sound()), (0, true));
}

#[test]
fn disarmed_faults_never_strike_not_even_at_their_time() {
    let at = FaultRule::new(Fault::Reset { downtime: us(1) }, Trigger::At(us(50)));
    let chance = FaultRule::new(Fault::Corrupt, Trigger::Chance(1.0)).budget(100);
    let faults = FaultPlan { rules: vec![at, chance], budget: None };
    let mut device = device(InstanceConfig { faults, ..simple() });
    assert_eq!(device.next_deadline(), Some(us(50)));
    device.disarm_faults();
    assert_eq!(device.next_deadline(), None);
    device.submit(us(0), SIGN, ()).unwrap();
    device.advance(us(100));
    assert_eq!(drain(&mut device)[0].status, CompletionStatus::Finished);
    assert_eq!(device.stats().faults, 0);
}

#[test]
fn a_fault_injected_by_hand_waits_for_its_opportunity() {
    let mut device = device(simple());
    device.inject(us(0), Fault::DeviceError);
    device.submit(us(0), SIGN, "a").unwrap();
    device.submit(us(0), SIGN, "b").unwrap();
    let outcomes: Vec<_> = run_dry(&mut device).iter().map(|done| done.status).collect();
    assert_eq!(outcomes, [CompletionStatus::DeviceError, CompletionStatus::Finished]);
}

#[test]
fn a_fault_rule_leaves_service_times_as_they_were() {
    let service = sim_device::ServiceTime::Exponential { mean: us(10) };
    let units = vec![sim_device::UnitConfig::new(SIGN, 2, service)];
    let finished = |config: InstanceConfig| {
        let mut device = device(InstanceConfig { units: units.clone(), ..config });
        for request in 0..50 {
            device.submit(us(0), SIGN, request).unwrap();
        }
        run_dry(&mut device).iter().map(|done| done.finished).collect::<Vec<_>>()
    };
    let corrupt = FaultRule::new(Fault::Corrupt, Trigger::Chance(0.5)).budget(100);
    assert_eq!(finished(simple()), finished(with_rule(corrupt)));
}

#[test]
fn a_card_fails_as_a_whole_and_its_instances_one_by_one() {
    let mut card = Instance::several([simple(), simple()], 3).unwrap();
    for (n, instance) in card.iter_mut().enumerate() {
        instance.submit(us(0), SIGN, n).unwrap();
    }
    card[1].reset(us(1), us(5));
    for instance in &mut card {
        instance.advance(us(6));
        assert_eq!(instance.presence(), Presence::Present);
        instance.inject(us(7), Fault::Removal { absent: None });
    }
    let outcomes: Vec<_> = card.iter_mut().map(|instance| drain(instance)[0].status).collect();
    assert_eq!(outcomes, [CompletionStatus::Removed, CompletionStatus::Reset]);
    assert!(card.iter().all(|instance| instance.occupancy() == 0));
}

#[test]
fn what_comes_back_is_in_order_also_when_places_were_reused() {
    let mut device = device(InstanceConfig { units: vec![group(SIGN, 2, us(10))], ..simple() });
    for name in 0..4 {
        device.submit(us(0), SIGN, name).unwrap();
    }
    device.advance(us(11));
    assert_eq!(tags(&drain(&mut device)), [0, 1]);
    device.submit(us(11), SIGN, 4).unwrap();
    device.submit(us(11), SIGN, 5).unwrap();
    device.reset(us(12), us(1));
    assert_eq!(tags(&drain(&mut device)), [2, 3, 4, 5]);
}

#[test]
fn a_removal_during_a_reset_outlasts_it() {
    let mut device = device::<()>(simple());
    device.inject(us(0), Fault::Hang { lasts: us(30) });
    device.inject(us(0), Fault::Reset { downtime: us(10) });
    device.inject(us(5), Fault::Removal { absent: Some(us(100)) });
    assert_eq!(device.next_deadline(), Some(us(105)), "the only thing to come is the return");
    device.advance(us(104));
    assert_eq!(device.presence(), Presence::Removed { until: Some(us(105)) });
    device.advance(us(105));
    assert!(device.is_sound());
}

#[test]
fn what_a_removal_brought_back_is_not_brought_back_again_by_a_reset() {
    let mut device = device(InstanceConfig { response_depth: 1, ..simple() });
    device.submit(us(0), SIGN, "a").unwrap();
    device.submit(us(0), SIGN, "b").unwrap();
    device.inject(us(5), Fault::Removal { absent: Some(us(10)) });
    device.reset(us(20), us(1));
    let back = drain(&mut device);
    assert!(
        back.iter().all(|done| (done.status, done.finished) == (CompletionStatus::Removed, us(5)))
    );
    assert_eq!(tags(&back), [0, 1]);
}

#[test]
fn after_a_misdirection_a_reset_gives_the_other_request_back_under_its_own_tag() {
    let mut device = device(with_fault(Fault::Misdirected, Trigger::Nth(1)));
    device.submit(us(0), SIGN, "a").unwrap();
    device.submit(us(0), SIGN, "b").unwrap();
    device.reset(us(12), us(1));
    let back = drain(&mut device);
    assert_eq!((back[0].payload, back[0].status), (Some("a"), CompletionStatus::Finished));
    assert_eq!((back[1].payload, back[1].status), (Some("b"), CompletionStatus::Reset));
    assert_eq!(tags(&back), [1, 1]);
}

#[test]
fn the_longer_of_two_standstills_of_the_heart_counts() {
    let mut device = device::<()>(InstanceConfig { heartbeat: us(10), ..simple() });
    device.inject(us(0), Fault::HeartbeatLoss { lasts: us(100) });
    device.inject(us(50), Fault::HeartbeatLoss { lasts: us(10) });
    assert_eq!(device.heartbeat(us(109)), 0);
    assert_eq!(device.heartbeat(us(110)), 1);
}

/// Which of a hundred responses are corrupt, one in each ten.
fn corrupt_of_a_hundred(seed: u64) -> Vec<usize> {
    let rule = FaultRule::new(Fault::Corrupt, Trigger::OneIn(10)).budget(100);
    let mut device = Instance::new(with_rule(rule), seed).expect("a valid configuration");
    let mut responses = Vec::new();
    for n in 0..10 {
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            device.submit(us(n * 1_000), SIGN, name).expect("the ring has room");
        }
        responses.extend(run_dry(&mut device));
    }
    let corrupt = |at: &usize| responses[*at].status == CompletionStatus::Corrupt;
    (0..responses.len()).filter(corrupt).collect()
}

#[test]
fn one_in_n_strikes_once_in_each_n_at_a_place_that_the_seed_draws() {
    let struck = corrupt_of_a_hundred(1);
    let tens: Vec<usize> = struck.iter().map(|at| at / 10).collect();
    assert_eq!(tens, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(struck.iter().any(|at| at % 10 != struck[0] % 10), "always the same: {struck:?}");
    assert_eq!(struck, corrupt_of_a_hundred(1));
    assert_ne!(struck, corrupt_of_a_hundred(2));
}
