//! The steps `recipes` and `modules` of the gate: keys where people really have them. What emulates a service, or is a module
//! of PKCS#11, is got where it can be had; the tests of what cannot be had are skipped, unless `LAYBY_REQUIRE` names it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::lab;
use crate::tools::missing;
use crate::workspace::Workspace;

/// The emulator of AWS, a program in a package for Python.
const MOTO: &str = "moto[server]==5.2.5";

/// Keys in key services, by their own SDKs against an emulator.
pub(crate) fn recipes(workspace: &Workspace) -> Vec<String> {
    let mut tests = lab::cargo();
    tests.args(["test", "--manifest-path", "tests/recipes/Cargo.toml"]);
    tests.args(["--target-dir", "target/recipes"]).current_dir(&workspace.root);
    tests.args(locked());
    let is_there = env::var_os("MOTO_SERVER").is_some() || is_program("moto_server");
    if !is_there && let Some(packages) = moto(workspace) {
        tests.env("MOTO_SERVER", packages.join("bin/moto_server")).env("PYTHONPATH", packages);
    }
    finding(&mut tests, "recipes: a test failed")
}

/// Where moto and what it needs are, installed below the target directory if need be. `None` if that fails: the tests then
/// say what is missing.
fn moto(workspace: &Workspace) -> Option<PathBuf> {
    let packages = workspace.target_dir().join("ci-tools/moto");
    if !packages.join("bin/moto_server").exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--root-user-action=ignore", "--target"]).arg(&packages).arg(MOTO);
        // What it says of other versions concerns packages that are not in there.
        pip.stdin(Stdio::null()).status().ok().filter(|status| status.success())?;
    }
    Some(packages)
}

/// PKCS#11 modules of different makers: SoftHSM and a TPM in software if they are installed, and kryoptic if it can be built.
pub(crate) fn modules(workspace: &Workspace) -> Vec<String> {
    let mut tests = lab::cargo();
    tests.args(["test", "--package", "layby-pkcs11-engine", "--test", "real"]).args(locked());
    tests.args(["--", "modules::", "tpm::", "--nocapture"]).current_dir(&workspace.root);
    let mut findings = Vec::new();
    match kryoptic(workspace) {
        Some(library) => drop(tests.env("LAYBY_KRYOPTIC", library)),
        None => findings.extend(missing(
            "kryoptic",
            "it does not build: it wants clang, libssl-dev, libsqlite3-dev and the registry",
        )),
    }
    findings.extend(finding(&mut tests, "modules: a test failed"));
    findings
}

/// Builds the module in a package of its own, whose lock file has its version.
fn kryoptic(workspace: &Workspace) -> Option<PathBuf> {
    let target = workspace.target_dir().join("kryoptic");
    let mut cargo = lab::cargo();
    cargo.args(["build", "--release", "--locked", "--manifest-path", "tests/kryoptic/Cargo.toml"]);
    cargo.arg("--target-dir").arg(&target).current_dir(&workspace.root);
    cargo.status().ok().filter(|status| status.success())?;
    Some(target.join("release/libkryoptic_module.so"))
}

/// What cargo is to be told where the lock file must be taken as it is.
fn locked() -> Option<&'static str> {
    lab::locked_by_environment().then_some("--locked")
}

fn is_program(name: &str) -> bool {
    let mut command = Command::new(name);
    command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn finding(command: &mut Command, what: &str) -> Vec<String> {
    let passed = command.status().is_ok_and(|status| status.success());
    if passed { Vec::new() } else { vec![what.to_owned()] }
}
