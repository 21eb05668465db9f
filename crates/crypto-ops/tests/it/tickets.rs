//! Session tickets: a sealed ticket opens with its key, and nothing else opens.

use core::time::Duration;

use crypto_ops::testing::fake_output;
use crypto_ops::{
    CryptoOp, CryptoOutput, Secret, SoftwareKeys, TicketKey, TicketOp, TicketRotation, Work,
};
use proptest::prelude::*;
use zeroize::Zeroizing;

fn key(number: u8) -> TicketKey {
    TicketKey::new([number; 16], Zeroizing::new([number ^ 0x55; 32]))
}

fn execute(op: TicketOp) -> CryptoOutput {
    let op = CryptoOp::from(op);
    assert!(op.must_check());
    let output = SoftwareKeys::new().execute(&op).expect("the library works");
    assert_eq!(op.check(&output), Ok(()));
    output
}

fn sealed(key: &TicketKey, state: &[u8]) -> Vec<u8> {
    match execute(TicketOp::Seal { key: key.clone(), state: Secret::from(state) }) {
        CryptoOutput::Sealed(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn opened(key: &TicketKey, ticket: &[u8]) -> Option<Secret> {
    match execute(TicketOp::Open { key: key.clone(), ticket: ticket.to_vec() }) {
        CryptoOutput::Opened(state) => state,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_sealed_opens_and_no_changed_ticket_does(
        state in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let key = key(1);
        let mut ticket = sealed(&key, &state);
        prop_assert_eq!(ticket.len(), state.len() + TicketKey::OVERHEAD);
        prop_assert!(key.is_named_by(&ticket));
        prop_assert_eq!(opened(&key, &ticket), Some(Secret::new(state.clone())));
        prop_assert_ne!(&sealed(&key, &state), &ticket, "each ticket has its own nonce");
        prop_assert_eq!(opened(&key, &ticket[..at.index(ticket.len())]), None);
        let at = at.index(ticket.len());
        ticket[at] ^= 1 << bit;
        prop_assert_eq!(opened(&key, &ticket), None);
    }

    #[test]
    fn any_bytes_are_opened_without_a_panic(ticket in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(opened(&key(2), &ticket), None);
    }

    #[test]
    fn a_ticket_of_another_key_does_not_open(state in prop::collection::vec(any::<u8>(), 0..50)) {
        let ticket = sealed(&key(1), &state);
        prop_assert!(!key(2).is_named_by(&ticket));
        let namesake = TicketKey::new([1; 16], Zeroizing::new([9; 32]));
        prop_assert!(namesake.is_named_by(&ticket));
        prop_assert_eq!(opened(&namesake, &ticket), None);
    }

    #[test]
    fn l12_a_result_of_the_wrong_form_is_caught(state in prop::collection::vec(any::<u8>(), 1..50)) {
        let key = key(1);
        let seal =
            CryptoOp::from(TicketOp::Seal { key: key.clone(), state: Secret::from(&state[..]) });
        let ticket = sealed(&key, &state);
        prop_assert!(seal.check(&CryptoOutput::Sealed(ticket[1..].to_vec())).is_err());
        prop_assert!(seal.check(&CryptoOutput::Sealed(state.clone())).is_err());
        prop_assert!(seal.check(&CryptoOutput::Opened(None)).is_err());
        prop_assert!(seal.check(&fake_output(&seal)).is_ok());
        let open = CryptoOp::from(TicketOp::Open { key, ticket: ticket.clone() });
        let longer = Secret::new([&state[..], &[0]].concat());
        prop_assert!(open.check(&CryptoOutput::Opened(Some(longer))).is_err());
        prop_assert!(open.check(&CryptoOutput::Sealed(ticket)).is_err());
    }

    /// The key of period `n` seals during it, and opens until the end of period `n + 1`.
    #[test]
    fn a_rotation_seals_for_one_period_and_opens_for_one_more(
        steps in prop::collection::vec(0..25_u64, 1..40),
    ) {
        const PERIOD: Duration = Duration::from_secs(10);
        let start = Duration::from_secs(3);
        let mut now = start;
        let mut rotation = TicketRotation::new(PERIOD, key(0), now);
        let mut number = 0;
        // Each key with the start of its period.
        let mut periods = vec![(key(0), now)];
        for step in steps {
            now += Duration::from_secs(step);
            if rotation.is_due(now) {
                number += 1;
                rotation.rotate(key(number), now);
                let last = periods.last().expect("there is always one").1;
                let recently = now - last < 2 * PERIOD;
                periods.push((key(number), if recently { last + PERIOD } else { now }));
            }
            prop_assert!(!rotation.is_due(now));
            let (current, since) = periods.last().expect("there is always one");
            prop_assert_eq!(rotation.sealing_key(), current);
            prop_assert!(now - *since < PERIOD);
            for (key, since) in &periods {
                let ticket = sealed(key, b"state");
                let opens = rotation.opening_key(&ticket, now) == Some(key);
                prop_assert_eq!(opens, now < *since + 2 * PERIOD);
            }
        }
    }
}

fn extreme() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        Just(Duration::MAX - Duration::from_nanos(1)),
        any::<Duration>(),
    ]
}

proptest! {
    /// Times are not monotonic here, as when a caller reads its clock on several threads.
    #[test]
    fn no_period_and_no_time_makes_a_rotation_panic(
        period in extreme(), start in extreme(), times in prop::collection::vec(extreme(), 1..10),
    ) {
        let mut rotation = TicketRotation::new(period, key(0), start);
        let ticket = sealed(&key(0), b"state");
        for now in times {
            rotation.rotate(key(1), now);
            prop_assert!(rotation.period() >= Duration::from_nanos(1));
            let _ = (rotation.is_due(now), rotation.opening_key(&ticket, now));
        }
    }
}

#[test]
fn a_key_expires_without_a_rotation() {
    let rotation = TicketRotation::new(Duration::from_secs(10), key(0), Duration::ZERO);
    let ticket = sealed(&key(0), b"state");
    assert!(rotation.opening_key(&ticket, Duration::from_secs(19)).is_some());
    assert!(rotation.opening_key(&ticket, Duration::from_secs(20)).is_none());
}

#[test]
fn debug_shows_only_the_start_of_a_keys_name() {
    assert_eq!(format!("{:?}", key(0xab)), "TicketKey(abababab)");
    let op = TicketOp::Seal { key: key(1), state: Secret::from(&b"secret"[..]) };
    assert_eq!(format!("{op:?}"), "Seal { key: TicketKey(01010101), len: 6 }");
}
