//! Memory of a handshake that is paused in its signature. Each arm runs in a process of its own, in which there are no
//! clients: one hello, said once, is played to every server.

use std::sync::Arc;
use std::task::Waker;

use engine_core::Engine;
use ssl_async::JobPool;

use super::party::{Fixture, Keeper, Ours, Plain, Replaying, Server, Stood, Suite, Wire};
use crate::paused::{in_child, print_numbers, resident};
use crate::report::{Bench, Better};

const PAUSED: usize = 1024;

/// `tls.paused_bytes` and its variants.
pub(crate) fn paused_bytes() -> Vec<Bench> {
    [Suite::P256, Suite::MlKem].into_iter().flat_map(rows).collect()
}

/// On a fiber and by replay, beside the same plain rustls.
fn rows(suite: Suite) -> [Bench; 2] {
    let arm = |who| {
        let measured = in_child(&format!("memory-{who}{}", suite.suffix()), PAUSED);
        measured.map(|(_, bytes)| bytes)
    };
    let plain = arm("plain");
    let row = |who, suffix| {
        let name = format!("tls.paused_bytes{suffix}");
        match arm(who).and_then(|ours| Ok((ours, plain.clone()?))) {
            Err(why) => Bench::missing(name, "bytes", why),
            Ok((ours, plain)) => Bench::figure(name, "bytes", Better::Lower, ours)
                .with_rival("plain rustls, signature just made", plain)
                .with_note(
                    "page tables in, clients out; plain rustls holds its answer, yet unsent",
                ),
        }
    };
    [row("fiber", suite.suffix()), row("replay", suite.replay_suffix())]
}

/// One arm, in its own process: prints how many handshakes were paused, and bytes for each.
pub(crate) fn child(arm: &str, paused: usize) -> Result<(), String> {
    let suite = if arm.ends_with(Suite::MlKem.suffix()) { Suite::MlKem } else { Suite::P256 };
    let fixture = Fixture::new(suite)?;
    let engine = Engine::builder(Arc::<Keeper>::default()).build();
    if arm.starts_with("memory-plain") {
        let config = fixture.plain()?;
        fill(&fixture, paused, |wire| {
            let mut server = Plain::new(&config, wire);
            server.process();
            server
        })
    } else if arm.starts_with("memory-replay") {
        let config = fixture.replay()?;
        fill(&fixture, paused, |wire| {
            let mut server = Replaying::new(&config, &engine, Waker::noop().clone(), wire);
            assert_eq!(server.step(), Stood::Parked);
            server
        })
    } else {
        let (context, pool) = (fixture.ours(engine)?, JobPool::new());
        fill(&fixture, paused, |wire| {
            let mut server = Ours::new(&context, &pool, wire);
            assert_eq!(server.step(), Stood::Parked);
            server
        })
    }
}

fn fill<S>(fixture: &Fixture, paused: usize, begin: impl Fn(Wire) -> S) -> Result<(), String> {
    let mut hello = Wire::default();
    fixture.client().step(&mut hello);
    let hear = || Wire { to_server: hello.to_server.clone(), ..Wire::default() };
    let mut servers = Vec::with_capacity(paused + 1);
    // What is made once for all is made by the first.
    servers.push(begin(hear()));
    let before = resident()?;
    servers.extend((0..paused).map(|_| begin(hear())));
    let bytes = resident()?.saturating_sub(before) as f64 / paused as f64;
    print_numbers(format_args!("{paused} {bytes}"))?;
    // The process ends instead.
    std::mem::forget(servers);
    Ok(())
}
