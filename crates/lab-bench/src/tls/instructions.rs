//! How many instructions a session of ours adds to a handshake whose signature is there at once: counted by callgrind,
//! in the server's calls alone.

use std::process::Command;
use std::sync::Arc;
use std::task::Waker;

use crypto_ops::CryptoOp;
use engine_core::{CheckPolicy, Engine, Inline};
use ssl_async::JobPool;

use super::party::{Fixture, OnTask, Ours, Plain, Replaying, Server, Stood, Suite, Wire, text};
use crate::report::{Bench, Better};

/// The function in which callgrind counts.
const COLLECT_IN: &str = "*serve_for_callgrind*";

/// Enough that one more ticket of the allocator's does not matter, few enough for callgrind's pace.
const HANDSHAKES: usize = 200;

/// `tls.added_instructions`, the same by replay, and that of a task whose key signs at once, beside tokio-rustls: with a
/// `replayable` provider, and with an ordinary configuration and `Parking::Never`.
pub(crate) fn added_instructions() -> Vec<Bench> {
    let (rustls, tokio_rustls) = (counted("instructions-plain"), counted("instructions-tokio"));
    let row = |name: &str, arm, rival, theirs: &Result<f64, String>| match counted(arm)
        .and_then(|ours| Ok((ours, theirs.clone()?)))
    {
        Err(why) => Bench::missing(name, "instructions", why),
        Ok((ours, theirs)) => {
            let note = format!("{:.2} % more than {rival}", (ours / theirs - 1.0) * 100.0);
            Bench::figure(name, "instructions", Better::Lower, ours)
                .with_rival(rival, theirs)
                .with_note(note)
        }
    };
    let (plain, tokio) = ("plain rustls", "tokio-rustls");
    vec![
        row("tls.added_instructions", "instructions-fiber", plain, &rustls),
        row("tls.added_instructions.replay", "instructions-replay", plain, &rustls),
        row("tls.added_instructions.unparked", "instructions-task", tokio, &tokio_rustls),
        row("tls.added_instructions.never", "instructions-never", tokio, &tokio_rustls),
    ]
}

/// Instructions of one handshake in the server's calls, as callgrind counts them in a process of its own.
fn counted(arm: &str) -> Result<f64, String> {
    let once = collected(arm, HANDSHAKES)?;
    let twice = collected(arm, 2 * HANDSHAKES)?;
    // What happens only once is in both.
    Ok((twice - once) / HANDSHAKES as f64)
}

fn collected(arm: &str, handshakes: usize) -> Result<f64, String> {
    let lab = std::env::current_exe().map_err(text)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={COLLECT_IN}"))
        .arg(lab)
        .args(["--child", arm, &handshakes.to_string()])
        .output()
        .map_err(|error| format!("valgrind, which counts them, cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<f64>().ok())
        .filter(|count| output.status.success() && *count > 0.0);
    count.ok_or_else(|| format!("callgrind collected nothing ({}): {}", output.status, said.trim()))
}

/// One arm, in its own process.
pub(crate) fn child(arm: &str, handshakes: usize) -> Result<(), String> {
    let fixture = Fixture::new(Suite::P256)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(text)?;
    let device = Inline::new(|op: &CryptoOp| Ok(crypto_ops::testing::fake_output(op)));
    let engine = Engine::builder(Arc::new(device)).checks(CheckPolicy::Required).build();
    match arm {
        "instructions-plain" => {
            let config = fixture.plain()?;
            shake_hands(&fixture, handshakes, |wire| Plain::new(&config, wire));
        }
        "instructions-tokio" => {
            let acceptor = tokio_rustls::TlsAcceptor::from(fixture.plain()?);
            let _timer = runtime.enter();
            shake_hands(&fixture, handshakes, |wire| OnTask::new(acceptor.accept(wire)));
        }
        "instructions-task" => {
            let acceptor = ssl_async::task::TlsAcceptor::from(fixture.unparked()?);
            let _timer = runtime.enter();
            shake_hands(&fixture, handshakes, |wire| OnTask::new(acceptor.accept(wire)));
        }
        "instructions-never" => {
            let acceptor = ssl_async::task::TlsAcceptor::from(fixture.plain()?);
            let acceptor = acceptor.parking(ssl_async::Parking::Never);
            let _timer = runtime.enter();
            shake_hands(&fixture, handshakes, |wire| OnTask::new(acceptor.accept(wire)));
        }
        "instructions-replay" => {
            let config = fixture.replay()?;
            let waker = Waker::noop();
            shake_hands(&fixture, handshakes, |wire| {
                Replaying::new(&config, &engine, waker.clone(), wire)
            });
        }
        _ => {
            let (context, pool) = (fixture.ours(engine)?, JobPool::new());
            shake_hands(&fixture, handshakes, |wire| Ours::new(&context, &pool, wire));
        }
    }
    Ok(())
}

fn shake_hands<S: Server>(fixture: &Fixture, handshakes: usize, accept: impl Fn(Wire) -> S) {
    for _ in 0..handshakes {
        let (mut client, mut wire) = (fixture.client(), Wire::default());
        client.step(&mut wire);
        let mut server = None;
        serve_for_callgrind(|| {
            let server = server.insert(accept(wire));
            assert_eq!(server.step(), Stood::WaitsForPeer);
        });
        let mut server = server.expect("it was accepted");
        client.step(server.wire());
        serve_for_callgrind(move || {
            assert_eq!(server.step(), Stood::Done);
            drop(server);
        });
    }
}

/// Callgrind finds it by its name, so it must be a function of its own. Nothing else of the process is counted.
#[inline(never)]
fn serve_for_callgrind(work: impl FnOnce()) {
    work();
    // Not a tail call, or it would have returned before the work is done.
    std::hint::black_box(());
}
