//! What the engine adds to one operation.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use engine_core::{Accelerator, CheckFailed, DeviceRefused, Engine, Kind, Request, Work};
use job_core::{JobPool, Pause, Step, pause};
use wait_ctx::{ReadyQueue, Route, Token, WaitCtx};

use crate::measure::{Measured, alone, in_turn, nanoseconds_each};
use crate::report::Bench;

const CALLS: u32 = 10_000;

/// Work that costs nothing.
#[derive(Debug)]
struct Nothing;

impl Work for Nothing {
    type Output = ();

    fn kind(&self) -> Kind {
        Kind::new("nothing")
    }

    fn check(&self, (): &()) -> Result<(), CheckFailed> {
        Ok(())
    }
}

/// Holds one request until it is told to answer.
#[derive(Debug, Default)]
struct Held(std::sync::Mutex<Option<Request<Nothing>>>);

impl Held {
    fn answer(&self) {
        let held = self.0.lock().expect("never held across a panic").take();
        held.expect("a request was submitted").complete(Ok(()));
    }
}

impl Accelerator<Nothing> for Held {
    fn submit(&self, request: Request<Nothing>) -> Result<(), DeviceRefused<Nothing>> {
        let mut held = self.0.lock().expect("never held across a panic");
        if held.is_some() {
            return Err(DeviceRefused::Full(request));
        }
        *held = Some(request);
        Ok(())
    }
}

/// One operation without crypto, from `run` to its result: submit, park, complete, wake, resume, collect. Beside a
/// bare pause and resume.
pub(crate) fn per_op() -> Vec<Bench> {
    let device = Arc::new(Held::default());
    let engine = Engine::builder(device.clone()).build();
    let pool = JobPool::new();
    let ctx = WaitCtx::new();
    let mut ready = ReadyQueue::new().expect("a descriptor");
    ctx.notifier().set_route(Route::Ready(ready.sender(), Token(0)));
    let step = pool.start_with(&ctx, move || while engine.run(Nothing).is_ok() {});
    let mut slot = step.expect("there is a fiber").paused();
    let mut tokens = Vec::new();
    let ours = || {
        nanoseconds_each(CALLS, || {
            for _ in 0..CALLS {
                device.answer();
                ready.drain(&mut tokens);
                assert_eq!(tokens.drain(..).count(), 1);
                let Step::Paused(next) = slot.take().expect("it is parked").resume() else {
                    unreachable!("it runs one operation after the other")
                };
                slot = Some(next);
            }
        })
    };
    let mut bare =
        pool.start(|| while pause() != Pause::Cancelled {}).expect("there is a fiber").paused();
    let theirs = || {
        nanoseconds_each(CALLS, || {
            for _ in 0..CALLS {
                bare = bare.take().and_then(|job| job.resume().paused());
            }
        })
    };
    vec![Bench::beside("engine.per_op", "job.pause_resume", in_turn(ours, theirs))]
}

/// From a completion on another thread to the serving thread being awake, when it sleeps in poll(2).
pub(crate) fn wake_sleeping() -> Vec<Bench> {
    let (sender, receiver) = mpsc::channel::<wait_ctx::ReadySender>();
    let (woken_at, woken) = mpsc::channel::<Instant>();
    let sleeper = thread::spawn(move || -> std::io::Result<()> {
        let mut poll = mio::Poll::new()?;
        let mut ready = ReadyQueue::new()?;
        let fd = ready.as_fd().as_raw_fd();
        let mut source = mio::unix::SourceFd(&fd);
        poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE)?;
        if sender.send(ready.sender()).is_err() {
            return Ok(());
        }
        drop(sender);
        let mut events = mio::Events::with_capacity(4);
        let mut tokens = Vec::new();
        loop {
            if ready.prepare_sleep() {
                poll.poll(&mut events, None)?;
            }
            ready.awake();
            let now = Instant::now();
            ready.drain(&mut tokens);
            for token in tokens.drain(..) {
                if token == Token(1) || woken_at.send(now).is_err() {
                    return Ok(());
                }
            }
        }
    });
    let Ok(push) = receiver.recv() else {
        return vec![Bench::missing("engine.wake_sleeping", "ns", "no event loop".to_owned())];
    };
    let measured: Measured = alone(401, || {
        // Long enough that the other thread is asleep again.
        thread::sleep(Duration::from_micros(200));
        let start = Instant::now();
        push.push(Token(0));
        let woken = woken.recv().expect("the sleeper answers each push");
        woken.saturating_duration_since(start).as_nanos() as f64
    });
    push.push(Token(1));
    let note = match sleeper.join() {
        Ok(Ok(())) => "the other core was asleep: a futex or interrupt is in it",
        _ => "the sleeper failed",
    };
    vec![Bench::nanoseconds("engine.wake_sleeping", measured).with_note(note)]
}

/// How many requests are given up by one round of [`mass_cancel`].
const WAITING: usize = 65_536;

/// To give up all requests that wait for a device, as when the clients of a server that is swamped hang up: newest
/// first, oldest first, and in no order.
pub(crate) fn mass_cancel() -> Vec<Bench> {
    type Order = fn(usize) -> usize;
    let rows: [(&str, Order); 3] = [
        ("engine.mass_cancel", |nth| WAITING - 1 - nth),
        ("engine.mass_cancel.oldest", |nth| nth),
        // An odd factor visits each number below a power of two once.
        ("engine.mass_cancel.random", |nth| nth.wrapping_mul(0x9E37_79B1) % WAITING),
    ];
    let row = |(name, order): (&str, Order)| {
        let measured = alone(5, || cancel_all(order) * 1e-9);
        Bench { unit: "s", ..Bench::nanoseconds(name, measured) }
    };
    rows.into_iter().map(row).collect()
}

/// Nanoseconds to give up [`WAITING`] requests in the order of `nth`.
fn cancel_all(nth: impl Fn(usize) -> usize) -> f64 {
    let device = Arc::new(Held::default());
    let engine = Engine::builder(device.clone()).queue_bound(WAITING).build();
    let held = engine.submit(Nothing).expect("an idle device");
    let offer = |_| Some(engine.submit(Nothing).expect("within its bound"));
    let mut waiting: Vec<_> = (0..WAITING).map(offer).collect();
    let took = nanoseconds_each(1, || (0..WAITING).for_each(|n| drop(waiting[nth(n)].take())));
    assert_eq!(engine.stats().waiters.now, 0, "all were given up");
    device.answer();
    assert_eq!(held.wait(), Ok(()));
    took
}
