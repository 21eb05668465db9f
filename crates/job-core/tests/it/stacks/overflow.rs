//! Jobs that overflow their stacks, each in a process of its own.

use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use job_core::{JobPool, StackGuard, current, pause, report_overflows};

use super::stack_address;

const STACK: usize = 128 * 1024;

/// The environment variable that selects what a child does.
const CASE: &str = "JOB_CORE_OVERFLOW";

/// Runs the test of that name in a process of its own.
fn in_a_child(test: &str, case: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("stacks::overflow::{test}"), "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .unwrap()
}

/// Uses stack without end, and prints the depth at every kilobyte.
#[inline(never)]
fn descend(top: usize, printed: usize) -> usize {
    let block = black_box([1_u8; 256]);
    let depth = top - (&raw const block as usize);
    let printed = if depth >= printed + 1024 {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "depth {depth}").unwrap();
        stdout.flush().unwrap();
        depth
    } else {
        printed
    };
    if printed > 1 << 30 { 0 } else { descend(top, printed) + usize::from(block[printed % 256]) }
}

fn pool(guard: StackGuard) -> JobPool {
    JobPool::builder().stack_size(STACK).guard(guard).build().unwrap()
}

#[test]
fn overflow_in_a_child() {
    let Ok(guard) = std::env::var(CASE) else { return };
    let pool = pool(if guard == "protect" { StackGuard::Protect } else { StackGuard::Auto });
    // Neighbours on both sides.
    let _below = [pool.start(pause).unwrap(), pool.start(pause).unwrap()];
    pool.start(|| descend(stack_address(), 0)).unwrap().finished();
    unreachable!("the stack has no end");
}

#[test]
fn a_stack_overflow_faults_on_the_guard_zone() {
    for guard in ["auto", "protect"] {
        let output = in_a_child("overflow_in_a_child", guard);
        // SIGSEGV on Linux, SIGBUS elsewhere; Rust's own handler may turn either into an abort.
        assert!(matches!(output.status.signal(), Some(6 | 10 | 11)), "{:?}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let depths = text.lines().filter_map(|line| line.strip_prefix("depth "));
        let deepest = depths.map(|depth| depth.parse::<usize>().unwrap()).max().unwrap();
        // The usable stack is rounded up to a page.
        assert!(deepest < STACK + 4096, "the guard was overwritten: {deepest}");
        assert!(deepest > STACK / 2, "the guard came too early: {deepest}");
        // No report without `report_overflows`.
        assert!(!String::from_utf8_lossy(&output.stderr).contains("raise stack_size"));
    }
}

/// Uses stack without end.
#[inline(never)]
fn run_away(depth: u64) -> u64 {
    let block = black_box([depth; 32]);
    if depth == u64::MAX { 0 } else { run_away(depth + 1) + black_box(block)[7] }
}

extern "C" fn previous_handler(_signal: i32) {
    let text = b"the handler before\n";
    // SAFETY: the range is the text.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(42) };
}

fn install_previous_handler() {
    // SAFETY: zeros are an action: the default one, with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = previous_handler as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: the handler is async-signal-safe.
    let done = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

#[test]
fn report_in_a_child() {
    let Ok(case) = std::env::var(CASE) else { return };
    if case == "chained" {
        install_previous_handler();
    }
    report_overflows().unwrap();
    report_overflows().unwrap();
    let pool = pool(if case == "protect" { StackGuard::Protect } else { StackGuard::Auto });
    let overflow = || {
        eprintln!("this is job {}", current().unwrap().id());
        run_away(0)
    };
    match &*case {
        "nested" => {
            let inner = pool.clone();
            pool.start(move || inner.start(overflow).unwrap().finished()).unwrap().finished();
        }
        "on another thread" => {
            let thread = std::thread::spawn(|| {
                let own = self::pool(StackGuard::Auto);
                own.start(|| {
                    eprintln!("this is job {}", current().unwrap().id());
                    run_away(0)
                })
                .unwrap()
                .finished()
            });
            thread.join().unwrap();
        }
        "no job" => {
            std::thread::spawn(|| run_away(0)).join().unwrap();
        }
        "parents stack" => {
            let run = || job_core::on_parent_stack(|| run_away(0));
            std::thread::spawn(move || self::pool(StackGuard::Auto).start(run).unwrap().finished())
                .join()
                .unwrap();
        }
        "another fault" => {
            // An address that is not mapped.
            let nowhere = std::ptr::with_exposed_provenance::<u8>(black_box(4096));
            let read = move || {
                // SAFETY: none, which is the point: it faults and ends this process.
                unsafe { nowhere.read_volatile() }
            };
            pool.start(read).unwrap().finished();
        }
        "sent" => {
            // SAFETY: sends a signal to this process, which ends it.
            unsafe { libc::raise(libc::SIGSEGV) };
            // The standard library's handler takes the first for a fault and uninstalls itself.
            // SAFETY: as above.
            unsafe { libc::raise(libc::SIGSEGV) };
        }
        _ => {
            pool.start(overflow).unwrap().finished();
        }
    }
    unreachable!("it has ended");
}

/// The standard error of the child of a case, and its whole output.
fn report(case: &str) -> (String, Output) {
    let output = in_a_child("report_in_a_child", case);
    (String::from_utf8_lossy(&output.stderr).into_owned(), output)
}

#[test]
fn an_overflow_names_the_job_its_stack_and_the_setting_once_reports_are_on() {
    for case in ["auto", "protect", "nested", "on another thread", "chained"] {
        let (text, output) = report(case);
        let id = text.lines().find_map(|line| line.strip_prefix("this is job ")).expect(&text);
        let start = format!("job {id} has overflowed its stack of ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start)).expect(&text);
        let (bytes, remedy) = line.split_once(' ').unwrap();
        let bytes = bytes.parse::<usize>().unwrap();
        assert!((STACK..STACK + 4096).contains(&bytes), "{text}");
        assert!(remedy.contains("raise stack_size"), "{text}");
        if case == "chained" {
            let (ours, theirs) = (text.find("raise stack_size"), text.find("the handler before"));
            assert!(ours < theirs, "{text}");
            assert_eq!(output.status.code(), Some(42), "{text}");
        } else {
            assert!(matches!(output.status.signal(), Some(libc::SIGSEGV | libc::SIGBUS)), "{text}");
        }
    }
}

#[test]
fn other_faults_end_the_process_as_they_do_without_the_report() {
    for (case, signal) in [
        ("another fault", libc::SIGSEGV),
        ("sent", libc::SIGSEGV),
        // The standard library reports it and aborts.
        ("no job", libc::SIGABRT),
        ("parents stack", libc::SIGABRT),
    ] {
        let (text, output) = report(case);
        assert_eq!(output.status.signal(), Some(signal), "{case}: {text}");
        assert!(!text.contains("raise stack_size"), "{case}: {text}");
    }
}
