//! The step `targets` of the gate: what runs, or at least compiles, on other systems.
//!
//! A target that is not installed is asked of rustup. What cannot be had, a target or a program, is skipped, unless
//! `LAYBY_REQUIRE` names it. Tests that cannot pass on a target are left out by name. The report at the end lists what
//! ran, what was skipped or left out, and why.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::lab;
use crate::output::eprint_line;
use crate::tools::missing;
use crate::workspace::Workspace;

/// Packages that need no C compiler for the target.
const CORE: &str = "layby-wait-ctx layby-sim-device layby-job-core layby-engine-core";

/// Packages over aws-lc, whose tests are of their own making.
const TLS: &str = "layby-crypto-ops layby-sim-engine layby-tls-replay layby-ssl-async";

/// Packages of which only the tests of the library run elsewhere: see [`Target::untried`].
const TOP: &str = "layby-pkcs11-engine lab-report handshake-lab";

/// What is done for one target.
struct Target {
    name: &'static str,
    jobs: &'static [Job],
    left_out: &'static [LeftOut],
    /// What no job tries, and why.
    untried: &'static str,
}

/// One cargo command for a target: its packages, with these options.
#[derive(Clone, Copy)]
struct Job {
    verb: Verb,
    packages: &'static str,
    options: &'static str,
    /// The programs that it cannot do without.
    tools: &'static [Tool],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// The code compiles; nothing runs.
    Check,
    /// The tests of libraries and integration tests run, here or under `qemu-user`.
    Test,
}

/// A program and its package in Debian.
type Tool = (&'static str, &'static str);

/// Tests that cannot pass on a target, by a part of their names.
struct LeftOut {
    tests: &'static [&'static str],
    why: &'static str,
}

const fn compiled(packages: &'static str, options: &'static str) -> Job {
    Job { verb: Verb::Check, packages, options, tools: &[] }
}

const fn tested(packages: &'static str, options: &'static str, tools: &'static [Tool]) -> Job {
    Job { verb: Verb::Test, packages, options, tools }
}

const TLS_OPTIONS: &str = "--lib --tests --features layby-crypto-ops/testing,layby-ssl-async/tokio";

const MUSL_C: &[Tool] = &[("musl-gcc", "musl-tools")];

const MUSL: &[Job] = &[
    tested(CORE, "--lib --tests", &[]),
    tested(TLS, TLS_OPTIONS, MUSL_C),
    tested(TOP, "--lib", MUSL_C),
];

