//! The step `targets` of the gate: what runs, or at least compiles, on other systems.
//!
//! A target that is not installed is asked of rustup. What cannot be had, a target or a program, is skipped and counted,
//! unless `LAYBY_REQUIRE` names it.

use std::process::Command;

use crate::lab;
use crate::tools::missing;
use crate::workspace::Workspace;

/// Packages that need no C compiler for the target.
const CORE: &str = "layby-wait-ctx layby-sim-device layby-job-core layby-engine-core";

/// What is done for one target.
struct Target {
    name: &'static str,
    jobs: &'static [Job],
}

/// One cargo command for a target: its packages, with these options.
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

/// Under `qemu-user`, without the tests that start their own program again, which the kernel cannot run, and without the one
/// that reserves all address space, for which `qemu` takes all memory.
const UNDER_QEMU: &str = "--lib --test it -- --skip stacks::overflow --skip does_not_fit_into_memory \
     --skip stacks::frames::a_c_frame_of_16_48_or_100_kib_without_probes_faults_instead_of_returning";

/// Fibers and descriptors are Unix's; a replayed handshake without an engine needs neither.
const TARGETS: [Target; 5] = [
    Target {
        name: "x86_64-unknown-linux-musl",
        jobs: &[
            Job { verb: Verb::Test, packages: CORE, options: "--lib --test it --test extremes" },
            Job { verb: Verb::Check, packages: "layby-tls-replay", options: "" },
        ],
    },
    Target {
        name: "aarch64-unknown-linux-gnu",
        jobs: &[
            Job { verb: Verb::Test, packages: CORE, options: UNDER_QEMU },
            Job { verb: Verb::Check, packages: "layby-tls-replay", options: "" },
        ],
    },
    Target {
        name: "x86_64-unknown-freebsd",
        jobs: &[
            Job { verb: Verb::Check, packages: CORE, options: "" },
            Job { verb: Verb::Check, packages: "layby-tls-replay", options: "" },
        ],
    },
    Target {
        name: "aarch64-apple-darwin",
        jobs: &[
            Job { verb: Verb::Check, packages: CORE, options: "" },
            Job { verb: Verb::Check, packages: "layby-tls-replay", options: "" },
        ],
    },
    Target {
        name: "x86_64-pc-windows-gnu",
        jobs: &[
            Job { verb: Verb::Check, packages: "layby-sim-device", options: "" },
            Job {
                verb: Verb::Check,
                packages: "layby-tls-replay",
                options: "--no-default-features",
            },
        ],
    },
];

/// What another processor's programs are linked with and run under.
const AARCH64: [(&str, &str); 2] = [
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc"),
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu"),
];

/// The jobs that failed, by target.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut done, mut skipped) = (0, 0);
    for Target { name, jobs } in TARGETS {
        if !is_installed(name) {
            skipped += jobs.len();
            findings.extend(missing(name, &format!("rustup target add {name}")));
            continue;
        }
        for job in jobs {
            if let Some(tool) = job.lacks(name) {
                skipped += 1;
                findings.extend(missing(tool, "apt-get install qemu-user gcc-aarch64-linux-gnu"));
                continue;
            }
            eprintln!("{name}: {job}");
            if job.runs(workspace, name) {
                done += 1;
            } else {
                findings.push(format!("{name}: {job} failed"));
            }
        }
    }
    eprintln!("{done} ran, {skipped} skipped, {} failed", findings.len());
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
        if self.verb == Verb::Check || !target.starts_with("aarch64-unknown-linux") {
            return None;
        }
        ["qemu-aarch64", "aarch64-linux-gnu-gcc"]
            .into_iter()
            .find(|tool| Command::new(tool).arg("--version").output().is_err())
    }

    fn runs(&self, workspace: &Workspace, target: &str) -> bool {
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
