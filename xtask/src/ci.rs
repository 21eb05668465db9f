//! `cargo xtask ci`: the gate, as a list of named steps.
//!
//! The steps are data ([`steps`]); the runner knows only how to run, time and count them. All steps
//! run, whatever fails before them, and the summary comes last. They share one target directory, and
//! those with the same features share what they build; only loom, which is another `--cfg`, has
//! its own.

use std::fmt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Args;

use crate::workspace::Workspace;
use crate::{lab, tidy, usage_error};

#[derive(Args, Debug)]
pub(crate) struct CiArgs {
    /// Only these steps (see --list)
    #[arg(value_name = "STEP")]
    only: Vec<String>,

    /// Also the slow steps: loom, longer property tests, valgrind where it is installed
    #[arg(long)]
    full: bool,

    /// Take Cargo.lock as it is, and the files as committed
    #[arg(long)]
    locked: bool,

    /// Leave out the step `test`, for a caller that has just run it
    #[arg(long)]
    skip_tests: bool,

    /// Print the steps and what each is for, and run nothing
    #[arg(long)]
    list: bool,
}

/// One named part of the gate.
struct Step {
    name: String,
    why: &'static str,
    action: Action,
    /// Only with `--full`.
    slow: bool,
}

enum Action {
    /// A program, its arguments and the environment it needs on top of ours.
    Run { program: &'static str, args: Vec<String>, env: Vec<(&'static str, &'static str)> },
    /// A check within this program; what it returns are the findings.
    Check(fn(&Workspace) -> Vec<String>),
}

/// The gate. The order is: cheap first, then what shares the most with its predecessor.
fn steps(workspace: &Workspace) -> Vec<Step> {
    let mut steps = vec![
        cargo("fmt", "one format", "fmt --all --check"),
        check("tidy", "the rules of the house that no compiler knows", tidy::check),
        check(
            "manifests",
            "one oldest compiler, and our own crates pinned to one another",
            manifests,
        ),
        cargo(
            "clippy",
            "no warnings, in any target",
            "clippy --workspace --all-targets --all-features -- -D warnings",
        ),
        cargo(
            "doc",
            "documentation without dead links or gaps",
            "doc --workspace --no-deps --all-features",
        )
        .env("RUSTDOCFLAGS", "-D warnings"),
        cargo("test", "all tests, doctests included", "test --workspace --no-fail-fast"),
    ];
    for member in &workspace.members {
        for example in &member.examples {
            let (name, package) = (format!("example-{example}"), &member.name);
            let line = format!("run --package {package} --example {example} --all-features");
            steps.push(cargo(&name, "the examples run to their end", &line));
        }
    }
    steps.push(cargo(
        "plant",
        "the planted bugs still compile, and do nothing unless they are named",
        "test --package engine-core --package handshake-lab --features plant",
    ));
    for member in workspace.publishable() {
        let alone = "each crate stands alone, with any choice of its features";
        let mut variants = vec![("none".to_owned(), "--no-default-features".to_owned())];
        variants.extend(member.features.iter().map(|feature| {
            (feature.clone(), format!("--no-default-features --features {feature}"))
        }));
        if member.features.len() > 1 {
            variants.push(("all".to_owned(), "--all-features".to_owned()));
        }
        for (variant, flags) in variants {
            let name = format!("alone-{}-{variant}", member.name);
            let line = format!("clippy --package {} {flags} -- -D warnings", member.name);
            steps.push(cargo(&name, alone, &line));
        }
    }
    steps.push(package(workspace));
    steps.extend(slow_steps());
    steps
}

/// What takes too long for every change.
fn slow_steps() -> [Step; 3] {
    let loom = "every interleaving of waking and waiting, as far as loom can see";
    let valgrind = "no invalid memory access in the one crate with unsafe code";
    let proptest = "a hundred times more cases of every property";
    [
        cargo(
            "loom",
            loom,
            "test --package wait-ctx --release --lib --target-dir target/loom loom",
        )
        .env("RUSTFLAGS", "--cfg loom")
        .slow(),
        cargo("proptest", proptest, "test --workspace --exclude layby-tests --release")
            .env("PROPTEST_CASES", "25600")
            .slow(),
        cargo("valgrind", valgrind, "test --package job-core --lib")
            .env(VALGRIND_RUNNER, "valgrind --quiet --error-exitcode=1")
            .slow(),
    ]
}

/// The variable by which cargo runs test programs under valgrind, on this machine.
const VALGRIND_RUNNER: &str = if cfg!(target_arch = "aarch64") {
    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER"
} else {
    "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
};

/// Packages whatever is meant for a registry, and builds each package from its own archive.
fn package(workspace: &Workspace) -> Step {
    let mut step = cargo("package", "each crate can be published as it is", "package --workspace");
    for member in workspace.members.iter().filter(|member| !member.publish) {
        step = step.args(&["--exclude", &member.name]);
    }
    step
}

/// Every member takes `rust-version` from the workspace. Our own crates depend on one another's
/// exact version: a caret would let the registry answer with a stranger's crate of the same name,
/// and `package` would verify ours against that.
fn manifests(workspace: &Workspace) -> Vec<String> {
    let Workspace { rust_version, version, .. } = workspace;
    let strays = workspace.members.iter().filter(|member| !member.inherits_rust_version);
    let compilers = strays.map(|member| {
        let name = &member.name;
        format!("{name}: rust-version is not {rust_version}; write rust-version.workspace = true")
    });
    let exact = format!("={version}");
    let loose = workspace.requirements.iter().filter(|(_, asked)| **asked != exact);
    let pins = loose.map(|(name, asked)| {
        format!("Cargo.toml: {name} is asked for as \"{asked}\"; write version = \"{exact}\"")
    });
    compilers.chain(pins).collect()
}

/// A step that is one cargo command.
fn cargo(name: &str, why: &'static str, line: &str) -> Step {
    let args = line.split_whitespace().map(str::to_owned).collect();
    let action = Action::Run { program: "cargo", args, env: Vec::new() };
    Step { name: name.to_owned(), why, action, slow: false }
}

fn check(name: &str, why: &'static str, check: fn(&Workspace) -> Vec<String>) -> Step {
    Step { name: name.to_owned(), why, action: Action::Check(check), slow: false }
}

impl Step {
    fn env(mut self, key: &'static str, value: &'static str) -> Self {
        if let Action::Run { env, .. } = &mut self.action {
            env.push((key, value));
        }
        self
    }

