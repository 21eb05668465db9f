//! `cargo xtask ci`: the gate, as a list of named steps.
//!
//! The steps are data ([`steps`]); the runner knows only how to run, time and count them. All steps
//! run, whatever fails before them, and the summary comes last. They share one target directory, and
//! those with the same features share what they build; only the oldest compiler, loom, which is another
//! `--cfg`, and packaging have their own.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs};

use clap::Args;
use wait_timeout::ChildExt as _;

use crate::lab::{self, printed, usage_error};
use crate::output::{eprint_line, print};
use crate::tools::{Toolchain, has_subcommand, missing};
use crate::workspace::Workspace;
use crate::{fuzz, keys, semver, targets, tidy};

/// A step of the usual gate that takes longer than this hangs. The longest, `test`, takes ten minutes on two cores.
const LONGEST_STEP: Duration = Duration::from_secs(25 * 60);

#[derive(Args, Debug)]
pub(crate) struct CiArgs {
    /// Only these steps (see --list)
    #[arg(value_name = "STEP")]
    only: Vec<String>,

    /// Also the slow steps: the oldest compiler, loom, the sanitizers, longer property tests, mutants, the pages
    /// in a browser, the soak, libFuzzer, known weaknesses of dependencies, what breaks since the last release, other systems,
    /// and keys in services and in tokens of other makers
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
    /// In a target directory that never existed before, removed afterwards.
    fresh: bool,
    /// The package that has this command of cargo, if it does not come with Rust.
    needs: Option<&'static str>,
    /// What it runs with, if that is not the usual toolchain.
    toolchain: Option<Toolchain>,
}

