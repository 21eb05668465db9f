//! Recorded handshakes, unchanged and modified at random, and random bytes.

use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;
use ssl_async::Parking;

use super::drive;
use super::program::{Event, Op, Program, Setup};
use super::recording::{record_all, seeds};
use crate::support::turn;

/// Set this variable to write the seeds again, for a new rustls or a new format.
const RECORD: &str = "LAYBY_RECORD";

/// The ways in which sessions are parked. `Auto` is by replay, and on a fiber where replay cannot.
const WAYS: [Parking; 2] = [Parking::Fiber, Parking::Auto];

fn any_way() -> impl Strategy<Value = Parking> {
    prop::sample::select(&WAYS[..])
}

#[test]
fn a_replayed_recording_gets_as_far_as_the_real_peer() {
    let _turn = turn();
    for recording in record_all() {
        let data = recording.program.to_bytes();
        assert_eq!(Program::parse(&data), recording.program);
        for parking in WAYS {
            let seen = drive(&data, parking);
            let told = format!("{} {parking:?}", recording.name);
            assert_eq!((seen.completed, seen.received, seen.failed), (1, 8, 0), "{told}");
            assert_eq!(seen.parked, recording.parked, "{told}");
        }
        if std::env::var_os(RECORD).is_some() {
            fs::create_dir_all(seeds()).unwrap();
            fs::write(seeds().join(recording.name), data).unwrap();
        }
    }
}

/// The committed seeds, by name.
fn committed() -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(seeds()).expect("the seeds are beside this file");
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_committed_seed_completes_its_handshake_and_parks_where_it_is_offloaded() {
    let _turn = turn();
    let mut points = Vec::new();
    for (name, data) in committed() {
        let [seen, by_replay] = WAYS.map(|parking| drive(&data, parking));
        assert_eq!(seen, by_replay, "{name}: by replay it parks where it does on fibers");
        let again =
            format!("{name}: after a change of rustls or the format, {RECORD}=1 cargo test");
        assert_eq!((seen.completed, seen.received, seen.failed), (1, 8, 0), "{again}");
        points.extend(seen.parked);
    }
    points.sort_unstable();
    points.dedup();
    let all = [
        "agree-p256",
        "agree-x25519",
        "client certificate",
        "resolve",
        "resolve client",
        "server certificate",
        "sign-ecdsa-p256",
        "ticket",
    ];
    assert_eq!(points, all);
}

/// A modification of a recording.
#[derive(Clone, Debug)]
enum Change {
    /// An additional event.
    Insert(Index, Event),
    Remove(Index),
    Repeat(Index),
    Swap(Index, Index),
    /// A flight of the peer's arrives in two pieces.
    Split(Index, Index),
    Flip(Index, Index, u8),
    Truncate(Index, Index),
    /// Bytes in the middle of a flight.
    Stuff(Index, Index, Vec<u8>),
    /// Another setup: what was not offloaded may be.
    Setup(u8),
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let event = prop::sample::select(Event::ALL);
    prop_oneof![
        12 => (at(), event).prop_map(|(at, event)| Change::Insert(at, event)),
        1 => at().prop_map(Change::Remove),
        1 => at().prop_map(Change::Repeat),
        1 => (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        3 => (at(), at()).prop_map(|(op, at)| Change::Split(op, at)),
        2 => (at(), at(), 1..=u8::MAX).prop_map(|(op, at, mask)| Change::Flip(op, at, mask)),
        1 => (at(), at()).prop_map(|(op, at)| Change::Truncate(op, at)),
        1 => (at(), at(), prop::collection::vec(any::<u8>(), 1..30))
            .prop_map(|(op, at, bytes)| Change::Stuff(op, at, bytes)),
        1 => (0..8_u8).prop_map(|bit| Change::Setup(1 << bit)),
    ]
}

fn change(program: &mut Program, change: &Change) {
    let Program { setup, ops } = program;
    let place = |at: &Index, ops: &[Op]| at.index(ops.len().max(1));
    match change {
        Change::Insert(at, event) => {
            let at = at.index(ops.len() + 1);
            ops.insert(at, Op::Event(*event));
        }
        Change::Setup(bit) => *setup = Setup(setup.0 ^ bit),
        _ if ops.is_empty() => {}
        Change::Remove(at) => drop(ops.remove(place(at, ops))),
        Change::Repeat(at) => {
            let at = place(at, ops);
            ops.insert(at, ops[at].clone());
        }
        Change::Swap(a, b) => {
            let (a, b) = (place(a, ops), place(b, ops));
            ops.swap(a, b);
        }
        Change::Split(op, at) => {
            let flight = nth_flight(ops, op);
            if let Some((n, bytes)) = flight {
                let rest = bytes.split_off(at.index(bytes.len() + 1));
                ops.insert(n + 1, Op::Peer(rest));
            }
        }
        Change::Flip(op, at, mask) => {
            if let Some((_, bytes)) = nth_flight(ops, op).filter(|(_, bytes)| !bytes.is_empty()) {
                *at.get_mut(bytes) ^= mask;
            }
        }
        Change::Truncate(op, at) => {
            if let Some((_, bytes)) = nth_flight(ops, op) {
                bytes.truncate(at.index(bytes.len() + 1));
            }
        }
        Change::Stuff(op, at, more) => {
            if let Some((_, bytes)) = nth_flight(ops, op) {
                let at = at.index(bytes.len() + 1);
                drop(bytes.splice(at..at, more.iter().copied()));
            }
        }
    }
}

/// One of the peer's flights.
fn nth_flight<'a>(ops: &'a mut [Op], which: &Index) -> Option<(usize, &'a mut Vec<u8>)> {
    let mut flights: Vec<_> = ops
        .iter_mut()
        .enumerate()
        .filter_map(|(n, op)| match op {
            Op::Peer(bytes) => Some((n, bytes)),
            Op::Event(_) => None,
        })
        .collect();
    (!flights.is_empty()).then(|| flights.swap_remove(which.index(flights.len())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_modified_handshake_never_panics_hangs_or_leaks(
        seed in any::<Index>(),
        parking in any_way(),
        changes in prop::collection::vec(any_change(), 1..16),
    ) {
        let _turn = turn();
        let seeds = committed();
        let mut program = Program::parse(&seed.get(&seeds).1);
        changes.iter().for_each(|one| change(&mut program, one));
        drive(&program.to_bytes(), parking);
    }

    #[test]
    fn any_bytes_are_a_program_that_ends(
        parking in any_way(),
        data in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let _turn = turn();
        drive(&data, parking);
    }
}
