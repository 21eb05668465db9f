//! C programs under the address sanitizer of the C compiler. The step `asan-capi` of the gate builds the library with that
//! of Rust, and so that the sanitizer is told of every switch of stacks. Skipped where libasan is not installed, unless
//! `LAYBY_REQUIRE` names `libasan`.

use std::process::Command;

use crate::tools::{Ended, Header, Library, Program, has, has_libssl_dev, run_to_end};

/// Programs that do not compare resident memory, which the sanitizer takes a lot of, and do not overflow on purpose.
const PROGRAMS: &[&str] = &[
    "endurance/exit_on_a_worker.c",
    "endurance/paused_jobs.c",
    "endurance/fork.c",
    "differences/nested.c",
    "differences/stale_handle.c",
    "differences/cleanup_with_paused.c",
    "differences/freed_context.c",
    "differences/clearing_cleanup.c",
    "differences/late_engine.c",
    "differences/engine_threads.c",
    "manual/arguments.c",
    "manual/changed_fds.c",
    "manual/cleanups.c",
    "manual/pause_and_resume.c",
];

fn has_libasan() -> bool {
    let is_found = || {
        let found = Command::new("cc").arg("-print-file-name=libasan.so").output();
        // A name without a folder is one that the compiler has not found.
        found.is_ok_and(|found| found.stdout.contains(&b'/'))
    };
    has_libssl_dev() && has("libasan", is_found)
}

fn run(source: &str) -> Ended {
    // Linked: the sanitizer wants to be the first of all libraries.
    let program =
        Program::compile(source, Header::OpenSsl, Library::Linked, &["-fsanitize=address"]);
    let mut command = program.command(Library::Linked);
    // A child of a fork inside a job ends on a stack in which the search for leaks looks for no pointers; memcheck has none.
    command.env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0");
    run_to_end(&mut command)
}

#[test]
fn the_address_sanitizer_finds_nothing() {
    if has_libasan() {
        for source in PROGRAMS {
            let ended = run(source);
            ended.must_succeed(source);
            assert!(!ended.stderr().contains("AddressSanitizer: "), "{source}: {}", ended.stderr());
        }
    }
}

#[test]
fn the_address_sanitizer_knows_the_stacks_of_jobs() {
    if has_libasan() {
        let said = run("endurance/planted_overflow.c").stderr();
        assert!(said.contains("stack-buffer-overflow"), "{said}");
        assert!(said.contains(" in job "), "{said}");
    }
}
