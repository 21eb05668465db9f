//! Models for loom: every interleaving of a few threads over the word, the routes and the ready queue.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p layby-wait-ctx --release --lib loom`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use loom::thread;

use crate::signal::Signal;
use crate::sync::{Mutex, lock};
use crate::{Arm, Ending, Notifier, ReadyQueue, RequestPhase, Route, Token, WaitCtx};

/// Counts the callbacks of `notifier`. The counters are plain `std` ones: loom need not interleave around them.
fn counting(notifier: &Notifier) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    notifier.shared().set_callback(Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    calls
}

#[test]
fn l3_a_completion_races_the_pause_and_is_never_lost() {
    loom::model(|| {
        let notifier = Notifier::new();
        let calls = counting(&notifier);
        let result = Arc::new(Mutex::new(None));
        let request = notifier.begin().unwrap();
        let device = thread::spawn({
            let (request, result) = (request.clone(), Arc::clone(&result));
            move || {
                let claim = request.claim(Ending::Done).unwrap();
                *lock(&result) = Some(42);
                claim.wake()
            }
        });
        request.accept();
        let arm = request.arm();
        if arm == Arm::Settled(RequestPhase::Done) {
            assert_eq!(*lock(&result), Some(42));
        }
        let woken = device.join().unwrap();
        assert_eq!(request.phase(), RequestPhase::Done);
        assert_eq!(arm == Arm::Armed, woken);
        assert_eq!(calls.load(Ordering::Relaxed), usize::from(woken));
    });
}

#[test]
fn l4_two_completions_race_and_one_wins() {
    loom::model(|| {
        let notifier = Notifier::new();
        let calls = counting(&notifier);
        let request = notifier.begin().unwrap();
        assert_eq!(request.arm(), Arm::Armed);
        let other = thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Failed).map(|claim| claim.wake())
        });
        let mine = request.claim(Ending::Done).map(|claim| claim.wake());
        let theirs = other.join().unwrap();
        assert_ne!(mine, theirs);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let expected = if mine.is_some() { RequestPhase::Done } else { RequestPhase::Failed };
        assert_eq!(request.phase(), expected);
    });
}

#[test]
fn l4_a_cancel_and_a_completion_race_and_one_settles() {
    loom::model(|| {
        let notifier = Notifier::new();
        let latest = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&latest);
        notifier.shared().set_callback(Arc::new(move |notification| {
            seen.store(notification.generation, Ordering::Relaxed);
        }));
        let old = notifier.begin().unwrap();
        assert_eq!(old.arm(), Arm::Armed);
        let device = thread::spawn({
            let old = old.clone();
            move || {
                let claim = old.claim(Ending::Done);
                (claim.is_some(), claim.is_some_and(|claim| claim.wake()))
            }
        });
        let cancelled = old.cancel();
        // The next request can begin at once and is never woken by the old one.
        let new = notifier.begin().unwrap();
        assert_eq!(new.arm(), Arm::Armed);
        let (claimed, woken) = device.join().unwrap();
        assert_ne!(claimed, cancelled);
        assert!(claimed || !woken);
        assert_ne!(latest.load(Ordering::Relaxed), new.generation());
        assert_eq!(new.phase(), RequestPhase::Queued);
    });
}

#[test]
fn l4_no_call_runs_after_unset_and_wait() {
    loom::model(|| {
        let notifier = Notifier::new();
        let unset = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicBool::new(false));
        let (check, note) = (Arc::clone(&unset), Arc::clone(&late));
        // Recorded, not asserted: a panic here would be contained.
        notifier.shared().set_callback(Arc::new(move |_| {
            // Lets the other thread run during the call.
            thread::yield_now();
            note.fetch_or(check.load(Ordering::Relaxed), Ordering::Relaxed);
        }));
        let request = notifier.begin().unwrap();
        assert_eq!(request.arm(), Arm::Armed);
        let device = thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Done).unwrap().wake()
        });
        notifier.shared().unset_and_wait().unwrap();
        unset.store(true, Ordering::Relaxed);
        device.join().unwrap();
        assert!(!late.load(Ordering::Relaxed));
        assert_eq!(request.phase(), RequestPhase::Done);
    });
}

