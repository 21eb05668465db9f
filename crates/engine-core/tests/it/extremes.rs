//! No duration and no number that the API takes makes an engine panic, wrap or hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use engine_core::{
    Accelerator, BreakerPolicy, Clock, Engine, Fallback, Health, Offload, OnFull, RequestOptions,
    Shutdown, ThreadPoolBuilder,
};
use proptest::prelude::*;

use crate::support::{Answer, KINDS, Manual, Negate, Outputs};

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        Just(Duration::MAX - Duration::from_nanos(1)),
        Just(Duration::from_nanos(u64::MAX)),
        any::<u64>().prop_map(Duration::from_nanos),
        any::<Duration>(),
    ]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(usize::MAX), Just(usize::MAX - 1), any::<usize>()]
}

/// Stands still.
#[derive(Debug)]
struct Stopped(Duration);

impl Clock for Stopped {
    fn now(&self) -> Duration {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    now: Duration,
    deadline: Option<Duration>,
    failures: u32,
    pause: Duration,
    check_every: Duration,
    bound: usize,
    beyond: usize,
    notify: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    let breaker = (prop_oneof![Just(0), Just(1), any::<u32>()], duration(), duration());
    let rest = (count(), count(), any::<bool>());
    (duration(), prop::option::of(duration()), breaker, rest).prop_map(
        |(now, deadline, (failures, pause, check_every), (bound, beyond, notify))| Settings {
            now,
            deadline,
            failures,
            pause,
            check_every,
            bound,
            beyond,
            notify,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_setting_of_an_engine_makes_it_panic_or_hang(
        settings in settings(), timeouts in (duration(), duration()), fails: bool, active in count(),
    ) {
        let (device, standby) = (Manual::new(1), Manual::new(usize::MAX));
        device.set_health(if fails { Health::Dead } else { Health::Alive });
        let breaker = BreakerPolicy::default()
            .failures(settings.failures)
            .pause(settings.pause)
            .check_every(settings.check_every);
        let mut options = RequestOptions::new().fallback(Fallback::Standby);
        options.deadline = settings.deadline;
        let engine = Engine::builder(device.clone())
            .standby(standby.clone())
            .clock(Arc::new(Stopped(settings.now)))
            .options(options)
            .breaker(breaker)
            .queue_bound(settings.bound)
            .offload(Offload::Beyond(settings.beyond))
            .on_full(if settings.notify { OnFull::Notify } else { OnFull::Queue })
            .build();
        engine.set_active(active);
        let outputs = Arc::<Outputs>::default();
        let mut waiting: Vec<_> =
            (0..4).filter_map(|n| engine.submit(Negate::new(n, &outputs)).ok()).collect();
        for round in 0..8 {
            waiting.retain_mut(|pending| pending.poll_result().is_pending());
            engine.poll();
            let answer = if fails && round < 4 { Answer::Fail } else { Answer::Right };
            while device.answer(KINDS[0], 0, answer) || standby.answer(KINDS[0], 0, answer) {}
        }
        prop_assert!(waiting.iter_mut().all(|pending| matches!(pending.poll_result(), Poll::Ready(_))));
        drop(waiting);
        let _ = engine.stats().device_time.mean();
        prop_assert_eq!(engine.shutdown_blocking(timeouts.0), Shutdown::Drained);
        prop_assert!(engine.quiesce(timeouts.1));
    }
}

proptest! {
    // Each may start a thousand threads.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_setting_of_a_thread_pool_makes_it_panic_or_hang(
        threads in count(), ring in count(), replacements in count(),
        stuck_after in prop::option::of(duration()), pause in duration(),
    ) {
        let mut pool = ThreadPoolBuilder::new().threads(threads).ring(ring).replacements(replacements);
        if let Some(time) = stuck_after {
            pool = pool.stuck_after(time);
        }
        let device = Arc::new(pool.build(|work: &Negate| {
            if work.n == 0 { Err(engine_core::DeviceError::Failed("told to")) } else { Ok(work.right()) }
        }));
        let engine = Engine::builder(device.clone())
            .breaker(BreakerPolicy::default().failures(1).pause(pause))
            .build();
        prop_assert!(device.credits(KINDS[0]).is_some_and(|room| room > 0));
        let outputs = Arc::<Outputs>::default();
        // It trips the breaker, on a thread of the pool.
        prop_assert!(engine.run(Negate::new(0, &outputs)).is_err());
        let _ = engine.run(Negate::new(1, &outputs));
        let other = Engine::builder(device.clone()).build();
        prop_assert_eq!(other.run(Negate::new(2, &outputs)).unwrap().value, !2);
        prop_assert_eq!(engine.shutdown_blocking(Duration::MAX), Shutdown::Drained);
        prop_assert!(other.quiesce(Duration::MAX));
    }
}

/// The longest time is long: a wait without an end still ends with what it waits for.
#[test]
fn a_wait_of_the_longest_time_ends_when_the_work_does() {
    let device = Manual::new(4);
    let engine = Engine::builder(device.clone())
        .options(RequestOptions::new().deadline(Duration::MAX))
        .build();
    let _driver = engine.spawn_driver().unwrap();
    let outputs = Arc::<Outputs>::default();
    let held = engine.submit(Negate::new(1, &outputs)).unwrap();
    let begun = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let quiet = scope.spawn(|| {
            begun.store(true, Ordering::SeqCst);
            engine.quiesce(Duration::MAX)
        });
        while !begun.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let ended = scope.spawn(|| engine.shutdown_blocking(Duration::MAX));
        device.answer_first(Answer::Right);
        assert_eq!(held.wait().unwrap().value, !1);
        assert!(quiet.join().unwrap());
        assert_eq!(ended.join().unwrap(), Shutdown::Drained);
    });
}
