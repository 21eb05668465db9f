//! Where this library differs from OpenSSL's functions on purpose: a program for each row of the table in
//! `docs/openssl-preload.md`. It succeeds on ours. On OpenSSL's it fails, in a process of its own, where the row says so.

use crate::tools::{Header, Library, Program, has_libssl_dev, run_to_end};

/// What the program does on OpenSSL's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenSsl {
    /// It crashes, or finds another result.
    Fails,
    /// It gets by.
    Passes,
    /// It is not run: what happens depends on chance, as with a data race.
    Races,
    /// There is no such function.
    HasNot,
}

fn compare(name: &str, openssl: OpenSsl, args: &[&str]) -> String {
    if !has_libssl_dev() {
        return String::new();
    }
    let source = format!("differences/{name}.c");
    let library = if openssl == OpenSsl::HasNot { Library::Linked } else { Library::Preloaded };
    let program = Program::compile(&source, Header::OpenSsl, library, &[]);
    if matches!(openssl, OpenSsl::Fails | OpenSsl::Passes) {
        let ended = run_to_end(program.command(Library::Stock).args(args));
        let passes = ended.0.status.success();
        assert_eq!(passes, openssl == OpenSsl::Passes, "{name}, OpenSSL: {}", ended.stderr());
    }
    let ended = run_to_end(program.command(library).args(args));
    ended.must_succeed(name);
    ended.stderr()
}

macro_rules! differences {
    ($($test:ident: $program:literal, $openssl:ident;)*) => {$(
        #[test]
        fn $test() {
            assert_eq!(compare($program, OpenSsl::$openssl, &[]), "");
        }
    )*};
}

differences! {
    a_job_starts_and_resumes_another: "nested", Fails;
    a_stale_handle_is_an_error: "stale_handle", Fails;
    a_job_stays_on_its_thread: "other_thread", Fails;
    a_job_without_a_context_can_pause: "no_context", Fails;
    a_job_of_a_freed_context_is_not_resumed: "freed_context", Fails;
    jobs_of_closed_sessions_are_reclaimed: "closed_sessions", Fails;
    a_session_may_be_closed_on_any_thread: "late_engine", Fails;
    a_session_may_be_closed_while_its_engine_wakes_it: "closing", Races;
    cleanup_ends_paused_jobs: "cleanup_with_paused", Fails;
    cleanup_inside_a_job_is_ignored: "cleanup_inside", Fails;
    a_second_init_replaces_the_pool: "init_again", Fails;
    a_cleanup_may_clear_others: "clearing_cleanup", Fails;
    null_pointers_are_errors: "null_pointers", Fails;
    the_signal_mask_stays: "signal_mask", Fails;
    engine_threads_may_look: "engine_threads", Races;
    allocators_are_refused: "allocators", HasNot;
    nothing_starts_after_openssl_has_cleaned_up: "after_cleanup", Passes;
    an_exit_handler_finishes_jobs: "exit_handler", Passes;
    the_destructor_of_a_key_finishes_jobs: "key_destructor", Passes;
}

#[test]
fn foreign_pointers_are_refused() {
    let said = compare("foreign_pointers", OpenSsl::Fails, &[]);
    if has_libssl_dev() {
        assert_eq!(said.lines().count(), 3, "{said}");
        assert_eq!(
            said.matches("mixes this library with another implementation").count(),
            3,
            "{said}"
        );
    }
}

#[test]
fn a_deep_job_meets_the_guard() {
    if !has_libssl_dev() {
        return;
    }
    assert_eq!(compare("deep_stack", OpenSsl::Passes, &["20"]), "");
    assert_eq!(compare("deep_stack", OpenSsl::Fails, &["200"]), "");
    let program = Program::compile("differences/deep_stack.c", Header::Ours, Library::Linked, &[]);
    let mut deeper = program.command(Library::Linked);
    let ended = run_to_end(deeper.args(["300"]));
    assert!(!ended.0.status.success(), "it has fallen through the guard");
    run_to_end(deeper.env("LAYBY_STACK_KIB", "400")).must_succeed("a larger stack");
}

#[test]
fn a_library_that_the_program_does_not_use_says_so() {
    if !has_libssl_dev() {
        return;
    }
    let folder = format!("-L{}", crate::tools::libraries().display());
    let order = ["-Wl,--no-as-needed", "-lcrypto", &folder, "-llayby_async"];
    let program = Program::compile("manual/arguments.c", Header::Ours, Library::Stock, &order);
    let ended = run_to_end(&mut program.command(Library::Linked));
    ended.must_succeed("OpenSSL's functions");
    assert!(ended.stderr().contains("put -llayby_async before -lcrypto"), "{}", ended.stderr());
}

#[test]
fn each_row_of_the_table_names_its_test() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openssl-preload.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let table = page.split("## Differences").nth(1).expect("it has the table");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    let tests = include_str!("differences.rs");
    let named: Vec<_> = rows
        .map(|row| {
            row.trim_end_matches(" |").rsplit("| ").next().expect("a last cell").trim_matches('`')
        })
        .collect();
    assert!(named.len() >= 16, "{named:?}");
    for test in named {
        let is_test =
            tests.contains(&format!("    {test}: \"")) || tests.contains(&format!("fn {test}()"));
        assert!(is_test, "the table names {test}");
    }
}
