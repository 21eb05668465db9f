//! The state machine of a request: the whole table, and every cell visited.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use wait_ctx::{RequestEvent, RequestPhase, Status, transition};

fn table() -> String {
    let mut table = format!("{:<10}", "");
    for event in RequestEvent::ALL {
        write!(table, "{:<11}", format!("{event:?}")).expect("a string takes everything");
    }
    table.push_str("status\n");
    for state in RequestPhase::ALL {
        write!(table, "{:<10}", format!("{state:?}")).expect("a string takes everything");
        for event in RequestEvent::ALL {
            let cell = transition(state, event)
                .map_or_else(|_illegal| "-".to_owned(), |to| format!("{to:?}"));
            write!(table, "{cell:<11}").expect("a string takes everything");
        }
        let status = Status::from(state);
        writeln!(table, "{} {status}", i32::from(status)).expect("a string takes everything");
    }
    table
}

#[test]
fn the_state_table_is_the_committed_one() {
    insta::assert_snapshot!(table());
}

#[test]
fn a_walk_through_random_events_visits_every_cell_a_hundred_times() {
    let mut visits = [[0_u32; RequestEvent::ALL.len()]; RequestPhase::ALL.len()];
    let visited = std::cell::RefCell::new(&mut visits);
    let config = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let walks = prop::collection::vec(prop::sample::select(&RequestEvent::ALL[..]), 1..64);
    let walked = runner.run(&walks, |events| {
        let mut state = RequestPhase::Free;
        for event in events {
            visited.borrow_mut()[state as usize][event as usize] += 1;
            match transition(state, event) {
                Ok(next) => {
                    // A live request is begun exactly once and settled exactly once.
                    prop_assert_eq!(next.is_live(), !next.is_settled());
                    prop_assert!(next != RequestPhase::Free);
                    state = next;
                }
                Err(illegal) => prop_assert_eq!((illegal.from, illegal.event), (state, event)),
            }
        }
        Ok(())
    });
    walked.expect("the table is consistent");
    // Nothing leads back to `Free`, so its row is visited at the start of each walk only.
    for (row, state) in visits.iter().zip(RequestPhase::ALL) {
        for (&n, event) in row.iter().zip(RequestEvent::ALL) {
            assert!(n >= 100, "{state:?} x {event:?} was visited {n} times");
        }
    }
}

#[test]
fn a_status_is_a_number_from_0_to_3_and_nothing_else_is_a_status() {
    for number in -2..6 {
        match Status::try_from(number) {
            Ok(status) => assert_eq!(i32::from(status), number),
            Err(unknown) => {
                assert!(!(0..=3).contains(&number));
                assert_eq!(unknown.0, number);
            }
        }
    }
}
