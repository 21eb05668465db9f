//! What a job costs, beside OpenSSL's jobs and bare corosensei coroutines.
//!
//! Calls are out of line in every arm, as they are between crates.

use std::hint::black_box;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use job_core::{Job, JobPool, Pause, Step, pause};

use crate::measure::{Measured, in_turn, in_turn_of, nanoseconds_each};
use crate::openssl::{Body, LibCrypto};
use crate::report::Bench;

const CALLS: u32 = 20_000;

/// Jobs that are paused at once, more than any cache holds.
const COLD: u32 = 10_000;

/// Rounds of those benches that build ten thousand jobs in each.
const COLD_ROUNDS: usize = 11;

/// As large as the pool's own default.
const STACK: usize = 256 * 1024;

#[inline(never)]
fn resume(job: Job<()>) -> Step<()> {
    job.resume()
}

#[inline(never)]
fn raw_resume(coroutine: &mut Coroutine<(), (), ()>) -> CoroutineResult<(), ()> {
    coroutine.resume(())
}

#[inline(never)]
fn raw_suspend(yielder: &Yielder<(), ()>) {
    yielder.suspend(());
}

#[inline(never)]
fn start(pool: &JobPool, x: u32) -> u32 {
    let step = pool.start(move || black_box(x)).expect("there is a fiber");
    step.finished().expect("it does not pause")
}

#[inline(never)]
fn raw_start(stack: DefaultStack, x: u32) -> (DefaultStack, u32) {
    let mut coroutine = Coroutine::with_stack(stack, move |_: &Yielder<(), ()>, ()| black_box(x));
    let CoroutineResult::Return(value) = coroutine.resume(()) else {
        unreachable!("it does not suspend")
    };
    (coroutine.into_stack(), value)
}

/// A job that pauses until it is cancelled.
fn pausing(pool: &JobPool) -> Job<()> {
    let step = pool.start(|| while pause() != Pause::Cancelled {}).expect("there is a fiber");
    step.paused().expect("it pauses")
}

fn ours_pause_resume() -> impl FnMut() -> f64 {
    let pool = JobPool::new();
    let mut slot = Some(pausing(&pool));
    move || {
        let mut job = slot.take().expect("put back below");
        let each = nanoseconds_each(CALLS, || {
            for _ in 0..CALLS {
                let Step::Paused(next) = resume(job) else { unreachable!("it pauses for ever") };
                job = next;
            }
            slot = Some(job);
        });
        let _keep = &pool;
        each
    }
}

fn raw_pause_resume() -> impl FnMut() -> f64 {
    let mut coroutine = Coroutine::new(|yielder, ()| {
        loop {
            raw_suspend(yielder);
        }
    });
    move || {
        nanoseconds_each(CALLS, || {
            for _ in 0..CALLS {
                assert_eq!(raw_resume(&mut coroutine), CoroutineResult::Yield(()));
            }
        })
    }
}

/// One pause and one resume.
pub(crate) fn pause_resume() -> Vec<Bench> {
    let name = "job.pause_resume";
    let mut rows = vec![beside_openssl(name, |libcrypto| {
        let mut job = libcrypto.start_job(Body::PauseForEver).expect("it pauses");
        let theirs = || nanoseconds_each(CALLS, || (0..CALLS).for_each(|_| job.resume()));
        in_turn(ours_pause_resume(), theirs)
    })];
    let pair = in_turn(ours_pause_resume(), raw_pause_resume());
    rows.push(Bench::beside(format!("{name}.raw"), "corosensei", pair));
    rows
}

/// One job on a stack that has been used before, from start to end.
pub(crate) fn start_finish() -> Vec<Bench> {
    let name = "job.start_finish";
    let pool = JobPool::new();
    let ours = || {
        nanoseconds_each(CALLS, || {
            for x in 0..CALLS {
                assert_eq!(start(&pool, x), x);
            }
        })
    };
    let mut rows = vec![beside_openssl(name, |libcrypto| {
        let theirs = || nanoseconds_each(CALLS, || (0..CALLS).for_each(|_| libcrypto.run_job()));
        in_turn(ours, theirs)
    })];
    let mut stack = DefaultStack::new(STACK).ok();
    let raw = || {
        nanoseconds_each(CALLS, || {
            for x in 0..CALLS {
                let (used, value) = raw_start(stack.take().expect("put back below"), x);
                stack = Some(used);
                assert_eq!(value, x);
            }
        })
    };
    let pair = in_turn(ours, raw);
    rows.push(Bench::beside(format!("{name}.raw"), "corosensei", pair));
    rows
}

