//! The callback: set, replaced, removed, with an argument, and misbehaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use wait_ctx::{Arm, Ending, InFlight, InsideCallback, NotifierCounters, Reason, Status, WaitCtx};

fn finish(ctx: &WaitCtx) -> bool {
    let request = ctx.notifier().begin().expect("nothing in flight");
    request.accept();
    assert_eq!(request.arm(), Arm::Armed);
    request.claim(Ending::Done).expect("first").wake()
}

#[test]
fn c1_callback_and_argument_are_set_replaced_read_and_unset_apart() {
    let ctx = WaitCtx::new();
    assert!(ctx.callback().is_none());
    let sum = Arc::new(AtomicU64::new(0));
    let add = Arc::clone(&sum);
    ctx.set_callback(move |notification| {
        let arg = notification.arg::<u64>().copied().unwrap_or(1_000);
        add.fetch_add(arg, Ordering::Relaxed);
    });
    assert!(finish(&ctx));
    ctx.set_callback_arg(Some(Arc::new(7_u64)));
    assert!(finish(&ctx));
    ctx.set_callback_arg(Some(Arc::new("no number")));
    assert!(finish(&ctx));
    assert_eq!(sum.load(Ordering::Relaxed), 2_007);

    let (_, arg) = ctx.callback().expect("set");
    assert_eq!(arg.expect("set").downcast_ref(), Some(&"no number"));
    ctx.set_callback(|_| {});
    assert!(finish(&ctx));
    assert!(ctx.unset_callback().is_some() && ctx.callback().is_none());
    assert!(!finish(&ctx), "nowhere to go");
    assert_eq!(sum.load(Ordering::Relaxed), 2_007);
}

/// The reasons that a callback gets which was set after the wake.
fn reasons_of_a_late_callback(wake: impl FnOnce(&WaitCtx, &InFlight)) -> Vec<Reason> {
    let ctx = WaitCtx::new();
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    wake(&ctx, &request);
    let (sender, received) = mpsc::channel();
    ctx.set_callback(move |n| sender.send(n.reason).expect("listening"));
    received.try_iter().collect()
}

#[test]
fn a_callback_set_late_gets_the_reason_of_the_wake() {
    assert_eq!(
        reasons_of_a_late_callback(|ctx, _| ctx.notifier().waker().wake()),
        [Reason::Future]
    );
    assert_eq!(
        reasons_of_a_late_callback(|_, request| assert!(!request.notify_retry())),
        [Reason::Retry]
    );
    for outcome in [Ending::Done, Ending::Failed] {
        let settle = |_: &WaitCtx, request: &InFlight| {
            request.claim(outcome).expect("first").wake();
        };
        assert_eq!(reasons_of_a_late_callback(settle), [Reason::Settled]);
    }
    assert_eq!(reasons_of_a_late_callback(|_, _| ()), []);
}

#[test]
fn c13_a_retry_calls_back_with_status_again_and_a_completion_with_ok_or_error() {
    let ctx = WaitCtx::new();
    let (sender, received) = mpsc::channel();
    ctx.set_callback(move |n| sender.send((n.reason, n.status, n.generation)).expect("listening"));
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    assert!(request.notify_retry());
    assert!(!request.notify_retry(), "the armed bit is consumed");
    assert_eq!(request.arm(), Arm::Retry, "the second one was kept for this");
    request.accept();
    assert_eq!(request.arm(), Arm::Armed);
    assert!(!request.notify_retry(), "it was accepted: nothing to retry");
    assert!(request.claim(Ending::Failed).expect("first").wake());
    let calls: Vec<_> = received.try_iter().collect();
    let generation = request.generation();
    let expected =
        [(Reason::Retry, Status::Again, generation), (Reason::Settled, Status::Err, generation)];
    assert_eq!(calls, expected);
}

#[test]
fn l4_a_panic_in_a_callback_is_caught_and_counted() {
    let ctx = WaitCtx::new();
    ctx.set_callback(|_| panic!("planned"));
    assert!(finish(&ctx));
    assert!(finish(&ctx));
    let NotifierCounters { callback, panics, .. } = ctx.notifier().counters();
    assert_eq!((callback, panics), (2, 2));
    assert!(ctx.unset_and_wait().is_ok());
}

