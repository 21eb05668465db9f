//! A synchronous callback, of the crate `regex`, awaits a timer under smol.
//!
//! `Regex::replace_all` calls back for each match and is not written for futures. Two of them run at
//! once on this one thread. `callback_tokio` and `callback_bare` differ only in the executor.

use std::time::Duration;

use job_core::{JobPool, run, wait_for};
use regex::{Captures, Regex};
use smol::{LocalExecutor, Timer};

/// Fills in a template. Synchronous, as are the functions it calls.
fn fill_in(template: &str) -> String {
    let name = Regex::new(r"\{(\w+)\}").expect("a regular expression");
    name.replace_all(template, |found: &Captures<'_>| look_up(&found[1])).into_owned()
}

/// Takes 10 ms. The job pauses in here, and the other one continues.
fn look_up(name: &str) -> String {
    wait_for(Timer::after(Duration::from_millis(10)))
        .expect("called in a job that is not cancelled");
    name.to_uppercase()
}

fn main() {
    let pool = JobPool::new();
    // A job stays on its thread, and so do these tasks.
    let executor = LocalExecutor::new();
    let both = async {
        let letter = executor.spawn(run(&pool, || fill_in("Dear {name}, you owe {sum}.")));
        let label = executor.spawn(run(&pool, || fill_in("To {name}")));
        let letter = letter.await.expect("the pool has room");
        let label = label.await.expect("the pool has room");
        format!("{label}: {letter} Jobs at once: {}", pool.stats().peak_live)
    };
    let told = smol::block_on(executor.run(both));
    println!("{told}");
    assert_eq!(told, "To NAME: Dear NAME, you owe SUM. Jobs at once: 2");
}

#[test]
fn a_synchronous_callback_awaits_a_timer_under_smol() {
    main();
}