#[test]
fn l3_a_route_set_while_the_wake_is_under_way_gets_it_exactly_once() {
    loom::model(|| {
        let notifier = Notifier::new();
        let request = notifier.begin().unwrap();
        assert_eq!(request.arm(), Arm::Armed);
        let device = thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Done).unwrap().wake()
        });
        let calls = counting(&notifier);
        device.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn l3_a_route_taken_away_and_set_again_loses_no_wake() {
    loom::model(|| {
        let notifier = Notifier::new();
        let first = counting(&notifier);
        let request = notifier.begin().unwrap();
        assert_eq!(request.arm(), Arm::Armed);
        let device = thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Done).unwrap().wake()
        });
        notifier.shared().unset_callback();
        let second = counting(&notifier);
        device.join().unwrap();
        assert_eq!(first.load(Ordering::Relaxed) + second.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn l3_the_wake_of_a_future_survives_the_beginning_of_a_request() {
    loom::model(|| {
        let notifier = Notifier::new();
        let calls = counting(&notifier);
        let waker = notifier.waker();
        let future = thread::spawn(move || waker.wake());
        notifier.begin().unwrap();
        future.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

/// The wake is owed, and a route is added while the job that was to be woken begins a request.
#[test]
fn l3_an_owed_wake_of_a_future_survives_a_request_that_races_the_route() {
    loom::model(|| {
        let notifier = Notifier::new();
        notifier.waker().wake();
        let calls = Arc::new(AtomicUsize::new(0));
        let application = thread::spawn({
            let (notifier, count) = (notifier.clone(), Arc::clone(&calls));
            move || {
                notifier.shared().set_callback(Arc::new(move |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                }));
            }
        });
        let request = notifier.begin().unwrap();
        assert!(request.cancel());
        application.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

/// The same for a wake that races the request.
#[test]
fn l3_the_wake_of_a_future_without_a_route_survives_the_request_of_its_poll() {
    loom::model(|| {
        let notifier = Notifier::new();
        let waker = notifier.waker();
        let future = thread::spawn(move || waker.wake());
        let request = notifier.begin().unwrap();
        assert!(!request.claim(Ending::Done).unwrap().wake());
        let calls = counting(&notifier);
        future.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn l4_a_retry_that_races_the_pause_is_reported_exactly_once() {
    loom::model(|| {
        let notifier = Notifier::new();
        let calls = counting(&notifier);
        let request = notifier.begin().unwrap();
        let device = thread::spawn({
            let request = request.clone();
            move || request.notify_retry()
        });
        let arm = request.arm();
        let woken = device.join().unwrap();
        assert_eq!(arm == Arm::Armed, woken);
        assert!(woken || arm == Arm::Retry);
        assert_eq!(calls.load(Ordering::Relaxed), usize::from(woken));
    });
}

#[test]
fn l5_a_session_dropped_during_a_wake_is_cancelled_or_woken() {
    loom::model(|| {
        let ctx = WaitCtx::new();
        let calls = counting(ctx.notifier());
        let request = ctx.notifier().begin().unwrap();
        assert_eq!(request.arm(), Arm::Armed);
        let device = thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Done).is_some_and(|claim| claim.wake())
        });
        drop(ctx);
        let woken = device.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), usize::from(woken));
        assert!(request.phase().is_settled());
    });
}

#[test]
fn l3_the_descriptor_is_readable_until_the_resume_that_finds_the_result() {
    loom::model(|| {
        let notifier = Notifier::new();
        let signal = Arc::new(Signal::new().unwrap());
        notifier.shared().set_signal(Arc::clone(&signal));
        let request = notifier.begin().unwrap();
        let device = thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Done).unwrap().wake()
        });
        // A resume without a wake drains first and reads the phase afterwards.
        notifier.shared().drain_signal();
        if request.arm() == Arm::Armed {
            signal.wait();
            notifier.shared().drain_signal();
        }
        assert_eq!(request.phase(), RequestPhase::Done);
        device.join().unwrap();
    });
}

#[test]
fn l7_a_push_races_the_sleep_and_is_never_lost() {
    loom::model(|| {
        let mut queue = ReadyQueue::new().unwrap();
        let sender = queue.sender();
        let pusher = thread::spawn(move || {
            sender.push(Token(1));
            sender.push(Token(2));
        });
        let mut ready = Vec::new();
        let mut sleeps = 0;
        while ready.len() < 2 {
            if queue.prepare_sleep() {
                queue.wait();
                sleeps += 1;
            }
            queue.awake();
            queue.drain(&mut ready);
        }
        pusher.join().unwrap();
        assert_eq!(ready, [Token(1), Token(2)]);
        assert!(queue.fd_writes() <= sleeps);
    });
}

#[test]
fn l3_the_ready_queue_carries_a_wake_across_threads() {
    loom::model(|| {
        let mut queue = ReadyQueue::new().unwrap();
        let notifier = Notifier::new();
        notifier.set_route(Route::Ready(queue.sender(), Token(9)));
        let request = notifier.begin().unwrap();
        let device = thread::spawn({
            let request = request.clone();
            move || request.claim(Ending::Done).unwrap().wake()
        });
        let mut ready = Vec::new();
        if request.arm() == Arm::Armed {
            while ready.is_empty() {
                if queue.prepare_sleep() {
                    queue.wait();
                }
                queue.awake();
                queue.drain(&mut ready);
            }
        }
        assert_eq!(request.phase(), RequestPhase::Done);
        device.join().unwrap();
    });
}
