//! A synchronous callback, of the crate `regex`, awaits a timer under a hand-written executor.
//! `Regex::replace_all` calls back for each match and is not written for futures. Two of them run at
//! once on this one thread. `callback_tokio` and `callback_smol` differ only in the executor.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use job_core::{JobPool, run, wait_for};
use regex::{Captures, Regex};

/// Fills in a template. Synchronous, as are the functions it calls.
fn fill_in(template: &str) -> String {
    let name = Regex::new(r"\{(\w+)\}").expect("a regular expression");
    name.replace_all(template, |found: &Captures<'_>| look_up(&found[1])).into_owned()
}

/// Takes 10 ms. The job pauses in here, and the other one continues.
fn look_up(name: &str) -> String {
    wait_for(sleep(Duration::from_millis(10))).expect("called in a job that is not cancelled");
    name.to_uppercase()
}

fn main() {
    let pool = JobPool::new();
    let letter = run(&pool, || fill_in("Dear {name}, you owe {sum}."));
    let label = run(&pool, || fill_in("To {name}"));
    let [letter, label] = block_on([letter, label]).map(|text| text.expect("the pool has room"));
    let told = format!("{label}: {letter} Jobs at once: {}", pool.stats().peak_live);
    println!("{told}");
    assert_eq!(told, "To NAME: Dear NAME, you owe SUM. Jobs at once: 2");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls both futures at every wake, until they are ready.
fn block_on<F: Future + Unpin>(mut futures: [F; 2]) -> [F::Output; 2] {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut outputs = [Poll::Pending, Poll::Pending];
    loop {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_pending() {
                *output = Pin::new(future).poll(&mut Context::from_waker(&waker));
            }
        }
        match outputs {
            [Poll::Ready(first), Poll::Ready(second)] => return [first, second],
            so_far => outputs = so_far,
        }
        thread::park();
    }
}

/// Ready after `time`; a thread wakes the task that polls it.
fn sleep(time: Duration) -> impl Future<Output = ()> {
    let end = Instant::now() + time;
    poll_fn(move |cx| {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        thread::spawn(move || (thread::sleep(left), waker.wake()));
        Poll::Pending
    })
}

#[test]
fn a_synchronous_callback_awaits_a_timer_under_a_hand_written_executor() {
    main();
}
