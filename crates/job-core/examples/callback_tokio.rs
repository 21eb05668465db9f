//! A synchronous callback, of the crate `regex`, awaits a timer under tokio.
//!
//! `Regex::replace_all` calls back for each match and is not written for futures. Two of them run at
//! once on this one thread. `callback_smol` and `callback_bare` differ only in the executor.

use std::time::Duration;

use job_core::{JobPool, run, wait_for};
use regex::{Captures, Regex};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

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
    let both = async {
        // A job stays on its thread, and so do these tasks.
        let letter = spawn_local(run(&pool, || fill_in("Dear {name}, you owe {sum}.")));
        let label = spawn_local(run(&pool, || fill_in("To {name}")));
        let letter = letter.await.expect("the task ends").expect("the pool has room");
        let label = label.await.expect("the task ends").expect("the pool has room");
        format!("{label}: {letter} Jobs at once: {}", pool.stats().peak_live)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let told = LocalSet::new().block_on(&runtime.expect("a runtime"), both);
    println!("{told}");
    assert_eq!(told, "To NAME: Dear NAME, you owe SUM. Jobs at once: 2");
}

#[test]
fn a_synchronous_callback_awaits_a_timer_under_tokio() {
    main();
}
