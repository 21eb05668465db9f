//! The step `targets` of the gate: what runs, or at least compiles, on other systems.
//!
//! A target that is not installed is asked of rustup. What cannot be had, a target or a program, is skipped and counted,
//! unless `LAYBY_REQUIRE` names it. Tests that cannot pass on a target are left out, and counted, too.

use std::process::Command;

use crate::lab;
use crate::output::eprint_line;
use crate::tools::missing;
use crate::workspace::Workspace;

/// Packages that need no C compiler for the target.
const CORE: &str = "layby-wait-ctx layby-sim-device layby-job-core layby-engine-core";

/// What is done for one target.
struct Target {
    name: &'static str,
    jobs: &'static [&'static [Job]],
    left_out: &'static [LeftOut],
}

/// One cargo command for a target: its packages, with these options.
#[derive(Clone, Copy)]
struct Job {
    verb: Verb,
    packages: &'static str,
    options: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// The code compiles; nothing runs.
    Check,
    /// The tests of libraries and integration tests run, here or under `qemu-user`.
    Test,
}

/// Tests that cannot pass on a target, by a part of their names.
struct LeftOut {
    tests: &'static [&'static str],
    why: &'static str,
}

const fn compiled(packages: &'static str, options: &'static str) -> Job {
    Job { verb: Verb::Check, packages, options }
}

const fn tested(packages: &'static str, options: &'static str) -> Job {
    Job { verb: Verb::Test, packages, options }
}

/// A Linux that is not this one.
const LINUX: &[Job] = &[tested(CORE, "--lib --test it"), compiled("layby-tls-replay", "")];

/// Minutes under emulation.
const EXTREMES: &[Job] = &[tested("layby-job-core", "--test extremes")];

/// Other systems compile only. What is above aws-lc needs a C compiler for them.
const UNIX: &[Job] = &[compiled(CORE, ""), compiled("layby-tls-replay", "")];

/// Fibers and descriptors are Unix's; a replayed handshake without an engine needs neither.
const WINDOWS: &[Job] =
    &[compiled("layby-sim-device", ""), compiled("layby-tls-replay", "--no-default-features")];

const TARGETS: [Target; 5] = [
    Target {
        name: "x86_64-unknown-linux-musl",
        jobs: &[LINUX, EXTREMES],
        left_out: &[
            LeftOut {
                tests: &["stacks::bytes::what_compiled_c", "stacks::frames::a_c_frame"],
                why: "a static program loads no library",
            },
            LeftOut {
                tests: &[
                    "thread_exit::l5_a_job_is_leaked_also_after_many_others",
                    "thread_exit::l5_a_job_left_by_one_destructor_to_another",
                ],
                why: "off GNU/Linux a thread has one sentinel, as the page of job-core says",
            },
        ],
    },
    Target {
        name: "aarch64-unknown-linux-gnu",
        jobs: &[LINUX],
        left_out: &[
            LeftOut {
                tests: &["stacks::overflow", "stacks::frames::a_c_frame"],
                why: "under qemu-user a test cannot start its own program again",
            },
            LeftOut {
                tests: &["does_not_fit_into_memory", "thread::l6_a_stack_that_cannot_be_made"],
                why: "qemu-user takes all memory where all address space is reserved",
            },
        ],
    },
    Target { name: "x86_64-unknown-freebsd", jobs: &[UNIX], left_out: &[] },
    Target { name: "aarch64-apple-darwin", jobs: &[UNIX], left_out: &[] },
    Target { name: "x86_64-pc-windows-gnu", jobs: &[WINDOWS], left_out: &[] },
];

/// What another processor's programs are linked with and run under.
const AARCH64: [(&str, &str); 2] = [
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu"),
];

/// The jobs that failed, by target.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut done, mut skipped, mut tests) = (0, 0, 0);
    for Target { name, jobs, left_out } in TARGETS {
        if !is_installed(name) {
            skipped += jobs.concat().len();
            findings.extend(missing(name, &format!("rustup target add {name}")));
            continue;
        }
        for LeftOut { tests: names, why } in left_out {
            tests += names.len();
            let names = names.join(", ");
            eprint_line(format_args!("{name}: left out, because {why}: {names}"));
        }
        for job in jobs.concat() {
            if let Some(tool) = job.lacks(name) {
                skipped += 1;
                findings.extend(missing(tool, "apt-get install qemu-user gcc-aarch64-linux-gnu"));
                continue;
            }
            eprint_line(format_args!("{name}: {job}"));
            if job.runs(workspace, name, left_out) {
                done += 1;
            } else {
                findings.push(format!("{name}: {job} failed"));
            }
        }
    }
    let failed = findings.len();
    let counts = format_args!("{done} ran, {skipped} skipped, {failed} failed");
    eprint_line(format_args!("{counts}; {tests} tests left out"));
    findings
}

/// Whether rustup has the target, or gets it now.
fn is_installed(target: &str) -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", target]);
    rustup.status().is_ok_and(|status| status.success())
}

impl Job {
    /// The program that it cannot do without and that is not there.
    fn lacks(&self, target: &str) -> Option<&'static str> {
        let needs_emulation =
            self.verb == Verb::Test && target.starts_with("aarch64-unknown-linux");
        let tools: &[&str] =
            if needs_emulation { &["qemu-aarch64", "aarch64-linux-gnu-gcc"] } else { &[] };
        tools.iter().copied().find(|tool| Command::new(tool).arg("--version").output().is_err())
    }

    fn runs(&self, workspace: &Workspace, target: &str, left_out: &[LeftOut]) -> bool {
        let mut cargo = lab::cargo();
        cargo.arg(self.verb.name()).args(["--target", target, "--target-dir", "target/targets"]);
        for package in self.packages.split(' ') {
            cargo.args(["--package", package]);
        }
        cargo.args(self.options.split_whitespace()).current_dir(&workspace.root).envs(AARCH64);
        if target.starts_with("aarch64-unknown-linux") {
            // For the test that compiles C, and loads it.
            cargo.env("CC", "aarch64-linux-gnu-gcc");
        }
        if self.verb == Verb::Test {
            cargo.arg("--no-fail-fast").arg("--");
            for name in left_out.iter().flat_map(|left| left.tests) {
                cargo.args(["--skip", name]);
            }
        }
        cargo.status().is_ok_and(|status| status.success())
    }
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Test => "test",
        }
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.verb.name(), self.packages, self.options)
    }
}