const AARCH64_TOOLS: &[Tool] =
    &[("qemu-aarch64", "qemu-user"), ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")];

/// Emulation takes ten times as long: few cases of each property.
const AARCH64: &[Job] =
    &[tested(CORE, "--lib --test it", AARCH64_TOOLS), tested(TLS, TLS_OPTIONS, AARCH64_TOOLS)];

/// Other systems compile only, and only what needs no C compiler for them.
const UNIX: &[Job] = &[
    compiled(CORE, ""),
    compiled("layby-tls-replay", ""),
    compiled(
        "layby-crypto-ops layby-ssl-async layby-pkcs11-engine layby",
        "--no-default-features --features layby/tokio,layby/pkcs11,layby/metrics",
    ),
];

/// Fibers and descriptors are Unix's; a replayed handshake without an engine needs neither.
const WINDOWS: &[Job] =
    &[compiled("layby-sim-device", ""), compiled("layby-tls-replay", "--no-default-features")];

const TARGETS: [Target; 5] = [
    Target {
        name: "x86_64-unknown-linux-musl",
        jobs: MUSL,
        left_out: &[
            LeftOut {
                tests: &[
                    "stacks::bytes::what_compiled_c",
                    "stacks::frames::a_c_frame",
                    "l8_a_process_exits_a_hundred_times",
                    "l8_a_shutdown_over_a_stalled_call",
                ],
                why: "a static program loads no library",
            },
            LeftOut {
                tests: &[
                    "thread_exit::l5_a_job_is_leaked_also_after_many_others",
                    "thread_exit::l5_a_job_left_by_one_destructor_to_another",
                ],
                why: "off GNU/Linux a thread has one sentinel, as the page of job-core says",
            },
            LeftOut {
                tests: &["a_crate_outside_the_workspace"],
                why: "the test has cargo build for this system",
            },
        ],
        untried: "modules of tokens, which a static program cannot load; runs of the laboratory, which are about scenarios",
    },
    Target {
        name: "aarch64-unknown-linux-gnu",
        jobs: AARCH64,
        left_out: &[
            LeftOut {
                tests: &[
                    "kit::a_panicking_engine",
                    "sorting::an_unwind_through_a_c_frame",
                    "stacks::overflow",
                    "stacks::frames::a_c_frame",
                    "l8_a_process_exits_a_hundred_times",
                    "l8_a_shutdown_over_a_stalled_call",
                    "l5_a_key_made_before_a_fork",
                    "l5_shards_made_before_a_fork",
                    "a_key_and_shards_made_after_the_fork",
                ],
                why: "under qemu-user a test cannot start its own program again",
            },
            LeftOut {
                tests: &["does_not_fit_into_memory", "thread::l6_a_stack_that_cannot_be_made"],
                why: "qemu-user takes all memory where all address space is reserved",
            },
            LeftOut { tests: &["no_setting_of_a_pool"], why: "it takes minutes under emulation" },
            LeftOut {
                tests: &["a_crate_outside_the_workspace"],
                why: "the test has cargo build for this system",
            },
            LeftOut {
                tests: &["a_thread_that_cannot_be_started", "where_a_large_reservation_is_refused"],
                why: "qemu-user does not limit address space",
            },
        ],
        untried: "modules of tokens, which are there for this processor alone; runs of the laboratory, for their time",
    },
    Target {
        name: "x86_64-unknown-freebsd",
        jobs: UNIX,
        left_out: &[],
        untried: "running anything; aws-lc and ring, which need a C compiler for the system",
    },
    Target {
        name: "aarch64-apple-darwin",
        jobs: UNIX,
        left_out: &[],
        untried: "running anything; aws-lc and ring, which need a C compiler for the system",
    },
    Target {
        name: "x86_64-pc-windows-gnu",
        jobs: WINDOWS,
        left_out: &[],
        untried: "running anything; fibers and descriptors, and so all crates on them",
    },
];

/// What another processor's programs are linked with and run under.
const AARCH64_ENV: [(&str, &str); 4] = [
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu"),
    // For the tests that compile C, and load it.
    ("CC", "aarch64-linux-gnu-gcc"),
    ("PROPTEST_CASES", "16"),
];

/// The jobs that failed, by target.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    let mut report = Vec::new();
    for target in TARGETS {
        let name = target.name;
        if !is_installed(name) {
            report.push(format!("skipped: {name}: rustup has not got it"));
            findings.extend(missing(name, &format!("rustup target add {name}")));
            continue;
        }
        let (mut whole, mut left_out) = (true, 0);
        for job in target.jobs {
            if let Some((tool, package)) = job.lacks() {
                whole = false;
                report.push(format!("skipped: {name}: {job}: {tool} is not installed"));
                findings.extend(missing(tool, &format!("apt-get install {package}")));
                continue;
            }
            eprint_line(format_args!("{name}: {job}"));
            let outcome = job.run(workspace, &target);
            let word = if outcome.passed { "ran" } else { "FAILED" };
            report.push(format!("{word}: {name}: {job}: {outcome}"));
            if !outcome.passed {
                findings.push(format!("{name}: {job} failed"));
            }
            whole &= outcome.passed;
            left_out += outcome.left_out;
        }
        for LeftOut { tests, why } in target.left_out {
            report.push(format!("left out: {name}: {}, because {why}", tests.join(", ")));
        }
        report.push(format!("not tried: {name}: {}", target.untried));
        let names: usize = target.left_out.iter().map(|left| left.tests.len()).sum();
        if whole && left_out < names {
            findings.push(format!(
                "{name}: {names} names of tests left out, but {left_out} tests; one name fits none"
            ));
        }
    }
    eprint_line(format_args!("\n{}", report.join("\n")));
    findings
}

/// Whether rustup has the target, or gets it now.
fn is_installed(target: &str) -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", target]);
    rustup.status().is_ok_and(|status| status.success())
}

/// How a job ended.
#[derive(Default)]
struct Outcome {
    passed: bool,
    tests: usize,
    failed: usize,
    left_out: usize,
}

impl Job {
    /// The program that it cannot do without and that is not there.
    fn lacks(&self) -> Option<Tool> {
        let lacks = |(tool, _): &Tool| Command::new(tool).arg("--version").output().is_err();
        self.tools.iter().copied().find(lacks)
    }

    fn run(&self, workspace: &Workspace, target: &Target) -> Outcome {
        let mut cargo = lab::cargo();
        cargo.args([self.verb.name(), "--target", target.name, "--target-dir", "target/targets"]);
        for package in self.packages.split(' ') {
            cargo.args(["--package", package]);
        }
        cargo.args(self.options.split_whitespace()).current_dir(&workspace.root);
        if target.name == "aarch64-unknown-linux-gnu" {
            cargo.envs(AARCH64_ENV);
        }
        if self.verb == Verb::Test {
            cargo.arg("--no-fail-fast").arg("--");
            for name in target.left_out.iter().flat_map(|left| left.tests) {
                cargo.args(["--skip", name]);
            }
        }
        let mut outcome = Outcome::default();
        let Ok(mut child) = cargo.stdout(Stdio::piped()).spawn() else { return outcome };
        let stdout = child.stdout.take().into_iter();
        for line in stdout.flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok) {
            eprint_line(format_args!("{line}"));
            outcome.count(&line);
        }
        outcome.passed = child.wait().is_ok_and(|status| status.success());
        outcome
    }
}

impl Outcome {
    /// Adds the numbers of `test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out`.
    fn count(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|line| line.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(n, what)| (n.parse::<usize>(), what)) {
                Some((Ok(n), "passed")) => self.tests += n,
                Some((Ok(n), "failed")) => self.failed += n,
                Some((Ok(n), "filtered out")) => self.left_out += n,
                _ => {}
            }
        }
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

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, tests, failed, left_out } = self;
        if *passed && *tests == 0 {
            return f.write_str("compiles");
        }
        write!(f, "{tests} tests passed, {failed} failed, {left_out} left out")
    }
}
