//! How many jobs can be paused at once, and what each costs in memory.
//!
//! Each arm runs in a process of its own: one of them ends at the kernel's limit on mappings, and resident memory is
//! read as a difference within a process that does nothing else.

use std::fmt::Display;
use std::fs;
use std::process::Command;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use job_core::{JobPool, pause};
use lab_report::output::{eprint_line, print_line};

use crate::openssl::{Body, LibCrypto};
use crate::report::{Bench, Better};

/// Jobs paused at once: the number that the figure names.
const MANY: usize = 1_000_000;

/// Memory that they take, with a margin, in bytes.
const NEEDED: u64 = 6 << 30;

/// Enough jobs of OpenSSL's to read a mean from.
const OPENSSL_JOBS: usize = 100_000;

/// `job.paused_count` and `job.paused_bytes`, beside corosensei's own stacks and OpenSSL's.
pub(crate) fn paused() -> Vec<Bench> {
    let (wanted, note) = affordable(MANY, NEEDED);
    let (ours, raw, openssl) = (
        in_child("ours", wanted),
        in_child("corosensei", MANY.min(200_000)),
        in_child("openssl", OPENSSL_JOBS),
    );
    let (count, bytes) = match ours {
        Ok(paused) => paused,
        Err(why) => {
            return vec![
                Bench::missing("job.paused_count", "count", why.clone()),
                Bench::missing("job.paused_bytes", "bytes", why),
            ];
        }
    };
    let mut row = note(Bench::figure("job.paused_count", "count", Better::Higher, count));
    if let Ok((theirs, _)) = raw {
        row = row.with_rival("corosensei's own stacks", theirs);
    }
    let mut each = note(Bench::figure("job.paused_bytes", "bytes", Better::Lower, bytes));
    match openssl {
        Ok((_, theirs)) => each = each.with_rival("OpenSSL", theirs),
        Err(why) => each = each.with_note(why),
    }
    vec![row, each]
}

/// What one arm says in a process of its own: how many there were, and bytes for each.
pub(crate) fn in_child(arm: &str, jobs: usize) -> Result<(f64, f64), String> {
    match numbers_of_child(arm, jobs)?[..] {
        [count, bytes] => Ok((count, bytes)),
        ref numbers => Err(format!("the process that holds {jobs} of {arm} said {numbers:?}")),
    }
}

/// The numbers that one arm prints in a process of its own.
pub(crate) fn numbers_of_child(arm: &str, count: usize) -> Result<Vec<f64>, String> {
    let lab = std::env::current_exe().map_err(|error| error.to_string())?;
    numbers_of(Command::new(lab).args(["--child", arm, &count.to_string()]))
        .map_err(|why| format!("the process of {arm} ({count}) {why}"))
}

/// The numbers that a process prints.
pub(crate) fn numbers_of(command: &mut Command) -> Result<Vec<f64>, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Result<_, _> = text.split_whitespace().map(str::parse::<f64>).collect();
    match (output.status.success(), numbers) {
        (true, Ok(numbers)) => Ok(numbers),
        _ => Err(format!(
            "ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// Prints the numbers of this process, for [`numbers_of`].
pub(crate) fn print_numbers(numbers: impl Display) -> Result<(), String> {
    print_line(numbers).map_err(|error| error.to_string())
}

/// One arm, in its own process: prints how many jobs were paused, and bytes for each.
pub(crate) fn child(arm: &str, jobs: usize) -> Result<(), String> {
    let before = resident()?;
    let (count, after) = match arm {
        "ours" => ours(jobs)?,
        "corosensei" => raw(jobs)?,
        "openssl" => openssl(&LibCrypto::load()?, jobs)?,
        "capi" => openssl(&LibCrypto::ours()?, jobs)?,
        _ => return Err(format!("unknown arm {arm}")),
    };
    let bytes = after.saturating_sub(before) as f64 / count.max(1) as f64;
    print_numbers(format_args!("{count} {bytes}"))
}

fn ours(jobs: usize) -> Result<(usize, u64), String> {
    let pool = JobPool::new();
    let mut paused = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        match pool.start(pause) {
            Ok(step) => paused.extend(step.paused()),
            Err(refused) => {
                eprint_line(refused.reason);
                break;
            }
        }
    }
    let after = resident()?;
    let count = paused.len();
    // Ending a million jobs takes longer than making them; the process ends instead.
    std::mem::forget(paused);
    Ok((count, after))
}

fn raw(jobs: usize) -> Result<(usize, u64), String> {
    let mut paused = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        let Ok(stack) = DefaultStack::new(256 * 1024) else { break };
        let body = |yielder: &Yielder<(), ()>, ()| yielder.suspend(());
        let mut coroutine = Coroutine::with_stack(stack, body);
        assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
        paused.push(coroutine);
    }
    let count = paused.len();
    // At the limit on mappings even reading a file can fail.
    paused.truncate(count.saturating_sub(64));
    let after = resident()?;
    std::mem::forget(paused);
    Ok((count, after))
}

fn openssl(libcrypto: &LibCrypto, jobs: usize) -> Result<(usize, u64), String> {
    let paused: Vec<_> = (0..jobs).map_while(|_| libcrypto.start_job(Body::PauseOnce)).collect();
    Ok((paused.len(), resident()?))
}

/// Bytes of this process that are in memory, page tables included.
pub(crate) fn resident() -> Result<u64, String> {
    status(["VmRSS:", "VmPTE:"])
}

/// The most bytes of this process that ever were in memory, page tables as they are now.
pub(crate) fn most_resident() -> Result<u64, String> {
    status(["VmHWM:", "VmPTE:"])
}

fn status(names: [&str; 2]) -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let field = |name| kilobytes(&status, name).ok_or_else(|| format!("no {name} in /proc"));
    Ok(field(names[0])? + field(names[1])?)
}

/// How many of `many`, which need `needed` bytes together, this machine has memory for, and what notes on a row that there
/// are fewer.
pub(crate) fn affordable(many: usize, needed: u64) -> (usize, impl Fn(Bench) -> Bench) {
    let available = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kilobytes(&text, "MemAvailable:"))
        .unwrap_or(0);
    let scaled = available < needed;
    let wanted = match scaled {
        // Half of it: others need memory too.
        true => (many as u64 * (available / 2) / needed) as usize,
        false => many,
    };
    let note = move |bench: Bench| match scaled {
        true => bench.with_note(format!(
            "scaled down from {many} to {wanted}: {needed} bytes needed, {available} available"
        )),
        false => bench,
    };
    (wanted, note)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
