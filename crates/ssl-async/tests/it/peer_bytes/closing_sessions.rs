//! Peers that close, against sessions: parked at every hook, and not parked.

use proptest::prelude::*;
use ssl_async::{Outcome as Wants, Parking, Ssl};

use super::clear;
use super::closing::{
    ANSWER, End, Outcome, Script, Seen, Wire, any_parking, any_script, assert_agrees, plain,
};
use super::program::Setup;
use super::world::World;
use crate::support::{localhost, turn};

/// Runs the script against a session.
fn ours(script: &Script, parking: Parking, parks: bool) -> Seen {
    clear::begin_again();
    let world = World::new(script.setup, parking);
    world.device.set_answers_at_once(!parks);
    world.gates.set_open(!parks);
    let wire = Wire::new(script);
    let mut ssl = if script.setup.has(Setup::CLIENT) {
        Ssl::connect(&world.client, &world.pool, localhost(), wire.clone())
    } else {
        Ssl::accept(&world.server, &world.pool, wire.clone()).expect("a configuration")
    };
    let mut read = Vec::new();
    let mut answers = script.answers.iter().copied().chain(std::iter::repeat(0));
    let mut outcome = go_on(&mut ssl, &mut read);
    for (n, piece) in script.pieces.iter().enumerate() {
        for _ in 0..answers.next().expect("endless") {
            answer_one(&world);
            outcome = outcome.or_else(|| go_on(&mut ssl, &mut read));
        }
        let last = n + 1 == script.pieces.len();
        wire.arrive(piece, last.then_some(script.end));
        outcome = outcome.or_else(|| go_on(&mut ssl, &mut read));
    }
    for _ in 0..64 {
        let parked = ssl.waiting_for_async();
        if outcome.is_none() && parked {
            answer_one(&world);
        }
        outcome = outcome.or_else(|| go_on(&mut ssl, &mut read));
    }
    assert!(!ssl.waiting_for_async(), "answered so often, and it still waits");
    let still = if ssl.is_handshaking() { Outcome::Handshaking } else { Outcome::Open };
    let outcome = outcome.unwrap_or(still);
    flush(&mut ssl);
    if matches!(outcome, Outcome::Open | Outcome::Closed) && script.end != End::Rst {
        assert_eq!(ssl.write(ANSWER).expect("it is open"), Wants::Ready(ANSWER.len()));
        flush(&mut ssl);
    }
    let cancelled = world.pool.stats().cancelled > 0 || world.has_cancelled();
    let established = !ssl.is_handshaking();
    drop(ssl);
    while world.device.held() > 0 {
        world.device.answer();
    }
    while world.gates.answer(true) {}
    let (jobs, engine) = (world.pool.stats(), world.engine.stats());
    assert_eq!((jobs.live, jobs.stacks_in_use, jobs.quarantined), (0, 0, 0));
    assert_eq!((engine.requests.now, engine.waiters.now), (0, 0));
    Seen { outcome, established, read, sent: wire.sent(), cancelled }
}

/// Sends queued output, such as the alert of a failed session.
fn flush(ssl: &mut Ssl<Wire>) {
    for _ in 0..3000 {
        if ssl.flush().is_ok_and(|wants| wants.is_ready()) {
            return;
        }
    }
}

fn answer_one(world: &World) {
    if world.device.held() > 0 {
        world.device.answer();
    } else {
        let _answered = world.gates.answer(true);
    }
}

/// Reads until the session wants something, or has ended.
fn go_on(ssl: &mut Ssl<Wire>, read: &mut Vec<u8>) -> Option<Outcome> {
    let mut buffer = [0; 50];
    // A narrow transport takes a few bytes, and blocks every other time.
    let mut blocked = 0;
    loop {
        match ssl.read(&mut buffer) {
            Ok(Wants::Ready(0)) => {
                flush(ssl);
                return Some(Outcome::Closed);
            }
            Ok(Wants::Ready(n)) => read.extend_from_slice(&buffer[..n]),
            Ok(Wants::WantAsync) => return None,
            Ok(_) if blocked == 3000 => return None,
            Ok(_) => blocked += 1,
            Err(error) => {
                // Calls on a failed session send the rest of its alert.
                flush(ssl);
                return Some(Outcome::from(&error));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_session_handles_a_closing_peer_as_plain_rustls_does(
        script in any_script(&[End::Fin, End::Fin, End::Rst, End::Open]),
        parking in any_parking(),
        parks in any::<bool>(),
    ) {
        let _turn = turn();
        let (plain, ours) = (plain(&script), ours(&script, parking, parks));
        if !parks {
            prop_assert!(!ours.cancelled);
        }
        assert_agrees(&script, &ours, &plain);
    }
}
