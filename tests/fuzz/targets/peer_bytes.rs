//! A session against any bytes of its peer, with pauses and everything else in between, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/ssl-async/tests/it/peer_bytes/mod.rs"]
mod peer_bytes;

#[allow(dead_code, unused_imports, reason = "the other tests of ssl-async use the rest")]
#[path = "../../../crates/ssl-async/tests/it/support/mod.rs"]
mod support;

fuzz_target!(|data: &[u8]| {
    let _seen = peer_bytes::drive(data);
});
