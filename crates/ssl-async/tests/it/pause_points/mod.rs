//! Every event at every point where a session can pause.

mod events;
mod world;

use rustls::version::{TLS12, TLS13};

use ssl_async::Parking;

use crate::support::{Version, turn};
use events::{EVENTS, happens};
use world::{Role, World};

/// Runs every event at every pause point of a handshake. Returns the points, in order.
fn every_point(role: Role, version: Version) -> Vec<&'static str> {
    let _turn = turn();
    let mut points = Vec::new();
    for n in 0..20 {
        for event in EVENTS {
            let world = World::new();
            let (mut ssl, mut peer) = world.pair(role, version);
            let Some(point) = world.park(&mut ssl, &mut peer, n) else {
                drop((ssl, peer));
                world.assert_ledger_is_zero("a whole handshake");
                return points;
            };
            if points.len() == n {
                points.push(point);
            }
            happens(&world, event, point, ssl, peer, version);
            world.assert_ledger_is_zero(&format!("{event:?} at {point}"));
        }
    }
    panic!("a handshake cannot pause so often")
}

/// Law L16: a session behaves the same whichever way it parks. With `Auto` everything before the server's flight is parked by
/// replay, and the rest on a fiber.
const WAYS: [Parking; 2] = [Parking::Fiber, Parking::Auto];

#[test]
fn l16_a_tls13_server_survives_everything_at_every_pause_point() {
    let expected = ["resolve", "agree-x25519", "sign-ecdsa-p256", "client certificate", "ticket"];
    let retried =
        ["resolve", "resolve", "agree-p384", "sign-ecdsa-p256", "client certificate", "ticket"];
    for parking in WAYS {
        assert_eq!(every_point(Role::Server(parking), &TLS13), expected);
        assert_eq!(every_point(Role::Accepted(parking), &TLS13), expected);
        assert_eq!(every_point(Role::Retried(parking), &TLS13), retried);
    }
}

#[test]
fn l16_a_tls12_server_survives_everything_at_every_pause_point() {
    let expected = [
        "resolve",
        "agree-x25519",
        "sign-ecdsa-p256",
        "client certificate",
        "agree-x25519",
        "ticket",
    ];
    for parking in WAYS {
        assert_eq!(every_point(Role::Server(parking), &TLS12), expected);
        assert_eq!(every_point(Role::Accepted(parking), &TLS12), expected);
    }
}

#[test]
fn l16_a_resuming_server_survives_everything_at_every_pause_point() {
    let expected = ["resolve", "ticket", "agree-x25519", "ticket"];
    for parking in WAYS {
        assert_eq!(every_point(Role::Resumed(parking), &TLS13), expected);
        assert_eq!(every_point(Role::Resumed(parking), &TLS12), ["resolve", "ticket", "ticket"]);
    }
}

/// Law L16: a session behaves the same whichever way it parks.
#[test]
fn l16_a_server_survives_everything_while_its_key_signs_on_a_fiber_and_by_replay() {
    let expected = ["sign-ecdsa-p256"];
    for parking in [Parking::Fiber, Parking::Replay] {
        for version in [&TLS12, &TLS13] {
            assert_eq!(every_point(Role::Signing(parking), version), expected);
            assert_eq!(every_point(Role::SigningAccepted(parking), version), expected);
        }
        assert_eq!(every_point(Role::SigningRetried(parking), &TLS13), expected);
    }
}

#[test]
fn a_tls13_client_survives_everything_at_every_pause_point() {
    let points = every_point(Role::Client, &TLS13);
    let expected = [
        "agree-p384",
        "agree-x25519",
        "agree-x25519",
        "resolve client",
        "server certificate",
        "sign-ecdsa-p256",
    ];
    assert_eq!(points, expected);
}

#[test]
fn a_tls12_client_survives_everything_at_every_pause_point() {
    let points = every_point(Role::Client, &TLS12);
    let expected =
        ["resolve client", "server certificate", "agree-x25519", "sign-ecdsa-p256", "agree-x25519"];
    assert_eq!(points, expected);
}
