//! What a wait context costs.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use wait_ctx::{Arm, Ending, InFlight, Key, Seen, WaitCtx, WaitFd};

use crate::measure::{in_turn, nanoseconds_each};
use crate::openssl::LibCrypto;
use crate::report::Bench;

const CALLS: u32 = 20_000;

/// A session's whole life: new, set, all, changed, clear, free.
pub(crate) fn life_cycle() -> Vec<Bench> {
    let name = "wait_ctx.life_cycle";
    let libcrypto = match LibCrypto::load() {
        Ok(libcrypto) => libcrypto,
        Err(why) => return vec![Bench::missing(name, "ns", why)],
    };
    let key = Key::unique();
    let ours = || {
        nanoseconds_each(CALLS, || {
            for _ in 0..CALLS {
                let ctx = WaitCtx::new();
                let mut seen = Seen::new();
                ctx.set_wait_fd(key, WaitFd::borrowed(&5)).expect("the key is free");
                black_box(ctx.all_fds());
                drop(black_box(ctx.diff(&mut seen)));
                drop(black_box(ctx.clear_fd(key)));
            }
        })
    };
    let theirs = || nanoseconds_each(CALLS, || (0..CALLS).for_each(|_| libcrypto.wait_ctx_life()));
    vec![Bench::beside(name, "OpenSSL", in_turn(ours, theirs))]
}

/// Sessions in a round: few enough for the first-level cache, since the wake is measured and not the memory.
const SESSIONS: u32 = 256;

/// A wake by the session's own descriptor, beside the write(2) in it.
pub(crate) fn notify_eventfd() -> Vec<Bench> {
    let sessions: Vec<WaitCtx> = (0..SESSIONS).map(|_| WaitCtx::new()).collect();
    let rivals: Vec<WaitCtx> = (0..SESSIONS).map(|_| WaitCtx::new()).collect();
    let fd = |ctx| WaitCtx::notify_fd(ctx).expect("a descriptor");
    for ctx in &sessions {
        let _made = fd(ctx);
    }
    let fds: Vec<_> = rivals.iter().map(fd).collect();
    let ours = || {
        // Beginning and arming are the session's part, not the wake's.
        let begin = |ctx: &WaitCtx| ctx.notifier().begin().expect("the last one is completed");
        let requests: Vec<InFlight> = sessions.iter().map(begin).collect();
        requests.iter().for_each(|request| assert_eq!(request.arm(), Arm::Armed));
        let each = nanoseconds_each(SESSIONS, || {
            for request in &requests {
                black_box(request.claim(Ending::Done).expect("the first claim").wake());
            }
        });
        sessions.iter().for_each(WaitCtx::drain_notify);
        each
    };
    let theirs = || {
        let each = nanoseconds_each(SESSIONS, || {
            for fd in &fds {
                rustix::io::write(fd, &1_u64.to_ne_bytes()).expect("the counter has room");
            }
        });
        rivals.iter().for_each(WaitCtx::drain_notify);
        each
    };
    vec![Bench::beside("wait_ctx.notify_eventfd", "write(2)", in_turn(ours, theirs))]
}

/// A completion without an armed wake.
pub(crate) fn notify_unlistened() -> Vec<Bench> {
    // A request is completed once, and beginning it is not part of the wake: many sessions, one completion each.
    let sessions: Vec<WaitCtx> = (0..SESSIONS).map(|_| WaitCtx::new()).collect();
    let words: Vec<Box<AtomicU64>> = (0..SESSIONS).map(|_| Box::default()).collect();
    let ours = || {
        let begin = |ctx: &WaitCtx| ctx.notifier().begin().expect("the last one is completed");
        let requests: Vec<InFlight> = sessions.iter().map(begin).collect();
        nanoseconds_each(SESSIONS, || {
            for request in &requests {
                black_box(request.claim(Ending::Done).expect("the first claim").wake());
            }
        })
    };
    let theirs = || {
        nanoseconds_each(SESSIONS, || {
            for word in &words {
                black_box(word.fetch_add(1, Ordering::AcqRel));
            }
        })
    };
    let rival = "one atomic read-modify-write";
    vec![Bench::beside("wait_ctx.notify_unlistened", rival, in_turn(ours, theirs))]
}