    fn args(mut self, more: &[&str]) -> Self {
        if let Action::Run { args, .. } = &mut self.action {
            args.extend(more.iter().map(|arg| (*arg).to_owned()));
        }
        self
    }

    fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Adapts a cargo command to `--locked`: the lock file as it is, the files as committed.
    fn locked(mut self, locked: bool) -> Self {
        let Action::Run { args, .. } = &mut self.action else { return self };
        let subcommand = args[0].clone();
        if locked && subcommand != "fmt" {
            args.insert(1, "--locked".to_owned());
        } else if !locked && subcommand == "package" {
            args.push("--allow-dirty".to_owned());
        }
        self
    }

    /// What is missing on this machine for the step to run at all.
    fn missing(&self) -> Option<&'static str> {
        let needs_valgrind = self.name == "valgrind";
        let present = || Command::new("valgrind").arg("--version").output().is_ok();
        (needs_valgrind && !present()).then_some("valgrind is not installed")
    }

    /// Runs to the end; whether all was well.
    fn run(&self, workspace: &Workspace) -> bool {
        match &self.action {
            Action::Run { program, args, env } => {
                let mut command =
                    if *program == "cargo" { lab::cargo() } else { Command::new(program) };
                command.args(args).envs(env.iter().copied()).current_dir(&workspace.root);
                command.status().is_ok_and(|status| status.success())
            }
            Action::Check(check) => {
                let findings = check(workspace);
                findings.iter().for_each(|finding| eprintln!("{finding}"));
                findings.is_empty()
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { program, args, env } => {
                for (key, value) in env {
                    write!(f, "{key}='{value}' ")?;
                }
                write!(f, "{program} {}", args.join(" "))
            }
            Self::Check(_) => f.write_str("(within xtask)"),
        }
    }
}

/// How a step ended.
enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str),
}

pub(crate) fn run(workspace: &Workspace, args: &CiArgs) -> ExitCode {
    let locked = args.locked || lab::locked_by_environment();
    let mut steps: Vec<Step> =
        steps(workspace).into_iter().map(|step| step.locked(locked)).collect();
    if let Some(stray) = args.only.iter().find(|name| !steps.iter().any(|s| s.name == **name)) {
        return usage_error(&format!("unknown step \"{stray}\" (cargo xtask ci --list shows all)"));
    }
    if args.only.is_empty() {
        steps.retain(|step| args.full || !step.slow);
        steps.retain(|step| !(args.skip_tests && step.name == "test"));
    } else {
        steps.retain(|step| args.only.contains(&step.name));
    }
    if args.list {
        for Step { name, why, action, .. } in &steps {
            println!("{name}\n    {why}\n    {action}");
        }
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let outcomes: Vec<(Outcome, Duration)> = steps
        .iter()
        .map(|step| {
            eprintln!("\n=== {}: {}\n    {}", step.name, step.why, step.action);
            let started = Instant::now();
            let outcome = match step.missing() {
                Some(reason) => Outcome::Skipped(reason),
                None if step.run(workspace) => Outcome::Passed,
                None => Outcome::Failed,
            };
            (outcome, started.elapsed())
        })
        .collect();
    summary(&steps, &outcomes, started.elapsed())
}

fn summary(steps: &[Step], outcomes: &[(Outcome, Duration)], total: Duration) -> ExitCode {
    eprintln!("\n=== summary");
    let mut failed = 0;
    for (step, (outcome, elapsed)) in steps.iter().zip(outcomes) {
        let (word, note) = match outcome {
            Outcome::Passed => ("ok", String::new()),
            Outcome::Failed => ("FAILED", format!("  again: cargo xtask ci {}", step.name)),
            Outcome::Skipped(reason) => ("skipped", format!("  {reason}")),
        };
        failed += usize::from(matches!(outcome, Outcome::Failed));
        eprintln!("{word:7}  {:7.1} s  {}{note}", elapsed.as_secs_f64(), step.name);
    }
    let seconds = total.as_secs_f64();
    eprintln!("{} steps, {failed} failed, {seconds:.1} s", steps.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