/// The first start on an untouched stack, up to the first pause.
pub(crate) fn first_start() -> Vec<Bench> {
    let name = "job.first_start";
    let ours = || {
        let pool = JobPool::new();
        let mut jobs = Vec::with_capacity(COLD as usize);
        nanoseconds_each(COLD, || jobs.extend((0..COLD).map(|_| pausing(&pool))))
    };
    let mut rows = vec![beside_openssl(name, |libcrypto| {
        let mut theirs = || {
            // A fresh pool, so that no stack has been used before.
            libcrypto.forget_idle_jobs();
            let mut jobs = Vec::with_capacity(COLD as usize);
            let each = nanoseconds_each(COLD, || {
                jobs.extend((0..COLD).map(|_| libcrypto.start_job(Body::PauseOnce)));
            });
            for job in jobs.into_iter().flatten() {
                job.finish();
            }
            each
        };
        in_turn_of(COLD_ROUNDS, &mut { ours }, &mut theirs)
    })];
    let mut raw = || {
        let mut coroutines = Vec::with_capacity(COLD as usize);
        nanoseconds_each(COLD, || {
            for _ in 0..COLD {
                let stack = DefaultStack::new(STACK).expect("a mapping");
                let body = |yielder: &Yielder<(), ()>, ()| yielder.suspend(());
                let mut coroutine = Coroutine::with_stack(stack, body);
                assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
                coroutines.push(coroutine);
            }
        })
    };
    let pair = in_turn_of(COLD_ROUNDS, &mut { ours }, &mut raw);
    rows.push(Bench::beside(format!("{name}.raw"), "corosensei", pair));
    rows
}

/// Resuming each of ten thousand paused jobs in turn: none is in a cache when its turn comes.
pub(crate) fn cold_resume() -> Vec<Bench> {
    let name = "job.cold_resume";
    let ours = || {
        let pool = JobPool::new();
        let mut jobs: Vec<_> = (0..COLD).map(|_| Some(pausing(&pool))).collect();
        move || {
            let _keep = &pool;
            nanoseconds_each(COLD, || {
                for slot in &mut jobs {
                    *slot = slot.take().and_then(|job| resume(job).paused());
                }
            })
        }
    };
    let mut rows = vec![beside_openssl(name, |libcrypto| {
        let start = |_| libcrypto.start_job(Body::PauseForEver).expect("it pauses");
        let mut jobs: Vec<_> = (0..COLD).map(start).collect();
        let mut theirs = || nanoseconds_each(COLD, || jobs.iter_mut().for_each(|job| job.resume()));
        in_turn_of(COLD_ROUNDS, &mut ours(), &mut theirs)
    })];
    let body = |yielder: &Yielder<(), ()>, ()| {
        loop {
            raw_suspend(yielder);
        }
    };
    let mut coroutines: Vec<Coroutine<(), (), ()>> = (0..COLD)
        .map(|_| {
            let stack = DefaultStack::new(STACK).expect("a mapping");
            let mut coroutine = Coroutine::with_stack(stack, body);
            raw_resume(&mut coroutine);
            coroutine
        })
        .collect();
    let mut raw = || {
        nanoseconds_each(COLD, || {
            for coroutine in &mut coroutines {
                raw_resume(coroutine);
            }
        })
    };
    let pair = in_turn_of(COLD_ROUNDS, &mut ours(), &mut raw);
    rows.push(Bench::beside(format!("{name}.raw"), "corosensei", pair));
    rows
}

fn beside_openssl(name: &str, measure: impl FnOnce(&LibCrypto) -> (Measured, Measured)) -> Bench {
    match LibCrypto::load() {
        Ok(libcrypto) => Bench::beside(name, "OpenSSL", measure(&libcrypto)),
        Err(why) => Bench::missing(name, "ns", why),
    }
}
