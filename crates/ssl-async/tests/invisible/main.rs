//! Law L16, replay is invisible, for whole sessions: what a client sees of [`Ssl`](ssl_async::Ssl) and of the acceptor for
//! tasks, on a fiber and by replay, is byte for byte what it sees of plain rustls.
//!
//! The handshakes, their randomness and the comparison are those of the tests of tls-replay.

mod sessions;
mod tasks;

#[allow(dead_code, reason = "the tests of tls-replay use the rest")]
#[path = "../../../tls-replay/tests/it"]
mod law {
    pub(crate) mod case;
    pub(crate) mod fixed;
    pub(crate) mod hello_bytes;
    pub(crate) mod invisible;
    pub(crate) mod servers;
    pub(crate) mod world;
}
#[allow(dead_code, unused_imports, reason = "shared with `tests/it`, which uses all of it")]
#[path = "../it/support/mod.rs"]
mod support;

use std::sync::Arc;

use engine_core::Engine;
use proptest::prelude::*;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::sign::SigningKey;
use ssl_async::offload::{self, SigningWork};
use ssl_async::{Parking, SslError, replayable};
use tls_replay::ReplayError;

use law::case::{Case, any_case};
use law::hello_bytes::{CHOICES, Rivals, recorded};
use law::invisible::compare_with;
use law::servers::{Server, Way};
use sessions::Sessions;
use support::{ManualDevice, provider, turn};
use tasks::Tasks;

/// `internal_error`, fatal, in the clear.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

type Device = Arc<ManualDevice<SigningWork>>;

/// A way of this crate: a replayable provider, a key on a device, and the servers of `T`.
struct Ours<T> {
    device: Device,
    serving: T,
}

trait Serving {
    /// As [`Way::servers`]; `device` answers for them.
    fn servers(&self, config: ServerConfig, device: &Device) -> Box<dyn Fn() -> Server>;
}

impl<T: Serving> Way for Ours<T> {
    fn provider(&self, provider: CryptoProvider) -> CryptoProvider {
        replayable(provider)
    }

    fn key(&self, key: Arc<dyn SigningKey>) -> Arc<dyn SigningKey> {
        let engine = Engine::builder(self.device.clone()).build();
        offload::signing_key(engine, key, &provider()).expect("a key that has a public half")
    }

    fn failure_alert(&self) -> &'static [u8] {
        &INTERNAL_ERROR
    }

    fn servers(&self, config: ServerConfig) -> Box<dyn Fn() -> Server> {
        self.serving.servers(config, &self.device)
    }
}

/// The error of rustls in an error of a session.
fn tls_error(error: SslError) -> ReplayError {
    match error {
        SslError::Tls(error) => ReplayError::Tls(error),
        error => panic!("nothing in a case explains: {error}"),
    }
}

/// The ways of parking that are compared.
fn ways() -> Vec<(&'static str, Box<dyn Way>)> {
    fn way(serving: impl Serving + 'static) -> Box<dyn Way> {
        Box::new(Ours { device: ManualDevice::doing(4, SigningWork::sign), serving })
    }
    vec![
        ("a session by replay", way(Sessions(Parking::Replay))),
        ("a session on a fiber", way(Sessions(Parking::Fiber))),
        ("a task by replay", way(Tasks::new())),
    ]
}

#[test]
fn l16_each_kind_of_handshake_is_that_of_plain_rustls_through_sessions_and_tasks() {
    let _turn = turn();
    for (way_name, way) in ways() {
        for (name, case) in Case::kinds() {
            let seen = compare_with(&case, &*way);
            let seen = seen.unwrap_or_else(|error| panic!("{way_name}: {name}: {error}"));
            for seen in seen {
                assert_eq!((seen.result, seen.client), (Ok(()), Ok(())), "{way_name}: {name}");
            }
        }
        for case in Case::refusals() {
            let seen = compare_with(&case, &*way);
            let seen = seen.unwrap_or_else(|error| panic!("{way_name}: {case:?}: {error}"));
            assert!(seen.iter().all(|seen| seen.result.is_err()), "{way_name}: {case:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn l16_the_client_sees_what_plain_rustls_sends_through_sessions_and_tasks(case in any_case()) {
        let _turn = turn();
        for (name, way) in ways() {
            if let Err(difference) = compare_with(&case, &*way) {
                return Err(TestCaseError::fail(format!("{name}: {difference}")));
            }
        }
    }
}

#[test]
fn l16_recorded_hellos_get_the_answer_of_rustls_through_sessions_and_tasks() {
    let _turn = turn();
    for (_, way) in ways() {
        let mut rivals = Rivals::new(way);
        for (file, hello) in recorded() {
            for choice in 0..CHOICES {
                for piece in [20, 255] {
                    let seen = rivals.drive(&[&[choice, piece], &hello[2..]].concat());
                    assert!(seen.is_some(), "{file}");
                }
            }
        }
    }
}