enum Action {
    /// Cargo, its arguments and the environment it needs on top of ours.
    Cargo { args: Vec<String>, env: Vec<(&'static str, String)> },
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
            "deny",
            "licences, sources and second versions of what we depend on are those of .cargo/deny.toml",
            "deny --offline check licenses bans sources",
        )
        .needs("cargo-deny"),
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
        cargo(
            "api",
            "the public items of each published crate are those of docs/api",
            "test --package layby-tests --test api",
        ),
        cargo("test", "all tests, doctests included", "test --workspace --no-fail-fast"),
        cargo(
            "release-stacks",
            "what jobs do to their stacks in optimised code, which has other frames",
            "test --release --package layby-job-core --test it --test extremes --test c_frames --test panics",
        ),
        cargo(
            "release-tls",
            "every scheme, key and chain on the stacks of optimised code, under both providers of rustls",
            "test --release --package layby-ssl-async --features ring --test stacks --test ring",
        ),
    ];
    steps.push(cargo(
        "replay",
        "parking by replay under both providers of rustls, and the planted bugs that break it",
        "test --package layby-tls-replay --features ring,plant",
    ));
    for member in &workspace.members {
        for example in &member.examples {
            let (name, package) = (format!("example-{example}"), &member.name);
            let line = format!("run --package {package} --example {example} --all-features");
            steps.push(cargo(&name, "the examples run to their end", &line));
        }
    }
    steps.push(cargo(
        "plant",
        "the planted bugs are found when they are named, and do nothing otherwise",
        // With the whole workspace, so that what lies below is built as it is for the tests.
        "test --workspace --features handshake-lab/plant --no-fail-fast \
         --test plants --test planted --test planted_swarm --test swarm",
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
    steps.push(cargo(
        "rivals",
        "the package of the rivals, which no other step builds, compiles; without those that need C libraries",
        "clippy --manifest-path crates/rivals/Cargo.toml --target-dir target/rivals --all-targets -- -D warnings",
    ));
    steps.push(cargo(
        "fuzz-targets",
        "the fuzz targets compile, on any compiler; `fuzz` runs them",
        "clippy --manifest-path tests/fuzz/Cargo.toml --no-default-features --target-dir target -- -D warnings",
    ));
    steps.push(package(workspace));
    steps.extend(slow_steps(workspace));
    steps
}

/// What takes too long for every change, or needs what does not come with Rust.
fn slow_steps(workspace: &Workspace) -> [Step; 17] {
    let oldest = "the oldest compiler that the manifest names; rustup has to have it";
    let loom = "every interleaving of waking and waiting, as far as loom can see";
    let proptest = "25,600 cases of every property";
    let soak = "a hundred thousand handshakes under random faults leave nothing behind";
    [
        cargo("oldest", oldest, "check --workspace --all-features --target-dir target/oldest")
            .env("RUSTUP_TOOLCHAIN", &workspace.rust_version)
            .slow(),
        cargo(
            "loom",
            loom,
            "test --package layby-wait-ctx --release --lib --target-dir target/loom loom",
        )
        .env("RUSTFLAGS", "--cfg loom")
        .slow(),
        address_sanitizer(),
        address_sanitizer_of_c(),
        thread_sanitizer(workspace),
        cargo("proptest", proptest, "test --workspace --exclude layby-tests --release")
            .env("PROPTEST_CASES", "25600")
            .slow(),
        cargo(
            "browser",
            "the pages of a run and of a server, in a real browser if there is one",
            "test --package layby-tests --test page --test browser",
        )
        .slow(),
        cargo(
            "mutants",
            "the tests notice when a line does something else; docs/mutants.md has the survivors",
            "mutants --package layby-wait-ctx --package layby-job-core --package layby-engine-core",
        )
        .needs("cargo-mutants")
        .slow(),
        cargo("soak", soak, "run --release --package handshake-lab --bin lab -- soak").slow(),
        check(
            "recipes",
            "keys in key services, by their own SDKs against an emulator, if it can be had",
            keys::recipes,
        )
        .slow(),
        check(
            "modules",
            "keys in tokens of different makers: SoftHSM, kryoptic, a TPM in software, as far as they can be had",
            keys::modules,
        )
        .slow(),
        cargo(
            "rivals-tests",
            "the tests of the rivals' package",
            "test --manifest-path crates/rivals/Cargo.toml --target-dir target/rivals",
        )
        .slow(),
        cargo(
            "adapters",
            "axum, axum-server, tonic, hyper and reqwest over the streams, with each library itself",
            "test --manifest-path tests/adapters/Cargo.toml --target-dir target/adapters",
        )
        .slow(),
        check("fuzz", "five minutes of libFuzzer, if there is one", fuzz::check).slow(),
        cargo(
            "advisories",
            "no dependency has a known weakness; the database has to be there already",
            "deny --offline check advisories",
        )
        .needs("cargo-deny")
        .slow(),
        check("semver", "no public item breaks within a version", semver::check).slow(),
        check(
            "targets",
            "what runs or compiles on other systems: musl, aarch64, FreeBSD, macOS, Windows",
            targets::check,
        )
        .slow(),
    ]
}

/// job-core's suite under the address sanitizer, which corosensei's feature tells of every switch.
///
/// It leaves out the tests that count mappings, limit address space or lock all memory, because the sanitizer maps
/// terabytes itself; and those of stacks of a terabyte, for which it would need shadow memory.
fn address_sanitizer() -> Step {
    cargo(
        "asan",
        "no access to memory that is not there, on the stacks of jobs either",
        "test --package layby-job-core --features corosensei/sanitizer --no-fail-fast \
         --lib --test it --test panics --test c_frames --test tracing \
         --target x86_64-unknown-linux-gnu --target-dir target/asan \
         -- --skip a_stack_that_does_not_fit --skip a_stack_that_cannot_be_had",
    )
    .toolchain(Toolchain { name: "nightly", sources: false })
    .env("RUSTFLAGS", "-Zsanitizer=address")
    // A job in quarantine is leaked on purpose. Locals stay on the stack, where the tests look for them.
    // Overflows are for the handlers that are tested.
    .env(
        "ASAN_OPTIONS",
        "detect_leaks=0:detect_stack_use_after_return=0:handle_segv=0:handle_sigbus=0",
    )
    .slow()
}

/// The C library and C programs on it under the address sanitizer.
///
/// job-core is named for its dependency's feature, which tells the sanitizer of every switch.
fn address_sanitizer_of_c() -> Step {
    cargo(
        "asan-capi",
        "the same in C programs on the C library, each of the two with the sanitizer of its compiler",
        "test --package capi --package layby-job-core --features corosensei/sanitizer --test it \
         --target x86_64-unknown-linux-gnu --target-dir target/asan -- the_address_sanitizer",
    )
    .toolchain(Toolchain { name: "nightly", sources: false })
    .env("RUSTFLAGS", "-Zsanitizer=address")
    .slow()
}

/// The tests of the crates whose state threads share under the thread sanitizer.
///
/// The standard library is built for it as well: otherwise its locks are not seen, and everything under
/// them looks like a race. Left out are what takes minutes and has one thread, the crate outside the
/// workspace, whose own build knows nothing of the sanitizer, and what `tsan.supp` names.
fn thread_sanitizer(workspace: &Workspace) -> Step {
    let options = format!("suppressions={}", workspace.root.join("xtask/tsan.supp").display());
    cargo(
        "tsan",
        "no two threads at the same memory without an order between them",
        "test -Zbuild-std --package layby-wait-ctx --package layby-engine-core --no-fail-fast --lib --tests \
         --target x86_64-unknown-linux-gnu --target-dir target/tsan \
         -- --skip ten_thousand --skip a_crate_outside_the_workspace",
    )
    .toolchain(Toolchain { name: "nightly", sources: true })
    .env("RUSTFLAGS", "-Zsanitizer=thread")
    .env("TSAN_OPTIONS", &options)
    .slow()
}

/// Packages whatever is meant for a registry, and builds each package from its own archive.
///
/// Cargo serves the archives from a registry below the target directory, and takes what it has once
/// unpacked from a registry for unchangeable: in a directory used before, it would verify today's
/// crates against yesterday's.
fn package(workspace: &Workspace) -> Step {
    let mut step = cargo("package", "each crate can be published as it is", "package --workspace");
    step.fresh = true;
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
    step(name, why, Action::Cargo { args, env: Vec::new() })
}

fn check(name: &str, why: &'static str, check: fn(&Workspace) -> Vec<String>) -> Step {
    step(name, why, Action::Check(check))
}

fn step(name: &str, why: &'static str, action: Action) -> Step {
    let name = name.to_owned();
    Step { name, why, action, slow: false, fresh: false, needs: None, toolchain: None }
}

impl Step {
    fn env(mut self, key: &'static str, value: &str) -> Self {
        if let Action::Cargo { env, .. } = &mut self.action {
            env.push((key, value.to_owned()));
        }
        self
    }

    fn args(mut self, more: &[&str]) -> Self {
        if let Action::Cargo { args, .. } = &mut self.action {
            args.extend(more.iter().map(|arg| (*arg).to_owned()));
        }
        self
    }

    fn needs(mut self, package: &'static str) -> Self {
        self.needs = Some(package);
        self
    }

    /// Runs with that toolchain; where it is not installed, the step is skipped.
    fn toolchain(mut self, toolchain: Toolchain) -> Self {
        self.toolchain = Some(toolchain);
        self
    }

    fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Adapts a cargo command to `--locked`: the lock file as it is, the files as committed.
    fn locked(mut self, locked: bool) -> Self {
        let Action::Cargo { args, .. } = &mut self.action else { return self };
        let subcommand = args[0].clone();
        if locked && !["fmt", "mutants"].contains(&&*subcommand) {
            args.insert(1, "--locked".to_owned());
        } else if !locked && subcommand == "package" {
            args.push("--allow-dirty".to_owned());
        }
        self
    }

    /// What it does, as one would type it.
    fn line(&self) -> String {
        let line = self.action.to_string();
        match &self.toolchain {
            Some(Toolchain { name, .. }) => line.replacen("cargo ", &format!("cargo +{name} "), 1),
            None => line,
        }
    }

    /// Whether the command ends with success, and within [`LONGEST_STEP`] unless the step is slow.
    fn ends_well(&self, command: &mut Command) -> bool {
        let Ok(mut child) = command.spawn() else { return false };
        if self.slow {
            return child.wait().is_ok_and(|status| status.success());
        }
        match child.wait_timeout(LONGEST_STEP) {
            Ok(Some(status)) => status.success(),
            Ok(None) | Err(_) => {
                let minutes = LONGEST_STEP.as_secs() / 60;
                eprint_line(format_args!("stopped: it still ran after {minutes} minutes"));
                // `cargo run` has become the program itself. Tests that cargo started go on, but the gate does not
                // wait for them.
                let _ = child.kill();
                let _ = child.wait();
                false
            }
        }
    }

    /// If a tool that it needs is not installed: the finding, which is none if the step is skipped for that.
    fn missing_tool(&self, subcommand: &str) -> Option<Option<String>> {
        if let Some(package) = self.needs.filter(|_| !has_subcommand(subcommand)) {
            return Some(missing(package, &format!("cargo install --locked {package}")));
        }
        let toolchain = self.toolchain.as_ref().filter(|toolchain| !toolchain.is_installed())?;
        Some(missing(toolchain.name, &toolchain.remedy()))
    }

    /// Runs to the end; whether all was well.
    fn run(&self, workspace: &Workspace) -> bool {
        match &self.action {
            Action::Cargo { args, env } => {
                if let Some(finding) = self.missing_tool(&args[0]) {
                    finding.iter().for_each(eprint_line);
                    return finding.is_none();
                }
                let mut command = self.toolchain.as_ref().map_or_else(lab::cargo, Toolchain::cargo);
                command
                    .args(args)
                    .envs(env.iter().map(|(key, value)| (key, value)))
                    .current_dir(&workspace.root);
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let name = format!("fresh-{}", since.unwrap_or_default().as_nanos());
                let fresh = self.fresh.then(|| workspace.target_dir().join(name));
                if let Some(dir) = &fresh {
                    command.arg("--target-dir").arg(dir);
                }
                let passed = self.ends_well(&mut command);
                if let Some(dir) = fresh {
                    // What cannot be removed only takes up room.
                    let _ = fs::remove_dir_all(dir);
                }
                passed
            }
            Action::Check(check) => {
                let findings = check(workspace);
                findings.iter().for_each(eprint_line);
                findings.is_empty()
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cargo { args, env } => {
                for (key, value) in env {
                    write!(f, "{key}='{value}' ")?;
                }
                write!(f, "cargo {}", args.join(" "))
            }
            Self::Check(_) => f.write_str("(within xtask)"),
        }
    }
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
        let line = |step: &Step| format!("{}\n    {}\n    {}\n", step.name, step.why, step.line());
        return printed(print(steps.iter().map(line).collect::<String>()));
    }
    let started = Instant::now();
    let outcomes: Vec<(bool, Duration)> = steps
        .iter()
        .map(|step| {
            eprint_line(format_args!("\n=== {}: {}\n    {}", step.name, step.why, step.line()));
            let started = Instant::now();
            (step.run(workspace), started.elapsed())
        })
        .collect();
    summary(&steps, &outcomes, started.elapsed())
}

fn summary(steps: &[Step], outcomes: &[(bool, Duration)], total: Duration) -> ExitCode {
    eprint_line("\n=== summary");
    for (step, (passed, elapsed)) in steps.iter().zip(outcomes) {
        let (word, note) =
            if *passed { ("ok", "") } else { ("FAILED", "  again: cargo xtask ci ") };
        let again = if *passed { "" } else { &*step.name };
        let (name, seconds) = (&step.name, elapsed.as_secs_f64());
        eprint_line(format_args!("{word:6}  {seconds:7.1} s  {name}{note}{again}"));
    }
    let failed = outcomes.iter().filter(|(passed, _)| !passed).count();
    let (all, seconds) = (steps.len(), total.as_secs_f64());
    eprint_line(format_args!("{all} steps, {failed} failed, {seconds:.1} s"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
