//! A session against any bytes of its peer, with pauses and everything else in between, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ssl_async::Parking;

#[allow(dead_code, reason = "the tests of ssl-async use the rest")]
#[path = "../../../crates/ssl-async/tests/it/peer_bytes/mod.rs"]
mod peer_bytes;

#[allow(dead_code, unused_imports, reason = "the other tests of ssl-async use the rest")]
#[path = "../../../crates/ssl-async/tests/it/support/mod.rs"]
mod support;

fuzz_target!(|data: &[u8]| {
    let _on_fibers = peer_bytes::drive(data, Parking::Fiber);
    let _by_replay = peer_bytes::drive(data, Parking::Auto);
});
