//! Handshakes with a key in a token: what the pool of sessions gains over one session behind a lock, how near it comes to
//! what the token can do, and what waits beside it.
//!
//! The token is SoftHSM. It computes on the processors of this machine, so a module in front of it adds 5 ms to each
//! signature, as a device would take. All arms are one process, and take turns.

mod bare;
mod served;
mod setting;
#[path = "../../../pkcs11-engine/tests/real/shim.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod shim;
mod token;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::heartbeat::WHILE_RUNNING;
use crate::measure::Measured;
use crate::paused::{numbers_of, print_numbers};
use crate::report::{Bench, Better};
use setting::{CLIENTS, SESSIONS};
use token::{Proxy, TestToken};

/// Added to each signature.
const DELAY_MS: u64 = 5;
const ROUNDS: usize = 3;

/// Names of the rows that there are whatever is installed.
const HANDSHAKES: &str = "pkcs11.handshakes";

/// All rows.
pub(crate) fn pkcs11() -> Vec<Bench> {
    let token = match TestToken::make() {
        Ok(token) => token,
        Err(why) => return vec![Bench::missing(HANDSHAKES, "1/s", format!("skipped: {why}"))],
    };
    let mut rows = served_rows(&token);
    rows.extend(bare_rows(&token));
    rows
}

/// One arm in a process of its own: a module reads its configuration once.
fn in_child(token: &TestToken, arm: &str, count: usize, module: &Path) -> Result<Vec<f64>, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.args([OsString::from("--child"), arm.into(), count.to_string().into()]);
    token.configure(&mut command, module);
    numbers_of(&mut command)
}

fn served_rows(token: &TestToken) -> Vec<Bench> {
    let module = match token.slow_module(DELAY_MS) {
        Ok(module) => module,
        Err(why) => return vec![Bench::missing(HANDSHAKES, "1/s", format!("skipped: {why}"))],
    };
    let numbers = match in_child(token, "pkcs11-served", ROUNDS, &module) {
        Ok(numbers) => numbers,
        Err(why) => return vec![Bench::missing(HANDSHAKES, "1/s", why)],
    };
    let columns: Vec<_> = (0..served::FIGURES)
        .map(|figure| {
            let each = numbers.chunks_exact(served::FIGURES).map(|round| round[figure]);
            each.collect::<Vec<_>>()
        })
        .collect();
    if columns[0].is_empty() {
        return vec![Bench::missing(HANDSHAKES, "1/s", format!("it said {numbers:?}"))];
    }
    let [ours, locked, limit, p99, busy, running, idle, idle_running] =
        core::array::from_fn(|figure| Measured::of(&columns[figure]));
    let of = |name: &str, unit, better, ours| {
        let row = Bench::nanoseconds(name, ours);
        Bench { unit, better, ..row }
    };
    let setting = format!("{CLIENTS} clients, {SESSIONS} sessions, SoftHSM and {DELAY_MS} ms");
    let queue = CLIENTS as f64 / limit.median * 1e9;
    vec![
        of(HANDSHAKES, "1/s", Better::Higher, ours)
            .with_rival("one session behind a mutex", locked.median)
            .with_note(setting),
        of("pkcs11.of_the_limit", "1/s", Better::Higher, ours)
            .with_rival("bare calls of 8 threads", limit.median),
        of("pkcs11.p99", "ns", Better::Lower, p99)
            .with_rival("the key's own queue", queue)
            .with_note("from the connection to the end of the handshake"),
        of("pkcs11.heartbeat", "ns", Better::Lower, busy)
            .with_rival("no handshakes", idle.median)
            .with_note(
                "p99 lateness of a task on the serving thread, due every millisecond; signing threads share its processors",
            ),
        of("pkcs11.heartbeat.running", "ns", Better::Lower, running)
            .with_rival("no handshakes", idle_running.median)
            .with_note(WHILE_RUNNING),
    ]
}

/// What SoftHSM does without the delay.
fn bare_rows(token: &TestToken) -> Vec<Bench> {
    const P256: &str = "pkcs11.softhsm.p256";
    let numbers = in_child(token, "pkcs11-bare", SESSIONS, token.softhsm());
    let direct = match numbers.as_deref() {
        Ok(&[p256, rsa, p99, rsa_locked, p99_locked]) => {
            Ok((p256, rsa, p99, rsa_locked, p99_locked))
        }
        Ok(numbers) => Err(format!("it said {numbers:?}")),
        Err(why) => Err(why.clone()),
    };
    let (p256, rsa, p99, rsa_locked, p99_locked) = match direct {
        Ok(direct) => direct,
        Err(why) => return vec![Bench::missing(P256, "1/s", why)],
    };
    let rate = |name: &str, value| Bench::figure(name, "1/s", Better::Higher, value);
    let mut one = rate(P256, p256).with_note("signatures, one thread");
    let mut eight = rate("pkcs11.softhsm.rsa2048", rsa).with_note("signatures, 8 threads");
    let proxied = Proxy::start(token)
        .and_then(|proxy| in_child(token, "pkcs11-bare", SESSIONS, proxy.client()));
    match proxied.as_deref() {
        Ok(&[p256, rsa, ..]) => {
            one = one.with_rival("through p11-kit", p256);
            eight = eight.with_rival("through p11-kit", rsa);
        }
        Ok(numbers) => one = one.with_note(format!("through p11-kit: {numbers:?}")),
        Err(why) => one = one.with_note(format!("through p11-kit: skipped: {why}")),
    }
    vec![
        one,
        eight,
        rate("pkcs11.softhsm.mutex", rsa)
            .with_rival("one session behind a mutex", rsa_locked)
            .with_note("RSA-2048, 8 threads"),
        Bench::figure("pkcs11.softhsm.mutex.p99", "ns", Better::Lower, p99)
            .with_rival("one session behind a mutex", p99_locked)
            .with_note("of a signature, RSA-2048, 8 threads"),
    ]
}

/// In a process of its own: prints the numbers of an arm.
pub(crate) fn child(arm: &str, count: usize) -> Result<(), String> {
    let numbers = match arm {
        "pkcs11-served" => served::numbers(count),
        "pkcs11-bare" => bare::numbers(count),
        _ => return Err(format!("unknown arm {arm}")),
    };
    let numbers = numbers.map_err(|error| error.to_string())?;
    print_numbers(numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" "))
}
