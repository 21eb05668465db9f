//! A server by replay against any bytes of a client, compared with plain rustls, driven by libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the other tests of tls-replay use the rest")]
#[path = "../../../crates/tls-replay/tests/it/fixed.rs"]
mod fixed;

#[allow(dead_code, reason = "the other tests of tls-replay use the rest")]
#[path = "../../../crates/tls-replay/tests/it/hello_bytes.rs"]
mod hello_bytes;

#[allow(dead_code, reason = "the other tests of tls-replay use the rest")]
#[path = "../../../crates/tls-replay/tests/it/servers.rs"]
mod servers;

#[allow(dead_code, reason = "the other tests of tls-replay use the rest")]
#[path = "../../../crates/tls-replay/tests/it/world.rs"]
mod world;

fuzz_target!(|data: &[u8]| {
    let _seen = hello_bytes::drive(data);
});
