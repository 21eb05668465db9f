//! The C library of the crate `capi` beside OpenSSL's own functions: the same calls, by the same code.

use crate::measure::{in_turn, nanoseconds_each};
use crate::openssl::{Body, LibCrypto};
use crate::paused::in_child;
use crate::report::{Bench, Better};

const CALLS: u32 = 20_000;
/// More than OpenSSL's own stacks were seen to reach.
const PAUSED: usize = 100_000;

/// `capi.start_finish`, `capi.pause_resume`, `capi.wait_ctx_life`, `capi.paused_count` and `capi.paused_bytes`.
pub(crate) fn capi() -> Vec<Bench> {
    let (openssl, ours) = match (LibCrypto::load(), LibCrypto::ours()) {
        (Ok(openssl), Ok(ours)) => (openssl, ours),
        (Err(why), _) | (_, Err(why)) => {
            return vec![Bench::missing("capi.start_finish", "ns", why)];
        }
    };
    let mut rows = vec![
        Bench::beside("capi.start_finish", "OpenSSL", in_turn(starts(&ours), starts(&openssl))),
        Bench::beside("capi.pause_resume", "OpenSSL", in_turn(pauses(&ours), pauses(&openssl))),
        Bench::beside("capi.wait_ctx_life", "OpenSSL", in_turn(lives(&ours), lives(&openssl))),
    ];
    match (in_child("capi", PAUSED), in_child("openssl", PAUSED)) {
        (Ok((count, bytes)), Ok((their_count, theirs))) => {
            let count = Bench::figure("capi.paused_count", "count", Better::Higher, count);
            rows.push(count.with_rival("OpenSSL", their_count));
            let bytes = Bench::figure("capi.paused_bytes", "bytes", Better::Lower, bytes);
            rows.push(bytes.with_rival("OpenSSL", theirs));
        }
        (Err(why), _) | (_, Err(why)) => {
            rows.push(Bench::missing("capi.paused_bytes", "bytes", why));
        }
    }
    rows
}

fn starts(library: &LibCrypto) -> impl FnMut() -> f64 {
    || nanoseconds_each(CALLS, || (0..CALLS).for_each(|_| library.run_job_of_libssl()))
}

fn pauses(library: &LibCrypto) -> impl FnMut() -> f64 {
    let mut job = library.start_job(Body::PauseForEver).expect("there is a job");
    move || nanoseconds_each(CALLS, || (0..CALLS).for_each(|_| job.resume()))
}

fn lives(library: &LibCrypto) -> impl FnMut() -> f64 {
    || nanoseconds_each(CALLS, || (0..CALLS).for_each(|_| library.wait_ctx_life()))
}
