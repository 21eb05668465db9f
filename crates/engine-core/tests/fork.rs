//! Requests that were submitted before a fork, in the child: they end at once, and touch nothing that is the parent's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use engine_core::{
    CheckFailed, Engine, EngineError, Kind, OnFull, Pending, ThreadPoolBuilder, Work,
};

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

/// Runs `child` in a child process, which is ended if it hangs, and expects it to return true.
fn in_a_child(child: impl FnOnce() -> bool) {
    // SAFETY: the child uses what a child of a threaded process may use with glibc, whose allocator survives a fork, and
    // ends by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "there is no child");
    if pid == 0 {
        // SAFETY: a plain system call. A child that hangs is ended by this, and the parent sees it.
        let _none_before = unsafe { libc::alarm(20) };
        let status = i32::from(!child());
        // SAFETY: ends the process without the exit handlers, which are the parent's.
        unsafe { libc::_exit(status) }
    }
    let mut status = 0;
    // SAFETY: `status` is a place for the status of the child just made.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child ended by itself, and well");
}

/// Has one thread, which is held up until the parent's half of the test is over.
fn engine(on_full: OnFull, over: &Arc<AtomicBool>) -> Arc<Engine<Nothing>> {
    let over = Arc::clone(over);
    let pool = ThreadPoolBuilder::new().threads(1).ring(1).build(move |_: &Nothing| {
        while !over.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        Ok(())
    });
    Engine::builder(Arc::new(pool)).on_full(on_full).build()
}

/// What a child may do with a request of its parent.
const USES: [fn(Pending<Nothing>) -> bool; 3] = [
    |pending| pending.wait() == Err(EngineError::Cancelled),
    |mut pending| pending.poll_result().is_ready(),
    |pending| {
        drop(pending);
        true
    },
];

/// While another thread of the parent holds the locks of the engine, off and on.
#[test]
fn l5_a_request_submitted_before_a_fork_ends_at_once_in_the_child() {
    for on_full in [OnFull::Queue, OnFull::Notify] {
        let over = Arc::new(AtomicBool::new(false));
        let engine = engine(on_full, &over);
        let busy = {
            let (engine, over) = (Arc::clone(&engine), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    drop(engine.submit(Nothing));
                }
            })
        };
        for _ in 0..20 {
            for used in USES {
                // The first fill the device, so the later ones wait in the queue, or with their owner.
                let pending = engine.submit(Nothing).expect("within its bound");
                in_a_child(|| {
                    let cancelled = engine.stats().cancelled;
                    used(pending) && engine.stats().cancelled == cancelled
                });
            }
        }
        over.store(true, Ordering::SeqCst);
        busy.join().unwrap();
    }
}
