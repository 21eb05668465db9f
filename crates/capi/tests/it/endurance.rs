//! Many jobs, many threads, forks, and memcheck, which is skipped where valgrind is not installed unless `LAYBY_REQUIRE`
//! names `valgrind`.

use std::process::Command;

use crate::tools::{
    Header, Library, Program, command, has, has_libssl_dev, run_to_end, shared_library,
};

/// Without optimisation a tenth of them has to do.
const MILLION: &str = if cfg!(debug_assertions) { "100000" } else { "1000000" };

fn run(name: &str, args: &[&str]) -> String {
    if !has_libssl_dev() {
        return String::new();
    }
    let program =
        Program::compile(&format!("endurance/{name}.c"), Header::OpenSsl, Library::Preloaded, &[]);
    let ended = run_to_end(program.command(Library::Preloaded).args(args));
    ended.must_succeed(name);
    assert_eq!(ended.stderr(), "", "{name}");
    ended.stdout()
}

#[test]
fn a_million_jobs_leave_the_process_as_large_as_it_was() {
    run("million_jobs", &[MILLION]);
}

/// Before Linux 6.13 a stack needs two mappings, and the system allows 65,530.
#[test]
fn a_hundred_thousand_paused_jobs_take_less_memory_than_those_of_openssl() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut version = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let has_markers = (version.next(), version.next()) >= (Some(6), Some(13));
    let jobs = if has_markers { "100000" } else { "30000" };
    let said = run("paused_jobs", &[jobs]);
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    println!("{}", said.trim());
    if let [paused, bytes] = numbers[..] {
        assert_eq!(paused.to_string(), jobs);
        assert!(bytes < 5_500, "{said}");
    } else {
        assert!(said.is_empty(), "{said}");
    }
}

#[test]
fn exit_on_a_thread_leaves_the_stacks_of_its_paused_jobs_to_their_devices() {
    run("exit_on_a_worker", &[]);
}

#[test]
fn a_thread_that_ends_leaves_the_stacks_of_its_paused_jobs_to_their_devices() {
    for way in ["return", "close", "cleanup"] {
        run("exit_on_a_worker", &[way]);
    }
}

#[test]
fn a_module_with_the_archive_may_be_closed_before_its_threads_end() {
    if !has_libssl_dev() {
        return;
    }
    let source = "endurance/closed_module.c";
    // As a program it would be one without `main`.
    let module = ["-shared", "-fPIC", "-DMODULE", "-Wl,-Bsymbolic"];
    let module = Program::compile(source, Header::Ours, Library::Static, &module);
    let program = Program::compile(source, Header::OpenSsl, Library::Stock, &[]);
    let mut command = program.command(Library::Stock);
    run_to_end(command.arg(&module.path)).must_succeed(source);
}

#[test]
fn threads_that_end_give_everything_back() {
    run("threads", &["100"]);
}

#[test]
fn jobs_go_on_in_both_processes_after_a_fork() {
    run("fork", &[]);
}

#[test]
fn memcheck_finds_nothing() {
    let installed =
        || Command::new("valgrind").arg("--version").output().is_ok_and(|v| v.status.success());
    if !has_libssl_dev() || !has("valgrind", installed) {
        return;
    }
    for (source, args) in [
        ("endurance/million_jobs.c", &["2000"][..]),
        ("endurance/threads.c", &["4"]),
        ("endurance/exit_on_a_worker.c", &[]),
        ("endurance/exit_on_a_worker.c", &["close"]),
        ("differences/nested.c", &[]),
        ("differences/cleanup_with_paused.c", &[]),
        ("differences/freed_context.c", &[]),
        ("differences/clearing_cleanup.c", &[]),
    ] {
        let program = Program::compile(source, Header::OpenSsl, Library::Preloaded, &[]);
        let mut valgrind = command("valgrind", Library::Stock);
        valgrind.args([
            "-q",
            "--error-exitcode=9",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ]);
        valgrind.arg(&program.path).args(args).env("LD_PRELOAD", shared_library());
        run_to_end(&mut valgrind).must_succeed(source);
    }
}
