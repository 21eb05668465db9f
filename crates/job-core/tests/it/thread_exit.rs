//! Jobs that are paused when their thread ends and destroys its thread-local variables.
//!
//! Each case runs on a thread of its own. A `Key` reports a use after it was destroyed; it can,
//! because its memory stays valid here. In a program the same would be a use of freed memory.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use job_core::{Job, JobPool, Pause, Run, Step, pause, run};

use crate::{paused, start_paused};

/// What happened on one thread.
#[derive(Debug, Default)]
struct Seen {
    /// Returns from a pause while the key exists, and after it was destroyed.
    with_key: AtomicU32,
    without_key: AtomicU32,
    quarantined: AtomicU32,
}

/// A thread-local variable that a job borrows while it is paused.
struct Key {
    alive: &'static Cell<bool>,
}

impl Drop for Key {
    fn drop(&mut self) {
        self.alive.set(false);
    }
}

/// What the holder does with its job when it is destroyed.
#[derive(Clone, Copy, Debug)]
enum AtExit {
    Drop,
    Cancel,
    Resume,
    ResumeForALongTime,
    Poll,
}

const ALL: [AtExit; 5] =
    [AtExit::Drop, AtExit::Cancel, AtExit::Resume, AtExit::ResumeForALongTime, AtExit::Poll];

enum Held {
    Job(Job<()>),
    Run(Run<()>),
}

/// What to do with the job, its pool, and where to record what happened.
type Plan = (AtExit, JobPool, Arc<Seen>);

struct Holder {
    held: RefCell<Option<(Held, Plan)>>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some((held, (at_exit, pool, seen))) = self.held.take() else { return };
        match (held, at_exit) {
            (Held::Job(job), AtExit::Resume) => drop(job.resume()),
            (Held::Job(job), AtExit::ResumeForALongTime) => {
                let mut step = Step::Paused(job);
                for _ in 0..4096 {
                    let Step::Paused(job) = step else { break };
                    step = job.resume();
                }
            }
            (Held::Job(job), AtExit::Cancel) => drop(job.cancel()),
            (Held::Job(job), _) => drop(job),
            (Held::Run(mut run), _) => {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let _ = std::pin::Pin::new(&mut run).poll(&mut context);
            }
        }
        let quarantined = u32::try_from(pool.stats().quarantined).unwrap();
        seen.quarantined.store(quarantined, SeqCst);
    }
}

thread_local! {
    static HOLDER: Holder = const { Holder { held: RefCell::new(None) } };
    static KEY: Key = Key { alive: Box::leak(Box::new(Cell::new(true))) };
}

fn pauses_within_key(seen: &Arc<Seen>) -> impl FnOnce() + use<> {
    let seen = Arc::clone(seen);
    move || {
        KEY.with(|key| {
            // The flag outlives the key, so that a job that is wrongly resumed can read it.
            let alive = key.alive;
            let _ = pause();
            let count = if alive.get() { &seen.with_key } else { &seen.without_key };
            count.fetch_add(1, SeqCst);
        });
    }
}

/// Pauses a job within the key, puts it into the holder, and ends the thread.
fn exit_with_a_job_in_the_holder(
    at_exit: AtExit,
    before: impl FnOnce(&JobPool) + Send + 'static,
) -> Arc<Seen> {
    let seen = Arc::<Seen>::default();
    let theirs = Arc::clone(&seen);
    thread::spawn(move || {
        let pool = JobPool::new();
        before(&pool);
        let body = pauses_within_key(&theirs);
        let held = if matches!(at_exit, AtExit::Poll) {
            let mut run = run(&pool, body);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(std::pin::Pin::new(&mut run).poll(&mut context).is_pending());
            Held::Run(run)
        } else {
            Held::Job(start_paused(&pool, body))
        };
        HOLDER.with(|holder| holder.held.replace(Some((held, (at_exit, pool, theirs)))));
    })
    .join()
    .unwrap();
    seen
}

fn assert_leaked(seen: &Seen, what: &str) {
    assert_eq!(seen.without_key.load(SeqCst), 0, "{what}: used a variable that was destroyed");
    assert_eq!(seen.with_key.load(SeqCst), 0, "{what}: resumed");
    assert_eq!(seen.quarantined.load(SeqCst), 1, "{what}: counted");
}

#[test]
fn l5_a_job_whose_thread_local_variable_may_be_gone_is_leaked_and_counted() {
    for at_exit in ALL {
        let seen = exit_with_a_job_in_the_holder(at_exit, |_| HOLDER.with(|_| ()));
        assert_leaked(&seen, &format!("{at_exit:?}"));
    }
}

