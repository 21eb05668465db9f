//! A synchronous callback awaits a timer, under an executor of thirty lines.
//!
//! `render` stands for a crate of somebody else's: it takes a callback and knows nothing of
//! futures. Two of them run at once on this one thread, and each callback awaits. Any other
//! executor that polls on one thread does as well.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use job_core::{JobPool, run, wait_for};

/// Synchronous, with a callback.
fn render(items: &[&str], mut look_up: impl FnMut(&str) -> String) -> String {
    items.iter().map(|item| look_up(item)).collect::<Vec<_>>().join(" ")
}

fn main() {
    let pool = JobPool::new();
    let log = Rc::new(RefCell::new(Vec::new()));
    let page = |items: &'static [&str], each: Duration| {
        let log = Rc::clone(&log);
        run(&pool, move || {
            render(items, |item| {
                // The job pauses in here; the other one goes on.
                wait_for(Timer::after(each)).expect("called in a job that nobody cancels");
                log.borrow_mut().push(item.to_owned());
                item.to_uppercase()
            })
        })
    };
    let both = Both(
        Box::pin(page(&["a", "b"], Duration::from_millis(30))),
        Box::pin(page(&["x"], Duration::from_millis(45))),
    );
    let (ab, x) = block_on(both);
    assert_eq!((ab.as_str(), x.as_str()), ("A B", "X"));
    // Not one page after the other.
    assert_eq!(pool.stats().peak_live, 2);
    println!("{ab} and {x}, looked up in the order {:?}", log.borrow());
}

/// Ready some time after it was made.
struct Timer(Instant);

impl Timer {
    fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        thread::spawn(move || {
            thread::sleep(left);
            waker.wake();
        });
        Poll::Pending
    }
}

/// Two futures at once.
struct Both<T, E>(
    Pin<Box<dyn Future<Output = Result<T, E>>>>,
    Pin<Box<dyn Future<Output = Result<T, E>>>>,
);

fn block_on<T, E: std::fmt::Debug>(mut both: Both<T, E>) -> (T, T) {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let (mut first, mut second) = (None, None);
    loop {
        for (future, value) in [(&mut both.0, &mut first), (&mut both.1, &mut second)] {
            if value.is_none()
                && let Poll::Ready(ready) = pin!(future).poll(&mut cx)
            {
                *value = Some(ready.expect("the pool has room"));
            }
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => return (first, second),
            so_far => (first, second) = so_far,
        }
        thread::park();
    }
}