#[test]
fn l4_unset_and_wait_waits_for_a_call_that_has_begun() {
    let ctx = WaitCtx::new();
    let (begun, has_begun) = mpsc::channel();
    let (let_go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    ctx.set_callback(move |_| {
        begun.send(()).expect("listening");
        gate.lock().expect("only us").recv().expect("let go");
        end.store(true, Ordering::Release);
    });
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    let device = thread::spawn({
        let request = request.clone();
        move || request.claim(Ending::Done).expect("first").wake()
    });
    has_begun.recv().expect("the callback runs");
    assert!(ctx.unset_callback().is_some(), "returns although it runs");
    assert!(!ended.load(Ordering::Acquire));
    let_go.send(()).expect("it waits");
    ctx.unset_and_wait().expect("we are not inside");
    assert!(ended.load(Ordering::Acquire));
    assert!(device.join().expect("no panic"));
}

#[test]
fn l4_a_callback_that_would_wait_for_itself_is_refused() {
    thread_local! {
        static SESSION: std::cell::RefCell<Option<WaitCtx>> = const { std::cell::RefCell::new(None) };
    }
    // The types keep it from capturing its context; a thread-local gets around them.
    let ctx = WaitCtx::new();
    SESSION.set(Some(ctx.clone()));
    let (sender, received) = mpsc::channel();
    ctx.set_callback(move |_| {
        let answer = SESSION.with_borrow(|ctx| ctx.as_ref().expect("set").unset_and_wait().err());
        sender.send(answer).expect("listening");
        // Dropping the session here would be sound, too.
        drop(SESSION.take());
    });
    assert!(finish(&ctx));
    assert_eq!(received.try_recv(), Ok(Some(InsideCallback)));
    assert!(ctx.callback().is_some(), "nothing was changed");
}

#[test]
fn a_callback_may_own_what_uses_its_notifier_when_it_is_dropped() {
    struct OnDrop(wait_ctx::Notifier);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.waker().wake();
        }
    }
    let ctx = WaitCtx::new();
    for _ in 0..2 {
        let on_drop = OnDrop(ctx.notifier().clone());
        ctx.set_callback(move |_| {
            let _kept = &on_drop;
        });
    }
    let on_drop: Arc<dyn std::any::Any + Send + Sync> = Arc::new(OnDrop(ctx.notifier().clone()));
    ctx.set_callback_arg(Some(on_drop));
    ctx.set_callback_arg(None);
    drop(ctx.unset_callback());
    assert_eq!(ctx.notifier().counters().callback, 2, "one replaced, one argument");
    assert_eq!(ctx.notifier().counters().unrouted, 1, "the last one has no callback left");
}

#[test]
fn c6_a_callback_set_or_unset_while_paused_moves_the_wake() {
    let ctx = WaitCtx::new();
    let request = ctx.notifier().begin().expect("nothing in flight");
    let fd = ctx.notify_fd().expect("a descriptor");
    assert_eq!(request.arm(), Arm::Armed);
    ctx.set_callback(|_| {});
    ctx.unset_callback();
    assert!(request.claim(Ending::Done).expect("first").wake());
    assert_eq!(ctx.notifier().counters().fd, 1);
    let mut byte = [0; 8];
    assert!(rustix::io::read(fd, &mut byte).is_ok(), "it is readable");
}

#[test]
fn c10_a_wake_after_the_session_is_gone_does_nothing() {
    let ctx = WaitCtx::new();
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    ctx.set_callback(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let request = ctx.notifier().begin().expect("nothing in flight");
    assert_eq!(request.arm(), Arm::Armed);
    let waker = ctx.notifier().waker();
    drop(ctx);
    assert_eq!(Arc::strong_count(&calls), 1, "the callback is gone with its session");
    assert!(request.claim(Ending::Done).is_none());
    waker.wake();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}