#[test]
fn l5_a_job_is_leaked_also_after_many_others() {
    for warm_up in [1, 10, 100, 1000, 5000] {
        for in_new_pools in [false, true] {
            let seen = exit_with_a_job_in_the_holder(AtExit::Drop, move |pool| {
                for _ in 0..warm_up {
                    let pool = if in_new_pools { JobPool::new() } else { pool.clone() };
                    drop(start_paused(&pool, pause).resume());
                }
                HOLDER.with(|_| ());
            });
            assert_leaked(&seen, &format!("after {warm_up} others"));
        }
    }
}

#[test]
fn l5_a_job_whose_holder_is_destroyed_first_is_cancelled() {
    // The holder is the newest variable: the one that the job uses still exists.
    let seen = exit_with_a_job_in_the_holder(AtExit::Drop, |_| KEY.with(|_| ()));
    assert_eq!((seen.with_key.load(SeqCst), seen.without_key.load(SeqCst)), (1, 0));
    assert_eq!(seen.quarantined.load(SeqCst), 0);
}

#[test]
fn l5_a_job_may_be_started_and_ended_in_a_destructor_of_a_thread_local_variable() {
    struct Starts(Arc<AtomicU32>);
    impl Drop for Starts {
        fn drop(&mut self) {
            let pool = JobPool::new();
            let job = start_paused(&pool, pause);
            assert_eq!(job.resume().finished(), Some(Pause::Resumed));
            let job = start_paused(&pool, pause);
            assert_eq!(job.cancel(), Some(Pause::Cancelled));
            self.0.fetch_add(1, SeqCst);
            // Kept by an older variable, which is destroyed after this destructor has returned.
            let job = start_paused(&pool, pauses_within_key(&Arc::default()));
            let held = (Held::Job(job), (AtExit::Drop, pool, Arc::default()));
            let _ = HOLDER.try_with(|holder| holder.held.replace(Some(held)));
        }
    }
    thread_local!(static STARTS: RefCell<Vec<Starts>> = const { RefCell::new(Vec::new()) });

    let done = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&done);
    thread::spawn(move || {
        // The holder is oldest, and the epoch has advanced when the destructor runs.
        HOLDER.with(|_| ());
        STARTS.with_borrow_mut(|starts| starts.push(Starts(theirs)));
        let pool = JobPool::new();
        drop(start_paused(&pool, pause));
    })
    .join()
    .unwrap();
    assert_eq!(done.load(SeqCst), 1);
}

#[test]
fn l5_a_job_left_by_one_destructor_to_another_is_leaked() {
    struct Leaves(Arc<Seen>);
    impl Drop for Leaves {
        fn drop(&mut self) {
            let pool = JobPool::new();
            // Older than this variable, newer than the holder.
            let job = start_paused(&pool, pauses_within_key(&self.0));
            let held = (Held::Job(job), (AtExit::Drop, pool, Arc::clone(&self.0)));
            HOLDER.with(|holder| holder.held.replace(Some(held)));
        }
    }
    thread_local!(static LEAVES: RefCell<Vec<Leaves>> = const { RefCell::new(Vec::new()) });

    for has_sentinel in [false, true] {
        let seen = Arc::<Seen>::default();
        let theirs = Arc::clone(&seen);
        thread::spawn(move || {
            HOLDER.with(|_| ());
            KEY.with(|_| ());
            LEAVES.with_borrow_mut(|leaves| leaves.push(Leaves(theirs)));
            if has_sentinel {
                drop(paused(JobPool::new().start(pause).unwrap()));
            }
        })
        .join()
        .unwrap();
        assert_leaked(&seen, &format!("sentinel before: {has_sentinel}"));
    }
}

/// Of a pool whose jobs may go on then.
#[test]
fn a_job_of_c_code_is_resumed_and_finishes_while_the_thread_ends() {
    struct Finishes(RefCell<Option<Job<()>>>, Cell<Option<Arc<Seen>>>);
    impl Drop for Finishes {
        fn drop(&mut self) {
            let job = self.0.take().expect("the thread has left its job here");
            let Step::Paused(job) = job.resume() else { return };
            if let (Step::Finished(()), Some(seen)) = (job.resume(), self.1.take()) {
                seen.without_key.fetch_add(1, SeqCst);
            }
        }
    }
    thread_local!(static HOLDER: Finishes = const { Finishes(RefCell::new(None), Cell::new(None)) });

    let seen = Arc::new(Seen::default());
    let of_thread = Arc::clone(&seen);
    let ended = thread::spawn(move || {
        #[allow(unsafe_code, reason = "the function under test")]
        // SAFETY: the job uses no thread-local variable.
        let builder = unsafe { JobPool::builder().resume_at_thread_exit() };
        let pool = builder.build().unwrap();
        HOLDER.with(|holder| {
            holder.1.set(Some(of_thread));
            let job = start_paused(&pool, || {
                let _ = (pause(), pause());
            });
            holder.0.replace(Some(job));
        });
    });
    ended.join().unwrap();
    assert_eq!(seen.without_key.load(SeqCst), 1);
}
